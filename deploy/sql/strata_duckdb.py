"""The table `messages` of docs/sql.md over the objects of a cold tier, in DuckDB 1.5 (needs the packages duckdb, numpy, pytz).

    strata tier ls --url s3://bucket/strata --broker broker-a --output json > listing.json
    python strata_duckdb.py listing.json "SELECT topic, count(*) FROM messages GROUP BY topic"
"""

import pathlib
import sys

import duckdb

from strata_unpack import unpacker


def messages(connection, listing):
    """Makes the view `messages` of what `strata tier ls --output json` told, by the path of that."""
    unpacked = unpacker()

    def unpacked_text(body, sys_flag):
        try:
            return unpacked(body, sys_flag).decode()
        except UnicodeDecodeError:
            return None

    arguments = ["BLOB", "INTEGER"]
    connection.create_function("strata_unpacked", unpacked, arguments, "BLOB", null_handling="special")
    connection.create_function("strata_unpacked_text", unpacked_text, arguments, "VARCHAR", null_handling="special")
    connection.execute("SET VARIABLE listing = $1", [str(listing)])
    connection.execute((pathlib.Path(__file__).parent / "duckdb.sql").read_text())


if __name__ == "__main__":
    connection = duckdb.connect()
    messages(connection, sys.argv[1])
    for statement in sys.argv[2:]:
        connection.sql(statement).show(max_rows=1000)
