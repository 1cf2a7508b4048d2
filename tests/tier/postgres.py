"""Asks a broker through psycopg, a client of PostgreSQL: prepared statements with parameters, both forms of values, types,
transactions, savepoints, what pools send, a statement that is cancelled and one whose client goes away. What psycopg cannot
send, portals whose rows are taken in parts, goes through a socket. Arguments: its PostgreSQL port, its metrics address.
Says "ok" and what it saw; fails by itself otherwise."""

import datetime
import re
import socket
import struct
import sys
import threading
import time
import urllib.request

import psycopg

# It takes minutes when nobody stops it.
ENDLESS = "SELECT sum(a.value * b.value % 7) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b"
STOPPED_S = 15
# Far more rows than the broker has ready, so that the statement has its turn until they are taken.
MANY = "SELECT value FROM generate_series(1, 1000000)"
# The broker's, see SUSPENDED_SECONDS_MAX and STATEMENTS_AT_ONCE_MAX.
SUSPENDED_S = 60
TURNS = 4


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
        refused(connection, "25006", "DELETE FROM messages")
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
        large = "SELECT repeat('x', 1000000) FROM generate_series(1, 3)"
        assert len(connection.execute(large).fetchall()) == 3
        refused(connection, "54000", "; ".join([large] * 8))


class Wire:
    """A session, message by message."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=SUSPENDED_S)
        self.file = self.socket.makefile("rb")
        body = struct.pack("!i", 3 << 16) + b"user\0anyone\0database\0strata\0\0"
        self.socket.sendall(struct.pack("!i", len(body) + 4) + body)
        self.ready()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def send(self, *messages):
        self.socket.sendall(b"".join(kind + struct.pack("!i", len(body) + 4) + body for kind, body in messages))

    def next(self):
        head = self.file.read(5)
        assert len(head) == 5, "the session ended"
        return head[:1], self.file.read(struct.unpack("!i", head[1:])[0] - 4)

    def ready(self):
        """Messages until the broker is ready again: their kinds, their bodies by kind; and the transaction's status."""
        kinds, bodies = "", {}
        while True:
            kind, body = self.next()
            if kind == b"Z":
                return kinds, bodies, body.decode()
            kinds += kind.decode()
            bodies.setdefault(kind.decode(), []).append(body)

    def query(self, text):
        self.send((b"Q", text.encode() + b"\0"))
        return self.ready()

    def begin(self, text, portal, rows):
        self.send((b"P", b"\0" + text.encode() + b"\0" + struct.pack("!h", 0)),
                  (b"B", portal + b"\0\0" + struct.pack("!hhh", 0, 0, 0)), execute(portal, rows), (b"S", b""))

    def more(self, portal, rows):
        self.send(execute(portal, rows), (b"S", b""))
        return self.ready()


def execute(portal, rows):
    return b"E", portal + b"\0" + struct.pack("!i", rows)


def numbers(bodies):
    return [int(row[6:]) for row in bodies["D"]]


def code(bodies):
    return next(field[1:] for field in bodies["E"][0].decode().split("\0") if field[:1] == "C")


def suspended(port, metrics):
    """Portals end when the message does, or the transaction, and do not keep their turns from others for ever."""
    sessions = [Wire(port) for _ in range(TURNS)]
    for session in sessions:
        session.begin(MANY, b"p", 10)
        kinds, bodies, status = session.ready()
        assert (kinds, status) == ("12" + "D" * 10 + "s", "I"), (kinds, status)
    becomes(metrics, 0)
    kinds, bodies, _ = sessions[0].more(b"p", 10)
    assert kinds == "E" and code(bodies) in ("26000", "34000"), (kinds, bodies)
    for end in ("COMMIT", "ROLLBACK"):
        sessions[0].query("BEGIN")
        sessions[0].begin(MANY, b"p", 10)
        first, second = sessions[0].ready(), sessions[0].more(b"p", 15)
        assert numbers(first[1]) + numbers(second[1]) == list(range(1, 26)), (first, second)
        assert second[0][-1] == "s" and second[2] == "T", second
        becomes(metrics, 1)
        assert sessions[0].query(end)[2] == "I"
        becomes(metrics, 0)
    for session in sessions:
        session.query("BEGIN")
        session.begin(MANY, b"p", 10)
        assert session.ready()[2] == "T"
    becomes(metrics, TURNS)
    begun = time.monotonic()
    with connected(port) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    waited = time.monotonic() - begun
    assert SUSPENDED_S / 2 < waited < SUSPENDED_S * 1.5, f"another one's turn came after {waited:.1f} s"
    becomes(metrics, 0)
    for session in sessions:
        kinds, bodies, status = session.more(b"p", 10)
        assert (kinds, code(bodies), status) == ("E", "57014", "E"), (kinds, bodies, status)
        assert code(session.query("SELECT 1")[1]) == "25P02"
        assert session.query("ROLLBACK")[2] == "I"
        session.__exit__()
    return waited


