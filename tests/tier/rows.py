"""Reads objects of the cold tier with DuckDB and prints what it sees of each topic: messages, distinct places, and a
digest of the bodies in the order of their places. Arguments: Parquet files."""

import hashlib
import json
import sys

import duckdb

found = {}
rows = duckdb.sql(
    "SELECT topic, queue_id, queue_offset, tags, properties['color'], body, store_time "
    f"FROM read_parquet({sys.argv[1:]!r}) ORDER BY topic, queue_id, queue_offset"
).fetchall()
for topic, queue, offset, tags, color, body, time in rows:
    seen = found.setdefault(topic, {"messages": 0, "digest": hashlib.sha256()})
    seen["messages"] += 1
    seen["digest"].update(f"{queue} {offset} {tags} ".encode() + bytes(body))
    assert time.tzinfo is not None, "store_time is not in UTC"
print(json.dumps({topic: [seen["messages"], seen["digest"].hexdigest()] for topic, seen in found.items()}))
