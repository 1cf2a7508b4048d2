"""The C++ suite's program: lists its cases, or runs those named in CASES and prints a line for each.

Owns the conversation with the runner (see harness/session.py); holds no case. Each case has a process of its own,
because the library at times crashes when clients of many threads come and go, and would take the other cases along.
"""

import os
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

# Cases wait for the broker rather than compute, so more run at once than there are cores.
CASES_AT_ONCE = 8
# A crash of the client library says nothing about the broker, so a case that ends so is tried again this often.
CRASHES_MAX = 2
_say_lock, _ask_lock = threading.Lock(), threading.Lock()


def say(line):
    """One line to the runner."""
    with _say_lock:
        print(line, flush=True)


def ask(request):
    """Passes a request on to the runner and returns its answer."""
    with _ask_lock:
        say(request)
        return sys.stdin.readline()


def attempt(name, number):
    """Runs one case in a process; returns (its exit status, the reason it gave for a failure)."""
    environment = {**os.environ, "RUN": f"{os.environ['RUN']}x{number}"}
    with subprocess.Popen([sys.executable, __file__, "--one", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True, env=environment) as child:
        reason = ""
        for line in child.stdout:
            if line.startswith("#"):
                child.stdin.write(ask(line.rstrip()))
                child.stdin.flush()
            else:
                reason = line.strip()
    return child.returncode, reason


def run(name):
    """Runs one case and reports it; a negative status is the signal that killed it."""
    say(f"start {name}")
    began = time.monotonic()
    for number in range(CRASHES_MAX + 1):
        status, reason = attempt(name, number)
        if status >= 0:
            break
        reason = f"the client library crashed with signal {-status}"
        print(f"{name}: {reason}", file=sys.stderr)
    millis = int((time.monotonic() - began) * 1000)
    say(f"ok {name} {millis}" if status == 0 else f"not ok {name} {millis} # {' '.join(reason.split())}")


def run_here(case):
    """The process of one case: exit status 0, or 1 with the reason as its last line."""
    from stage import Failed, Stage
    name, seconds, body = case
    # The library prints to stdout at times; requests and the reason go to a copy that nobody else writes to.
    parent = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def ask_parent(request):
        parent.write(f"#{request}\n")
        answer = sys.stdin.readline().strip()
        if answer != "done":
            raise Failed(f"#{request}: {answer}")

    outcome = []

    def guarded():
        try:
            body(Stage(name, ask_parent))
            outcome.append(None)
        except Failed as failure:
            outcome.append(str(failure))
        except Exception as failure:  # Whatever the library throws is the case's failure.
            traceback.print_exc()
            outcome.append(f"{type(failure).__name__}: {failure}")

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    thread.join(seconds)
    reason = outcome[0] if outcome else f"did not end within {seconds} s"
    if reason is not None:
        parent.write(" ".join(reason.split()) + "\n")
    # The end of the process is the end of its clients: ending them one by one is where the library crashes most.
    os._exit(0 if reason is None else 1)


def main():
    """Lists, runs all that are wanted, or runs one."""
    from cases import CASES
    if sys.argv[1:] == ["--list"]:
        for name, seconds, _ in CASES:
            say(f"{name} {seconds}")
    elif sys.argv[1:2] == ["--one"]:
        run_here(next(case for case in CASES if case[0] == sys.argv[2]))
    else:
        wanted = set(os.environ["CASES"].split(","))
        with ThreadPoolExecutor(CASES_AT_ONCE) as slots:
            list(slots.map(run, [name for name, _, _ in CASES if name in wanted]))


if __name__ == "__main__":
    main()
