"""The brokers under test: how Apache and Strata start, and a cluster of their processes that can be killed.

Owns processes, ports and data folders of one topology; what is run against it is decided elsewhere.
"""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from . import remoting
from .limits import TARGET_READY_S, TARGET_STOP_S, TOPIC_ROUTE_S

TESTS = Path(__file__).resolve().parents[2]


def is_free(port):
    """Whether nothing listens on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


# Below the kernel's ephemeral range, so that no client's outgoing connection takes a port we chose.
_next_port = 12000 + (os.getpid() * 37) % 15000


def free_port():
    """A port p with p-2 .. p+1 free too: a broker also listens on its VIP port and its replication port."""
    global _next_port
    for _ in range(4000):
        candidate = _next_port = 12000 + (_next_port - 12000 + 7) % 18000
        if all(is_free(candidate + near) for near in (-2, -1, 0, 1)):
            return candidate
    raise OSError("no free port below the ephemeral range")


class Apache:
    """The reference. Each role is one JVM in the foreground of the starter script."""

    name = "apache"
    ready = "boot success"
    # It waits for connections that its clients have left; its data is thrown away, so it is not waited for.
    stop_s = 3
    must_end = False

    def __init__(self):
        self.starter = str(TESTS / "apache" / "apache")

    def prepare(self):
        """Fetches the jars, once."""
        subprocess.run([self.starter, "get"], check=True, stdout=subprocess.DEVNULL)

    def namesrv(self, data, port):
        return [self.starter, "namesrv", "--data", data, "--port", str(port)]

    def broker(self, data, port, namesrvs, name):
        return [self.starter, "broker", "--data", data, "--broker-port", str(port),
                "--namesrv", namesrvs, "--name", name]

    def both(self, _data, _namesrv_port, _broker_port):
        """Apache has no process that is both; the cluster starts two."""
        return None


class Strata:
    """The broker of this project."""

    name = "strata"
    ready = "ready"
    stop_s = TARGET_STOP_S
    must_end = True

    def __init__(self, binary):
        self.binary = str(binary)

    def prepare(self):
        """The binary is the caller's business: it is built before the run."""

    def namesrv(self, data, port):
        return [self.binary, "namesrv", "--port", str(port), "--data", data]

    def broker(self, data, port, namesrvs, name):
        return [self.binary, "broker", "-c", self.settings(data), "--namesrv", namesrvs, "--broker-port", str(port),
                "--name", name, "--data", data, "--metrics-port", "0"]

    def both(self, data, namesrv_port, broker_port):
        return [self.binary, "start", "-c", self.settings(data), "--data", data, "--namesrv-port", str(namesrv_port),
                "--broker-port", str(broker_port), "--metrics-port", str(free_port()),
                "--sql-port", "0", "--postgres-port", "0"]

    @staticmethod
    def settings(data):
        """The reference has the same patience: a shared machine may stand still for longer than 200 ms."""
        path = Path(f"{data}.conf")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("waitTimeMillsInSendQueue=5000\n", encoding="utf-8")
        return str(path)


