"""Asks an engine (duckdb, duckdb-plain or spark) statements by the views of deploy/sql/, and prints the rows of each as Strata
prints them: bytes in hexadecimal, times in UTC. Arguments: the engine, a listing, statements as JSON."""

import datetime
import json
import os
import pathlib
import sys

SQL = pathlib.Path(__file__).resolve().parents[2] / "deploy/sql"
sys.path.insert(0, str(SQL))


def by_duckdb(listing):
    import duckdb
    import strata_duckdb

    connection = duckdb.connect()
    strata_duckdb.messages(connection, listing)
    return lambda statement: of_duckdb(connection.execute(statement))


def by_duckdb_plain(listing):
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET VARIABLE listing = $1", [listing])
    connection.execute((SQL / "duckdb_plain.sql").read_text())
    connection.execute((SQL / "duckdb.sql").read_text())
    return lambda statement: of_duckdb(connection.execute(statement))


def of_duckdb(answer):
    return [column[0] for column in answer.description], answer.fetchall()


def by_spark(listing):
    import strata_spark
    from pyspark.sql import SparkSession

    settings = {
        # tests/tier/install puts the jars of s3a beside the Python packages.
        "spark.jars": ",".join(map(str, pathlib.Path(sys.prefix, "spark-s3a").glob("*.jar"))),
        "spark.hadoop.fs.s3a.endpoint": os.environ["AWS_ENDPOINT"],
        "spark.hadoop.fs.s3a.path.style.access": "true",
        "spark.driver.bindAddress": "127.0.0.1",
        # What starts fastest; nothing here runs for long.
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:-UsePerfData",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.sql.shuffle.partitions": "2",
        "spark.ui.enabled": "false",
    }
    # The Python of its workers: this one, which has what unpacks bodies.
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master("local[2]")
    for key, value in settings.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    strata_spark.messages(spark, json.loads(pathlib.Path(listing).read_text()))

    def ask(statement):
        answer = spark.sql(statement)
        return answer.columns, [tuple(row) for row in answer.collect()]

    return ask


def shown(value):
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, datetime.datetime):
        # Spark's are without a zone, in that of this process, which is UTC.
        assert value.utcoffset() in (None, datetime.timedelta(0)), f"{value} is not in UTC"
        seconds, micros = value.strftime("%Y-%m-%dT%H:%M:%S"), value.microsecond
        assert micros % 1000 == 0, f"{value} is finer than what brokers store"
        return f"{seconds}.{micros // 1000:03}Z" if micros else f"{seconds}Z"
    if isinstance(value, dict):
        return {key: shown(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [shown(item) for item in value]
    return value


engines = {"duckdb": by_duckdb, "duckdb-plain": by_duckdb_plain, "spark": by_spark}
ask = engines[sys.argv[1]](sys.argv[2])
answers = []
for statement in json.loads(pathlib.Path(sys.argv[3]).read_text()):
    columns, rows = ask(statement)
    answers.append([{name: shown(value) for name, value in zip(columns, row, strict=True)} for row in rows])
print(json.dumps(answers))
