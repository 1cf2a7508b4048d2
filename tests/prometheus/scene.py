"""What the parts of this suite share: a broker and a Prometheus under test, checks by name, and requests on the wire.

Owns the processes of one run and how checks are told. What is checked is in `figures`, `boards` and `groups`.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

sys.dont_write_bytecode = True
TESTS = Path(__file__).resolve().parents[1]
PROJECT = TESTS.parent
sys.path.insert(0, str(TESTS / "clients"))
from harness.targets import Node, Strata, free_port  # noqa: E402

SCRAPE_S = 1
# A scrape and the query engine's own lookup are seconds apart at most; a busy machine gets more.
SEEN_S = 30
READY_S = 60
STOP_S = 15
CALL_S = 10
COMMAND_S = 60
# Requests that are sent before their answers are read.
AHEAD_REQUESTS = 500


# Requests of the protocol, and parts of them.
SEND, PULL, COMMIT, CREATE_TOPIC, HEARTBEAT, SEND_BACK, CREATE_GROUPS = 10, 11, 15, 17, 34, 36, 225
SUBSCRIBED = 4
ANSWER_FLAG = 1
PHYSICAL_OFFSET_AT = 28


class Failed(Exception):
    """A check that did not hold."""


def arguments(text):
    """The command line."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--strata", metavar="PATH", help="the strata binary; default: cargo's release folder")
    return parser.parse_args()


def program(name, path):
    """The path of something to execute; ends the run with code 2 when it is missing."""
    if not path or not os.access(path, os.X_OK):
        hint = "build it with `cargo build --release`, or give --strata PATH" if name == "strata" else \
            "tests/prometheus/install installs it"
        print(f"tests/prometheus: no {name} at {path}; {hint}", file=sys.stderr)
        sys.exit(2)
    return str(path)


def strata_binary(given):
    """The binary's path."""
    folder = os.environ.get("CARGO_TARGET_DIR") or PROJECT / "target"
    return program("strata", Path(given or Path(folder) / "release" / "strata").resolve())


