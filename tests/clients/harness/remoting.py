"""The few remoting requests that the runner itself makes: create a topic (17), read a route (105).

Owns one request on one connection with the JSON header; is no client and knows no case.
"""

import json
import socket
import struct
import time

from .limits import REQUEST_S

ROUTE = 105
CREATE_TOPIC = 17
TEMPLATE_TOPIC = "TBW102"
VERSION = 513  # Ordinal of release 5.5.0: the name server then answers with strict JSON.


class Refused(Exception):
    """The server answered with a code other than 0."""

    def __init__(self, code, remark):
        super().__init__(f"code {code}: {remark}")
        self.code = code
        self.remark = remark


def frame(code, fields):
    """One request: total length, header word (type 0 is JSON, low 24 bits its length), header."""
    header = json.dumps({
        "code": code, "language": "PYTHON", "version": VERSION, "opaque": 1, "flag": 0,
        "extFields": {key: str(value) for key, value in fields.items()},
    }).encode()
    return struct.pack(">ii", 4 + len(header), len(header)) + header


def read_exactly(connection, count):
    """Reads count bytes or raises ConnectionError."""
    parts = b""
    while len(parts) < count:
        part = connection.recv(count - len(parts))
        if not part:
            raise ConnectionError("connection closed within a frame")
        parts += part
    return parts


def ask(address, code, fields):
    """Sends one request to "host:port" and returns the answer's body; raises Refused or OSError."""
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=REQUEST_S) as connection:
        connection.sendall(frame(code, fields))
        length, word = struct.unpack(">ii", read_exactly(connection, 8))
        rest = read_exactly(connection, length - 4)
    header_length = word & 0xFFFFFF
    header = json.loads(rest[:header_length])
    if header["code"] != 0:
        raise Refused(header["code"], header.get("remark"))
    return rest[header_length:]


def brokers_of(namesrv, topic):
    """Names of the brokers that the name server lists for the topic; empty when it has no route."""
    try:
        route = json.loads(ask(namesrv, ROUTE, {"topic": topic, "acceptStandardJsonOnly": "true"}))
    except Refused:
        return set()
    return {queue["brokerName"] for queue in route["queueDatas"]}


def wait_route(namesrv, topic, brokers, deadline):
    """Waits until the name server lists exactly these brokers for the topic; raises TimeoutError."""
    found = None
    while time.monotonic() < deadline:
        try:
            found = brokers_of(namesrv, topic)
        except OSError as error:
            found = error
        if found == set(brokers):
            return
        time.sleep(0.05)
    raise TimeoutError(f"{namesrv} lists {found} for {topic}, expected {sorted(brokers)}")


def create_topic(cluster, topic, queues):
    """Creates the topic on every broker of a running cluster and waits until every name server knows it."""
    for address in cluster.brokers.values():
        ask(address, CREATE_TOPIC, {
            "topic": topic, "defaultTopic": TEMPLATE_TOPIC, "readQueueNums": queues, "writeQueueNums": queues,
            "perm": 6, "topicFilterType": "SINGLE_TAG", "topicSysFlag": 0, "order": "false",
        })
    for namesrv in cluster.namesrvs.values():
        wait_route(namesrv, topic, cluster.brokers, time.monotonic() + REQUEST_S)