def streamed(port, metrics):
    """Rows go out as they are found, as many as are asked for; a number that is not more than 0 asks for all."""
    with Wire(port) as session:
        for rows in (0, -1, -(1 << 31), (1 << 31) - 1):
            session.begin("SELECT value FROM generate_series(1, 25)", b"", rows)
            kinds, bodies, _ = session.ready()
            assert kinds == "12" + "D" * 25 + "C" and bodies["C"] == [b"SELECT 25\0"], (rows, kinds)
        session.begin(f"SELECT value FROM generate_series(1, 20000) UNION ALL {ENDLESS}", b"", 0)
        session.socket.settimeout(STOPPED_S)
        assert [session.next()[0] for _ in range(3)] == [b"1", b"2", b"D"], "no row came early"
        becomes(metrics, 1)
    becomes(metrics, 0)


def shown(port):
    with connected(port) as connection:
        refused(connection, "42000", "SHOW")
        for prepare in (False, True):
            assert connection.execute("-- nothing", prepare=prepare).description is None
    for binary in (False, True):
        with connected(port) as connection, connection.cursor(binary=binary) as cursor:
            for prepare in (False, True):
                cursor.execute("SHOW transaction_isolation", prepare=prepare)
                assert [column.name for column in cursor.description] == ["transaction_isolation"], cursor.description
                assert cursor.fetchall() == [("read uncommitted",)]


def given_back(port):
    tags = {"SELECT pg_advisory_unlock_all()": "SELECT 1", "CLOSE ALL": "CLOSE CURSOR ALL", "UNLISTEN *": "UNLISTEN",
            "RESET ALL": "RESET", "DISCARD ALL": "DISCARD ALL", "DEALLOCATE ALL": "DEALLOCATE ALL"}
    with connected(port) as connection:
        for prepare in (False, True):
            for statement, tag in tags.items():
                assert connection.execute(statement, prepare=prepare).statusmessage == tag, (statement, prepare)
        cursor = connection.execute(";\n".join(tags))
        found = [cursor.statusmessage]
        while cursor.nextset():
            found.append(cursor.statusmessage)
        assert found == list(tags.values()), found
        connection.execute("SELECT %s::bigint", (7,), prepare=True)
        assert connection.execute("SELECT %s::bigint", (8,), prepare=True).fetchone() == (8,)


def refused(connection, sqlstate, *statement):
    try:
        connection.execute(*statement)
    except psycopg.Error as error:
        assert error.sqlstate == sqlstate, (statement, error.sqlstate, error)
    else:
        raise AssertionError(f"{statement} is answered")


def savepoints(port):
    with psycopg.connect(host="127.0.0.1", port=port, dbname="strata", user="anyone") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        for end in ("SAVEPOINT a", "RELEASE SAVEPOINT a", "SAVEPOINT a", "ROLLBACK TO SAVEPOINT a"):
            connection.execute(end)
            assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS, end
        try:
            with connection.transaction():
                connection.execute("SELECT nothing")
        except psycopg.Error as error:
            assert error.sqlstate == "42000", error
        else:
            raise AssertionError("there is no column nothing")
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        assert connection.execute("SELECT 2").fetchone() == (2,)
        refused(connection, "42000", "SELECT nothing")
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INERROR
        refused(connection, "25P02", "SELECT 1")
        refused(connection, "25P02", "SELECT %s::bigint", (1,))
        connection.rollback()
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        assert connection.execute("SELECT 3").fetchone() == (3,)


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
shown(port)
given_back(port)
savepoints(port)
streamed(port, metrics)
waited = suspended(port, metrics)
print(f"ok: {rows} rows in each form, a turn that nobody used was free after {waited:.0f} s")
