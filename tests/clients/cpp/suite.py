"""The C++ suite's program: lists its cases, or runs those named in CASES and prints a line for each.

Owns the conversation with the runner (see harness/session.py) and the threads; holds no case.
"""

import os
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

from stage import Failed, Stage

# Cases wait for the broker rather than compute, so more run at once than there are cores.
CASES_AT_ONCE = 8
# The library prints to stdout at times; the runner's lines go to a copy that nobody else writes to.
RUNNER = os.fdopen(os.dup(1), "w", buffering=1)
_say_lock, _ask_lock = threading.Lock(), threading.Lock()


def say(line):
    """One line to the runner."""
    with _say_lock:
        RUNNER.write(line + "\n")


def ask(request):
    """Asks for what only the runner can do; returns when it is done."""
    with _ask_lock:
        say("#" + request)
        answer = sys.stdin.readline().strip()
    if answer != "done":
        raise Failed(f"#{request}: {answer}")


def run(name, seconds, body):
    """Runs one case in a thread of its own, so that a hanging call cannot hold the slot for ever."""
    say(f"start {name}")
    began = time.monotonic()
    stage = Stage(name, ask)
    outcome = []

    def attempt():
        try:
            body(stage)
            outcome.append(None)
        except Failed as failure:
            outcome.append(str(failure))
        except Exception as failure:  # Whatever the library throws is the case's failure.
            traceback.print_exc()
            outcome.append(f"{type(failure).__name__}: {failure}")

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    reason = outcome[0] if outcome else f"did not end within {seconds} s"
    millis = int((time.monotonic() - began) * 1000)
    say(f"ok {name} {millis}" if reason is None else f"not ok {name} {millis} # {' '.join(reason.split())}")
    stage.close()


def main():
    """Lists or runs the cases."""
    from cases import CASES
    if sys.argv[1:] == ["--list"]:
        for name, seconds, _ in CASES:
            say(f"{name} {seconds}")
        return
    # What the library prints belongs to the log.
    os.dup2(2, 1)
    wanted = set(os.environ["CASES"].split(","))
    with ThreadPoolExecutor(CASES_AT_ONCE) as slots:
        for case in CASES:
            if case[0] in wanted:
                slots.submit(run, *case)
    # The library's own threads may not end; nothing of theirs is needed any more.
    os._exit(0)


if __name__ == "__main__":
    main()
