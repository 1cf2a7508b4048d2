"""The table `messages` of docs/sql.md over the objects of a cold tier, in Spark 3.5.

    strata tier ls --url s3://bucket/strata --broker broker-a --output json > listing.json
    spark-submit --py-files strata_unpack.py strata_spark.py listing.json "SELECT topic, count(*) FROM messages GROUP BY topic"
"""

import json
import pathlib
import sys

from pyspark.sql import SparkSession
from pyspark.sql import types as t

from strata_unpack import unpacker

TEXT, INT, LONG, TIME, BYTES = t.StringType(), t.IntegerType(), t.LongType(), t.TimestampType(), t.BinaryType()
# The columns of tiering/FORMAT.md by their ids.
COLUMNS = [
    (1, "topic", TEXT), (2, "queue_id", INT), (3, "queue_offset", LONG), (4, "physical_offset", LONG),
    (5, "store_time", TIME), (6, "born_time", TIME), (7, "msg_id", TEXT), (8, "keys", t.ArrayType(TEXT)),
    (9, "tags", TEXT), (13, "flag", INT), (14, "sys_flag", INT), (15, "reconsume_times", INT),
    (17, "born_host", BYTES), (18, "store_host", BYTES), (19, "prepared_transaction_offset", LONG),
    (10, "properties", t.MapType(TEXT, TEXT)), (11, "packed", BYTES),
]  # fmt: skip


def messages(spark, listing, url=None):
    """Makes the view `messages` of what `strata tier ls --output json` told. `url` is where Spark finds the tier, if
    its name for that is another one; s3:// becomes s3a://."""
    if "floors" not in listing or "properties" not in listing:
        raise ValueError("the listing tells no floors or no properties: it is not what strata tier ls --output json says")
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    spark.conf.set("spark.sql.mapKeyDedupPolicy", "LAST_WIN")
    # Columns are found by their ids: no object is opened to learn which columns it has, and names of properties that
    # differ in the case of letters alone stay apart.
    spark.conf.set("spark.sql.parquet.fieldId.read.enabled", "true")
    url = url or listing["url"].replace("s3://", "s3a://", 1)
    properties = {f"p_{p['id']}": p for p in listing["properties"]}
    columns = COLUMNS + [(p["id"], column, TEXT) for column, p in properties.items()]
    schema = [t.StructField(name, kind, True, {"parquet.field.id": id}) for id, name, kind in columns]
    # Only what is listed counts, whatever else the bucket holds.
    names = [f"{url}/{name}" for roll in listing["rolls"] for name in roll["names"]]
    if not names:
        raise ValueError("the listing has no objects: nothing is rolled yet")
    spark.read.schema(t.StructType(schema)).parquet(*names).createOrReplaceTempView("strata_rows")
    quoted = lambda name: "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"
    entries = ", ".join(f"struct({quoted(p['name'])} AS key, {column} AS value)" for column, p in properties.items())
    of_columns = f"array({entries})" if entries else "CAST(array() AS ARRAY<STRUCT<key: STRING, value: STRING>>)"
    spark.sql(f"CREATE OR REPLACE TEMPORARY VIEW strata_objects AS SELECT *, {of_columns} AS of_columns FROM strata_rows")
    # Messages of a topic below its floor are gone for readers: the topic was deleted, or they have expired.
    floors = [(floor["topic"], floor["logOffset"]) for floor in listing["floors"]]
    spark.createDataFrame(floors, "topic STRING, log_offset BIGINT").createOrReplaceTempView("strata_floors")
    spark.udf.register("strata_unpacked", unpacker(), BYTES)
    spark.sql((pathlib.Path(__file__).parent / "spark.sql").read_text())


if __name__ == "__main__":
    spark = SparkSession.builder.appName("strata").getOrCreate()
    messages(spark, json.loads(pathlib.Path(sys.argv[1]).read_text()))
    for statement in sys.argv[2:]:
        spark.sql(statement).show(1000, truncate=False)
