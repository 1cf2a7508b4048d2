"""Asks a broker through psycopg, a client of PostgreSQL: prepared statements with parameters, both forms of values, types,
transactions, a statement that is cancelled and one whose client goes away. Arguments: its PostgreSQL port, its metrics
address. Says "ok" and what it saw; fails by itself otherwise."""

import datetime
import re
import sys
import threading
import time
import urllib.request

import psycopg

# It takes minutes when nobody stops it.
ENDLESS = "SELECT sum(a.value * b.value % 7) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b"
STOPPED_S = 15


def connected(port, **options):
    return psycopg.connect(host="127.0.0.1", port=port, dbname="strata", user="anyone", autocommit=True, **options)


def running(metrics):
    text = urllib.request.urlopen(f"http://{metrics}/metrics", timeout=10).read().decode()
    return int(float(re.search(r"^strata_query_running{[^}]*} (\S+)$", text, re.M).group(1)))


def becomes(metrics, count):
    until = time.monotonic() + STOPPED_S
    while running(metrics) != count:
        assert time.monotonic() < until, f"{running(metrics)} statements run, not {count}"
        time.sleep(0.1)


def values(port):
    query = ("SELECT topic, queue_id, queue_offset, store_time, msg_id, keys, body FROM messages"
             " WHERE topic = %s AND queue_offset >= %s ORDER BY log_offset LIMIT 5")
    found = []
    for binary in (False, True):
        with connected(port) as connection, connection.cursor(binary=binary) as cursor:
            for prepare in (False, True):
                cursor.execute(query, ("Orders", 100), prepare=prepare)
                found.append(cursor.fetchall())
    assert all(rows == found[0] for rows in found), found
    topic, queue_id, offset, stored, msg_id, keys, body = found[0][0]
    assert (topic, type(queue_id), offset >= 100) == ("Orders", int, True), found[0][0]
    assert isinstance(stored, datetime.datetime) and stored.tzinfo is not None, stored
    assert abs(stored - datetime.datetime.now(datetime.timezone.utc)) < datetime.timedelta(hours=1), stored
    assert keys[0].startswith("order-") and len(msg_id) == 32, (keys, msg_id)
    assert bytes(body).startswith(b"message "), body
    return len(found[0])


def transactions(port):
    with psycopg.connect(host="127.0.0.1", port=port, dbname="strata", user="anyone") as connection:
        first = connection.execute("SELECT count(*) FROM messages").fetchone()
        connection.commit()
        try:
            connection.execute("DELETE FROM messages")
        except psycopg.Error as error:
            assert error.sqlstate == "25006", (error.sqlstate, error)
        else:
            raise AssertionError("messages were deleted")
        connection.rollback()
        assert connection.execute("SELECT count(*) FROM messages").fetchone() == first


def cancelled(port, metrics):
    with connected(port) as connection:
        threading.Timer(1.0, connection.cancel).start()
        try:
            connection.execute(ENDLESS)
        except psycopg.errors.QueryCanceled:
            pass
        else:
            raise AssertionError("it was not cancelled")
        becomes(metrics, 0)
        assert connection.execute("SELECT 1").fetchone() == (1,)


def gone(port, metrics):
    connection = connected(port)
    connection.pgconn.send_query(ENDLESS.encode())
    connection.pgconn.flush()
    becomes(metrics, 1)
    connection.close()
    becomes(metrics, 0)


def together(port):
    with connected(port) as connection:
        cursor = connection.execute("; ".join(["SELECT count(*) FROM messages"] * 8))
        count = 1
        while cursor.nextset():
            count += 1
        assert count == 8, count


def too_large(port):
    with connected(port) as connection:
        try:
            connection.execute("SELECT '" + "x" * (2 << 20) + "'")
        except psycopg.Error as error:
            assert error.sqlstate == "54000" or isinstance(error, psycopg.OperationalError), error
        else:
            raise AssertionError("2 MiB of statement were taken")


port, metrics = int(sys.argv[1]), sys.argv[2]
rows = values(port)
transactions(port)
cancelled(port, metrics)
gone(port, metrics)
together(port)
too_large(port)
print(f"ok: {rows} rows in each form")
