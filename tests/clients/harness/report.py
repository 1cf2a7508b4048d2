"""Exclusions applied to results, the table of each suite, and the closing line.

Owns the verdict of the whole run; knows nothing of processes.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path

EXCLUSIONS = Path(__file__).resolve().parents[1] / "exclusions.toml"
FIELDS = ("suite", "case", "target", "reason")


@dataclass
class Verdict:
    """One line of the closing count: passed, failed or skipped, and why."""

    state: str
    reason: str


def read_exclusions(path=EXCLUSIONS):
    """{(suite, case, target): reason}; raises ValueError when an entry is not whole."""
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("exclusion", [])
    exclusions = {}
    for entry in entries:
        if set(entry) != set(FIELDS) or not all(isinstance(entry[f], str) and entry[f].strip() for f in FIELDS):
            raise ValueError(f"{path.name}: an exclusion needs exactly {', '.join(FIELDS)}: {entry}")
        key = (entry["suite"], entry["case"], entry["target"])
        if key in exclusions:
            raise ValueError(f"{path.name}: {key} is excluded twice")
        exclusions[key] = entry["reason"]
    return exclusions


def unknown_exclusions(exclusions, cases):
    """Exclusions of a listed suite ({suite: names}) that name no case of it: they hide nothing and are stale."""
    return [key for key in exclusions if key[0] in cases and key[1] not in cases[key[0]]]


def judge(result, exclusions):
    """The verdict on one result."""
    reason = exclusions.get((result.suite, result.case, result.target))
    if reason is None:
        return Verdict("passed" if result.passed else "failed", result.reason)
    if result.passed:
        return Verdict("failed", f"passes, so its exclusion is stale: {reason}")
    return Verdict("skipped", reason)


def table(suite, results, verdicts):
    """Prints a row for each case and a column for each target."""
    targets = list(dict.fromkeys(result.target for result in results))
    cases = list(dict.fromkeys(result.case for result in results))
    width = max(len(case) for case in cases)
    marks = {"passed": "ok", "failed": "FAILED", "skipped": "skipped"}
    by_key = {(r.case, r.target): r for r in results}
    print(f"\n{suite.name}: {suite.client}")
    print("  " + "case".ljust(width) + "".join(f"  {target:<16}" for target in targets))
    for case in cases:
        row = ""
        for target in targets:
            result = by_key.get((case, target))
            cell = f"{marks[verdicts[id(result)].state]:<8}{result.seconds:6.1f}s" if result else "-"
            row += f"  {cell:<16}"
        print("  " + case.ljust(width) + row.rstrip())


def conclude(suites, results, exclusions, extra_failures):
    """Prints tables, reasons and the closing line; returns the exit code.

    extra_failures are sentences about what is no case: a suite without cases, an exclusion of nothing.
    """
    verdicts = {id(result): judge(result, exclusions) for result in results}
    for suite in suites:
        own = [result for result in results if result.suite == suite.name]
        if own:
            table(suite, own, verdicts)
    for state, title in (("skipped", "Skipped"), ("failed", "Failed")):
        chosen = [result for result in results if verdicts[id(result)].state == state]
        if chosen:
            print(f"\n{title}:")
        for result in chosen:
            print(f"  {result.suite} {result.case} on {result.target}: {verdicts[id(result)].reason}")
    for sentence in extra_failures:
        print(f"Failed: {sentence}")
    states = [verdict.state for verdict in verdicts.values()]
    failed = states.count("failed") + len(extra_failures)
    print(f"\n{states.count('passed')} passed, {failed} failed, {states.count('skipped')} skipped", flush=True)
    return 1 if failed else 0