class Node:
    """One server process: its command, its log and its life."""

    def __init__(self, name, command, log, ready):
        self.name, self.command, self.log, self.ready = name, command, log, ready
        self.process = None
        self.killed = False

    def start(self):
        """Starts the process; its output is appended to the log."""
        self.killed = False
        with open(self.log, "ab") as log:
            self.mark = log.tell()
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT, start_new_session=True)

    def wait_ready(self, deadline):
        """Waits for the ready line of this start; raises RuntimeError with the log's end."""
        while time.monotonic() < deadline:
            with open(self.log, "rb") as log:
                log.seek(self.mark)
                text = log.read().decode(errors="replace")
            if self.ready in text:
                return
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}: {text[-500:]}")
            time.sleep(0.05)
        raise RuntimeError(f"{self.name} was not ready in {TARGET_READY_S} s, see {self.log}")

    def kill(self):
        """SIGKILL, and waits until the process is gone."""
        self.killed = True
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def terminate(self):
        """SIGTERM to a process that still runs."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def join(self, deadline):
        """Waits for the end; kills after the deadline. Returns whether it ended by itself."""
        if not self.process:
            return True
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
            return True
        except subprocess.TimeoutExpired:
            self.kill()
            return False


class Cluster:
    """Name servers and brokers of one target, by name; nodes can be killed and started again."""

    def __init__(self, target, folder, logs, size):
        self.target, self.folder, self.logs = target, Path(folder), Path(logs)
        self.nodes, self.namesrvs, self.brokers = {}, {}, {}
        ports = [(free_port(), free_port()) for _ in range(size)]
        both = target.both(self._data("strata"), *ports[0]) if size == 1 else None
        names = [chr(ord("a") + index) for index in range(size)]
        self.namesrvs = {f"namesrv-{n}": f"127.0.0.1:{p}" for n, (p, _) in zip(names, ports)}
        if both:
            # The name of the broker is read back from the name server: nobody has chosen it here.
            self._add("strata", both)
            self.brokers = {"": f"127.0.0.1:{ports[0][1]}"}
        else:
            self.brokers = {f"broker-{n}": f"127.0.0.1:{q}" for n, (_, q) in zip(names, ports)}
            self._add_roles(names, ports)

    def _data(self, name):
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    def _add(self, name, command):
        self.nodes[name] = Node(name, command, self.logs / f"{self.target.name}-{self.folder.name}-{name}.log",
                                self.target.ready)

    def _add_roles(self, names, ports):
        addresses = self.namesrv_list()
        for name, (port, _) in zip(names, ports):
            self._add(f"namesrv-{name}", self.target.namesrv(self._data(f"namesrv-{name}"), port))
        for name, (_, port) in zip(names, ports):
            broker = f"broker-{name}"
            self._add(broker, self.target.broker(self._data(broker), port, addresses, broker))

    def namesrv_list(self):
        """The address list that clients are given."""
        return ";".join(self.namesrvs.values())

    def start(self):
        """Starts all nodes and waits until every name server lists every broker."""
        deadline = time.monotonic() + TARGET_READY_S
        for node in self.nodes.values():
            node.start()
        for node in self.nodes.values():
            node.wait_ready(deadline)
        if "" in self.brokers:
            found = set()
            while not found and time.monotonic() < deadline:
                found = remoting.brokers_of(self.namesrv_list(), remoting.TEMPLATE_TOPIC)
            self.brokers = dict.fromkeys(found, self.brokers[""])
        self.wait_routes(deadline)

    def wait_routes(self, deadline):
        """Waits until every name server lists every broker for the template topic."""
        for namesrv in self.namesrvs.values():
            remoting.wait_route(namesrv, remoting.TEMPLATE_TOPIC, self.brokers, deadline)

    def wait_topic(self, topic):
        """Waits until every name server lists every broker for a topic that a broker is about to make."""
        for namesrv in self.namesrvs.values():
            remoting.wait_route(namesrv, topic, self.brokers, time.monotonic() + TOPIC_ROUTE_S)

    def kill(self, name):
        """Kills one node as a power cut would: SIGKILL."""
        self.nodes[name].kill()

    def restart(self, name):
        """Starts a killed node on its old data and waits until it serves again."""
        node = self.nodes[name]
        deadline = time.monotonic() + TARGET_READY_S
        node.start()
        node.wait_ready(deadline)

    def stop(self):
        """Ends all nodes; returns the names of those that had to be killed although their target must end itself."""
        order = sorted(self.nodes.values(), key=lambda node: node.name)
        deadline = time.monotonic() + self.target.stop_s
        for node in order:
            node.terminate()
        killed = [node.name for node in order if not node.join(deadline)]
        return killed if self.target.must_end else []

    def ended(self):
        """Names of nodes whose process ended although nobody has killed it."""
        return [name for name, node in self.nodes.items()
                if node.process and not node.killed and node.process.poll() is not None]
