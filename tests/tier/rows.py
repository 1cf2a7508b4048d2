"""Reads objects of the cold tier with an engine (duckdb or polars) and prints what it sees of each topic: messages, and a
digest of the bodies in the order of their places. Arguments: the engine, Parquet files."""

import hashlib
import json
import sys


def by_duckdb(files):
    import duckdb

    query = "SELECT topic, queue_id, queue_offset, tags, body, store_time FROM read_parquet(?, union_by_name = true)"
    query += " ORDER BY topic, queue_id, queue_offset"
    return duckdb.execute(query, [files]).fetchall()


def by_polars(files):
    import polars

    columns = ["topic", "queue_id", "queue_offset", "tags", "body", "store_time"]
    rows = polars.scan_parquet(files, missing_columns="insert", extra_columns="ignore").select(columns).sort(columns[:3])
    return rows.collect().rows()


found = {}
engine, files = sys.argv[1], sys.argv[2:]
for topic, queue, offset, tags, body, time in {"duckdb": by_duckdb, "polars": by_polars}[engine](files):
    seen = found.setdefault(topic, {"messages": 0, "digest": hashlib.sha256()})
    seen["messages"] += 1
    seen["digest"].update(f"{queue} {offset} {tags} ".encode() + bytes(body))
    assert time.tzinfo is not None, "store_time is not in UTC"
print(json.dumps({topic: [seen["messages"], seen["digest"].hexdigest()] for topic, seen in found.items()}))
