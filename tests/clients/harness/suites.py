"""The suites: which client each one drives, how it is built into the cache, and how it is started.

Owns the cache below `strata/clients`; a build is keyed by the text of its sources and is never changed afterwards.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from .limits import BUILD_S

CLIENTS = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "strata" / "clients"
# Files that tools leave in a source folder; they are no input of a build.
LEFTOVERS = {"target", "node_modules", "__pycache__"}
JAVA_OPTIONS = [
    "-Xmx400m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData",
    "--add-opens", "java.base/java.nio=ALL-UNNAMED", "--add-opens", "java.base/sun.nio.ch=ALL-UNNAMED",
]


class Suite:
    """One client: a folder of sources, its variant, and how to build and start it."""

    def __init__(self, name, client, folder, variant=""):
        self.name, self.client, self.folder, self.variant = name, client, CLIENTS / folder, variant

    def sources(self):
        """The folders whose files are the build's input."""
        return [self.folder]

    def key(self):
        """Names the build: a digest over the variant and all source files."""
        digest = hashlib.sha256(self.variant.encode())
        for folder in self.sources():
            for path in sorted(folder.rglob("*")):
                if path.is_file() and not LEFTOVERS & set(path.relative_to(folder).parts):
                    digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
        return digest.hexdigest()[:16]

    def built(self):
        """The folder of the current build."""
        return CACHE / self.name / self.key()

    def build(self):
        """Makes the build when it is missing and removes older ones; raises CalledProcessError."""
        final = self.built()
        if (final / "complete").exists():
            return
        if final.parent.exists():
            shutil.rmtree(final.parent)
        final.mkdir(parents=True)
        self.make(final)
        (final / "complete").touch()

    def make(self, into):
        """Builds into the folder."""
        raise NotImplementedError

    def command(self, scratch):
        """The program and its arguments; `--list` may be appended."""
        raise NotImplementedError


def call(command, cwd=None, env=None):
    """Runs one build step; its output goes to stderr so that stdout stays the report's."""
    subprocess.run(command, cwd=cwd, env=env, check=True, timeout=BUILD_S, stdout=sys.stderr, stdin=subprocess.DEVNULL)


class Java(Suite):
    """A Maven project with one profile per client version."""

    program = "org.strata.clients.Suite"

    def make(self, into):
        call(["mvn", "-q", "-B", "-f", str(self.folder / "pom.xml"), f"-Dclient={self.variant}", f"-Dout={into}",
              "compile", "dependency:copy-dependencies"])

    def command(self, scratch):
        lib = self.built()
        # The client keeps logs and broadcast offsets below the home folder.
        return ["java", *JAVA_OPTIONS, f"-Duser.home={scratch}", "-cp", f"{lib}/classes:{lib}/lib/*",
                self.program]


class Admin(Java):
    """A Maven project for RocketMQ's administration tool; what surrounds a case is compiled from the Java suite."""

    program = "org.strata.clients.Admin"

    def sources(self):
        return [self.folder, CLIENTS / "java"]


class Go(Suite):
    """A Go module; the module cache is Go's own."""

    def make(self, into):
        call(["go", "build", "-o", str(into / "suite"), "."], cwd=self.folder)

    def command(self, scratch):
        return [str(self.built() / "suite")]


class Node(Suite):
    """A script with packages from npm."""

    def make(self, into):
        for path in self.folder.iterdir():
            if path.is_file():
                shutil.copy(path, into)
        call(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=into)

    def command(self, scratch):
        return ["node", str(self.built() / "suite.js")]


class Cpp(Suite):
    """Python over the C++ client: the wheel bundles the shared library."""

    def make(self, into):
        call([sys.executable, "-m", "venv", str(into / "venv")])
        call([str(into / "venv/bin/python"), "-m", "pip", "install", "-q", "-r", str(self.folder / "requirements.txt")])

    def command(self, scratch):
        # The library writes its logs below HOME.
        return ["env", f"HOME={scratch}", str(self.built() / "venv/bin/python"), str(self.folder / "suite.py")]


ALL = [
    Java("java", "rocketmq-client 5.5.0 (Java)", "java", "5"),
    Java("java49", "rocketmq-client 4.9.8 (Java)", "java", "4"),
    Admin("mqadmin", "rocketmq-tools 5.5.0 (mqadmin)", "mqadmin"),
    Go("go", "rocketmq-client-go v2.1.2", "go"),
    Node("node", "ali-ons (Node.js)", "node"),
    Cpp("cpp", "librocketmq through PyPI's rocketmq (C++)", "cpp"),
]


@contextmanager
def cache_lock():
    """One build at a time, also between two runs."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build_all(suites):
    """Builds what is missing, one suite after the other: two cores gain nothing from more."""
    with cache_lock():
        for suite in suites:
            suite.build()