def promtool(*words, text=None):
    """Runs promtool; returns its exit code and what it said."""
    binary = program("promtool", shutil.which("promtool"))
    done = subprocess.run([binary, *words], input=text, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    return done.returncode, (done.stdout + done.stderr).strip()


class Page:
    """One answer of /metrics."""

    def __init__(self, text):
        self.text = text
        self.types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
        self.samples = [line for line in text.splitlines() if line and not line.startswith("#")]
        self.names = sorted({re.match(r"[a-zA-Z_:][\w:]*", line)[0] for line in self.samples})


class Prometheus(Node):
    """The server, its folder and its HTTP interface."""

    def __init__(self, folder, config):
        self.address = f"127.0.0.1:{free_port()}"
        path = folder / "prometheus.yml"
        path.write_text(config, encoding="utf-8")
        command = [program("prometheus", shutil.which("prometheus")), f"--config.file={path}",
                   f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address={self.address}"]
        super().__init__("prometheus", command, folder / "prometheus.log", "Server is ready to receive web requests")

    def ask(self, path, **fields):
        """One request to the interface; returns its data."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(fields)}"
        try:
            with urllib.request.urlopen(url, timeout=CALL_S) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise Failed(f"{fields} was refused: {error.read().decode()}") from error

    def query(self, expression):
        """The values that an expression has now: a list of (labels, number)."""
        data = self.ask("query", query=expression)
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(row["metric"], float(row["value"][1])) for row in data["result"]]

    def value(self, expression):
        """The only value of an expression; None when it has none."""
        rows = self.query(expression)
        if len(rows) > 1:
            raise Failed(f"{expression} has {len(rows)} values")
        return rows[0][1] if rows else None

    def wait(self, expression, expected, seconds=SEEN_S):
        """Waits until an expression has exactly this value."""
        deadline = time.monotonic() + seconds
        while (found := self.value(expression)) != expected:
            if time.monotonic() > deadline:
                raise Failed(f"{expression}: expected {expected}, got {found} for {seconds} s")
            time.sleep(SCRAPE_S / 4)


class Line:
    """A connection to a server, on which many requests go out before their answers are read."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=CALL_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input = self.socket.makefile("rb")

    @staticmethod
    def frame(code, fields, body=b""):
        """One request: total length, header word (type 0 is JSON, the low 24 bits are its length), header, body."""
        header = json.dumps({"code": code, "language": "PYTHON", "version": 513, "opaque": 1, "flag": 0,
                             "extFields": {key: str(value) for key, value in fields.items()}}).encode()
        return struct.pack(">ii", 4 + len(header) + len(body), len(header)) + header + body

    def answer(self):
        """Reads one answer; returns its header and its body. What the broker asks of its own accord is passed over."""
        while True:
            length, word = struct.unpack(">ii", self.input.read(8))
            rest = self.input.read(length - 4)
            header = json.loads(rest[:word & 0xFFFFFF])
            if header["flag"] & ANSWER_FLAG:
                break
        if header["code"] != 0:
            raise Failed(f"a request was answered with {header['code']}: {header.get('remark')}")
        return header, rest[word & 0xFFFFFF:]

    def ask(self, code, fields, body=b""):
        """One request and its answer."""
        self.socket.sendall(self.frame(code, fields, body))
        return self.answer()

    def ask_all(self, requests):
        """Many requests, given as tuples of what `ask` takes."""
        frames = [self.frame(*request) for request in requests]
        for begin in range(0, len(frames), AHEAD_REQUESTS):
            some = frames[begin:begin + AHEAD_REQUESTS]
            self.socket.sendall(b"".join(some))
            for _ in some:
                self.answer()

    def close(self):
        """Ends the connection."""
        self.input.close()
        self.socket.close()


def beat(line, group, topic):
    """Shows a producer, and a consumer of a group, which last as long as the connection."""
    subscription = {"topic": topic, "subString": "*", "expressionType": "TAG", "subVersion": 1, "tagsSet": [],
                    "codeSet": [], "classFilterMode": False}
    consumer = {"groupName": group, "consumeType": "CONSUME_PASSIVELY", "messageModel": "CLUSTERING",
                "consumeFromWhere": "CONSUME_FROM_FIRST_OFFSET", "unitMode": False,
                "subscriptionDataSet": [subscription]}
    body = {"clientID": "load@1", "producerDataSet": [{"groupName": "makers"}], "consumerDataSet": [consumer]}
    line.ask(HEARTBEAT, {}, json.dumps(body).encode())


def pull(line, group, topic, offset, kind="TAG"):
    """Header and records of a pull of one message of a topic's first queue, with a filter of this type."""
    return line.ask(PULL, {"consumerGroup": group, "topic": topic, "queueId": 0, "queueOffset": offset, "maxMsgNums": 1,
                           "sysFlag": SUBSCRIBED, "commitOffset": 0, "suspendTimeoutMillis": 0, "subscription": "*",
                           "subVersion": 1, "expressionType": kind})


def message(topic, body, group="makers", queue=0, properties=""):
    """The request that sends a message, as `ask` and `ask_all` take it."""
    return SEND, {"producerGroup": group, "topic": topic, "defaultTopic": "TBW102", "defaultTopicQueueNums": 4,
                  "queueId": queue, "sysFlag": 0, "bornTimestamp": int(time.time() * 1000), "flag": 0,
                  "properties": properties, "reconsumeTimes": 0, "unitMode": "false"}, body


def give_back(line, group, topic):
    """A group makes the first message of a topic's first queue a dead letter."""
    _, record = pull(line, group, topic, 0)
    offset, = struct.unpack_from(">q", record, PHYSICAL_OFFSET_AT)
    line.ask(SEND_BACK, {"offset": offset, "group": group, "delayLevel": -1, "originMsgId": "", "originTopic": topic,
                         "unitMode": "false", "maxReconsumeTimes": 16})


class Scene:
    """The servers of one run, and the checks on them."""

    def __init__(self, strata, *words):
        self.folder = Path(tempfile.mkdtemp(prefix="strata-prometheus-"))
        self.binary = strata
        ports = [free_port() for _ in range(4)]
        self.namesrv, self.broker, self.metrics, self.sql = (f"127.0.0.1:{port}" for port in ports)
        self.cold = f"file://{self.folder / 'cold'}"
        self.options = ["--listen", "127.0.0.1", "--namesrv-port", str(ports[0]), "--broker-port", str(ports[1]),
                        "--metrics-port", str(ports[2]), "--sql-port", str(ports[3]), "--postgres-port", "0",
                        "--cold", self.cold, *words]
        self.strata = Node("strata", self.start_in("data"), self.folder / "strata.log", Strata.ready)
        self.nodes = [self.strata]
        self.passed, self.failed = 0, 0

    def start_in(self, data):
        """The command that starts strata on a data folder."""
        settings = self.folder / "broker.conf"
        # How full the machine's own disk is decides nothing here.
        settings.write_text("diskMaxUsedSpaceRatio = 95\n")
        return [self.binary, "start", "--data", str(self.folder / data), "-c", str(settings), *self.options]

    def cpu_s(self):
        """CPU that the broker's process took so far, as the kernel has it."""
        fields = Path(f"/proc/{self.strata.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def refuses_expressions(self):
        """A group of the strict dialect cannot have an expression with an end that is no SQL."""
        self.call("group", "create", "strict", "--dialect", "strict")
        try:
            self.call("consume", "orders", "-g", "strict", "--filter", "TAGS = 'A' and so on")
        except Failed:
            return
        raise Failed("an expression with an end that is no SQL was taken")

    def add_prometheus(self, config):
        """A Prometheus beside the broker, with this configuration."""
        self.prometheus = Prometheus(self.folder, config)
        self.nodes.append(self.prometheus)

    def start(self):
        """Starts all servers."""
        deadline = time.monotonic() + READY_S
        for node in self.nodes:
            node.start()
            node.wait_ready(deadline)

    def end_strata(self):
        """Ends the broker, which may be started again."""
        self.strata.terminate()
        if not self.strata.join(time.monotonic() + STOP_S):
            raise Failed("strata did not end on SIGTERM")

    def stop(self):
        """Ends all servers and removes everything; the logs of a failed run are shown first."""
        for node in self.nodes:
            node.terminate()
        ended = [node.join(time.monotonic() + STOP_S) for node in self.nodes]
        if self.failed:
            for node in self.nodes:
                lines = node.log.read_text(errors="replace").splitlines() if node.log.exists() else []
                print(f"last lines of {node.name}:", *lines[-10:], sep="\n  ", file=sys.stderr)
        shutil.rmtree(self.folder)
        return all(ended)

    def call(self, *words):
        """One command of strata, against the server under test; returns its output's lines."""
        return self.run_alone(*words, "--namesrv", self.namesrv)

    def run_alone(self, *words):
        """One command of strata that asks no server; returns its output's lines."""
        done = subprocess.run([self.binary, *words], capture_output=True, text=True, timeout=COMMAND_S, check=False)
        if done.returncode != 0:
            raise Failed(f"strata {' '.join(words)} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout.splitlines()

    def give_up(self, group, topic):
        """A new group makes the first message of a topic's first queue a dead letter."""
        self.call("group", "create", group)
        line = Line(self.broker)
        give_back(line, group, topic)
        line.close()

    def page(self):
        """What /metrics says now."""
        with urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=CALL_S) as answer:
            return Page(answer.read().decode())

    def check(self, name, body):
        """Runs one check and says how it ended."""
        try:
            body()
            self.passed += 1
            print(f"ok     {name}", flush=True)
        except (Failed, subprocess.TimeoutExpired, OSError, RuntimeError) as error:
            self.failed += 1
            print(f"not ok {name} # {error}", flush=True)

    def play(self):
        """Starts, checks and stops; returns the exit code: 0 all as it should be, 1 something failed."""
        signal.signal(signal.SIGTERM, interrupted)
        try:
            self.start()
            for name, body in self.checks().items():
                self.check(name, body)
        finally:
            if not self.stop():
                self.failed += 1
                print("not ok the end # a server did not end on SIGTERM", flush=True)
        print(f"\n{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed else 0

    def checks(self):
        """All checks, by name, in their order."""
        raise NotImplementedError


def interrupted(*_):
    """An interrupted run must still stop its processes, and a second signal must not stop it from doing so."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(2)
