"""Copies a folder into a bucket, name by name. Arguments: the folder, the bucket, a prefix. The environment tells the server
and the credentials as it does for Strata."""

import os
import pathlib
import sys

import boto3

folder, bucket, prefix = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT"])
for path in sorted(folder.rglob("*")):
    if path.is_file():
        client.upload_file(str(path), bucket, f"{prefix}/{path.relative_to(folder).as_posix()}")
