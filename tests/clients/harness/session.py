"""One suite program's conversation with the runner: cases started and ended, nodes killed, topics made.

Owns the child process and the meaning of its lines; what the results amount to is the report's business.

A suite program prints, one a line, and anything else it prints goes to its log:
    start CASE                    ok CASE MILLIS            not ok CASE MILLIS # REASON
    #kill NODE    #start NODE    #topic NAME QUEUES    #route TOPIC
A line that begins with # is a request; the runner answers it on stdin with `done` or `failed REASON`.
"""

import os
import queue
import re
import signal
import subprocess
import threading
import time
from dataclasses import dataclass

from . import remoting
from .limits import CASE_GRACE_S, REASON_CHARS, SUITE_EXIT_S, SUITE_S

RESULT = re.compile(r"(ok|not ok) (\S+) (\d+)(?: # (.*))?$")


@dataclass
class Result:
    """What one case did on one target."""

    suite: str
    case: str
    target: str
    passed: bool
    seconds: float
    reason: str = ""


def list_cases(suite, scratch):
    """Asks the program for its cases; returns {name: limit in seconds}; raises RuntimeError."""
    command = [*suite.command(scratch), "--list"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    cases = {}
    for line in done.stdout.splitlines():
        name, _, limit = line.partition(" ")
        if limit.isdigit():
            cases[name] = int(limit)
    if done.returncode != 0:
        raise RuntimeError(f"{suite.name} --list ended with {done.returncode}: {done.stderr[-500:]}")
    return cases


class Session:
    """Runs some cases of one suite against one running cluster."""

    def __init__(self, suite, cluster, scratch, log):
        self.suite, self.cluster, self.scratch, self.log = suite, cluster, scratch, log
        self.target = cluster.target.name
        self.results, self.started, self.process = {}, {}, None
        self.lines = queue.Queue()

    def run(self, cases, announce):
        """Runs the cases {name: limit} and returns one Result for each, in their order."""
        self.announce = announce
        self.process = subprocess.Popen(
            self.suite.command(self.scratch), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
            text=True, bufsize=1, env=self._environment(cases), cwd=self.scratch, start_new_session=True)
        reader = threading.Thread(target=self._read, daemon=True)
        reader.start()
        try:
            verdict = self._follow(cases)
        finally:
            self._end()
        for name in cases:
            if name not in self.results:
                self._record(name, False, 0.0, verdict)
        return [self.results[name] for name in cases]

    def _environment(self, cases):
        environment = dict(os.environ)
        environment.update({
            "TARGET": self.target, "NAMESRV": self.cluster.namesrv_list(), "CASES": ",".join(cases),
            "BROKER": next(iter(self.cluster.brokers.values())), "SCRATCH": self.scratch,
            # Distinct names let several suites share a broker, and a suite run twice against one.
            "RUN": f"{self.suite.name}{int(time.time()) % 100000}",
            "PYTHONDONTWRITEBYTECODE": "1",
        })
        return environment

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def _follow(self, cases):
        """Reads lines until the program closes its output; returns why unreported cases have no result."""
        end = time.monotonic() + SUITE_S
        while True:
            now = time.monotonic()
            late = [name for name, since in self.started.items()
                    if name not in self.results and now - since > cases[name] + CASE_GRACE_S]
            if late:
                return f"the suite was killed: {', '.join(late)} did not end in time"
            if now > end:
                return f"the suite was killed after {SUITE_S} s"
            try:
                line = self.lines.get(timeout=1)
            except queue.Empty:
                continue
            if line is None:
                return "the suite program ended before this case did"
            self._understand(line, cases)
            if len(self.results) == len(cases):
                end = min(end, time.monotonic() + SUITE_EXIT_S)

    def _understand(self, line, cases):
        result = RESULT.match(line)
        if result and result[2] in cases:
            self._record(result[2], result[1] == "ok", int(result[3]) / 1000, result[4] or "")
        elif line.startswith("start ") and line[6:] in cases:
            self.started[line[6:]] = time.monotonic()
        elif line.startswith("#"):
            threading.Thread(target=self._answer, args=(line,), daemon=True).start()
        else:
            self.log.write(line + "\n")
            self.log.flush()

    def _record(self, name, passed, seconds, reason):
        if name in self.results:
            # A late end of a case that has timed out changes nothing.
            return
        result = Result(self.suite.name, name, self.target, passed, seconds, reason[:REASON_CHARS])
        self.results[name] = result
        self.announce(result)

    def _answer(self, line):
        words = line[1:].split()
        try:
            match words:
                case ["kill", node]:
                    self.cluster.kill(node)
                case ["start", node]:
                    self.cluster.restart(node)
                case ["topic", name, queues]:
                    remoting.create_topic(self.cluster, name, int(queues))
                case ["route", name]:
                    self.cluster.wait_topic(name)
                case _:
                    raise ValueError(f"unknown request {line}")
            answer = "done"
        except Exception as error:  # The suite is told whatever went wrong; its case fails with it.
            answer = f"failed {error}"
        try:
            self.log.write(f"{line} -> {answer}\n")
            self.process.stdin.write(answer + "\n")
            self.process.stdin.flush()
        except (OSError, ValueError):
            # The program has ended, and with it the log: nobody waits for the answer.
            pass

    def _end(self):
        """Ends the program and everything it started."""
        try:
            self.process.wait(timeout=2 if len(self.results) else 0)
        except subprocess.TimeoutExpired:
            pass
        self.kill()
        self.process.wait()

    def kill(self):
        """Kills the program and everything it started, if any of it still runs."""
        if self.process is None:
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
