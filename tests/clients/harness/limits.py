"""The figures that bound a run, with their units and reasons.

Owns numbers only; whoever waits or counts imports them from here.
"""

# A JVM broker starts in about 6 s alone; with builds on the same two cores it was seen to take 25 s.
TARGET_READY_S = 90
# A target that was asked to end gets this long to drain before it is killed.
TARGET_STOP_S = 15
# Beyond a case's own limit the suite program has this long to report the timeout itself.
CASE_GRACE_S = 20
# Suites begin so far apart: five programs that start at once on two cores stall a broker for longer than the 3 s that
# the Go client allows a request, whatever it is told.
STAGGER_S = 4
# A suite program that has reported all its cases must end soon after.
SUITE_EXIT_S = 30
# Whatever happens, one phase of one suite does not outlive this.
SUITE_S = 420
# Fetching and compiling a client the first time; a slow registry must not hang a run for ever.
BUILD_S = 540
# A topic that a broker makes by itself, such as a dead-letter topic, is known to the name servers within this.
TOPIC_ROUTE_S = 30
# One remoting request of the runner (create a topic, read a route).
REQUEST_S = 10
# A failure's reason is cut to one readable line.
REASON_CHARS = 300
# Failed cases of the reference that are run once more; with more than these something else is wrong.
REFERENCE_AGAIN_MAX = 10
