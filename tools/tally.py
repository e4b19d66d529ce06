"""Count tests over several runners.

A tally file has one line per part: passed, failed, skipped and a label,
separated by tabs.

    tally.py add FILE LABEL PASSED FAILED SKIPPED
    tally.py meson FILE LABEL testlog.json        counts the tests in C
    tally.py junit FILE LABEL report.xml STATUS   counts what pytest ran
    tally.py total FILE     prints the sum; exit status 1 if anything failed
                            or nothing ran
"""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

Count = Callable[..., Counter[str]]
KINDS = ("passed", "failed", "skipped")
PLAN = re.compile(r"1\.\.(\d+)")
RESULT = re.compile(r"(not )?ok\b.*?(# SKIP.*)?$", re.IGNORECASE)


def count_program(test: dict[str, Any]) -> Counter[str]:
    """The tests of one executable, from its line in meson's log.

    What the plan promises and the output lacks has failed, and so has
    something if the executable ended badly. Failures are printed with the
    comments that follow them.
    """
    counts: Counter[str] = Counter()
    planned = 0
    show = False
    for line in test.get("stdout", "").splitlines():
        if plan := PLAN.fullmatch(line):
            planned = int(plan[1])
        elif result := RESULT.match(line):
            kind = "failed" if result[1] else "passed"
            counts["skipped" if result[2] else kind] += 1
            show = kind == "failed"
        if show:
            print(f"    {line}")
    good = test["result"] in ("OK", "EXPECTEDFAIL", "SKIP")
    if not counts and not planned:  # no TAP: it is one test
        kind = "skipped" if test["result"] == "SKIP" else "passed"
        counts[kind if good else "failed"] += 1
    counts["failed"] += max(0, planned - counts.total())
    if not good:
        counts["failed"] = max(1, counts["failed"])
        print(f"    {test['name']}: {test['result']}, exit status"
              f" {test.get('returncode')}")
        print(test.get("stderr", ""), end="")
    return counts


def count_meson(log: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for line in Path(log).read_text("utf-8").splitlines():
        counts += count_program(json.loads(line))
    return counts


def count_junit(report: str, status: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for case in ET.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            counts["failed"] += 1
        else:
            counts["skipped" if "skipped" in kinds else "passed"] += 1
    # pytest can fail without a test that does: nothing collected, say.
    if status != "0" and not counts["failed"]:
        print(f"    pytest ended with status {status}")
        counts["failed"] = 1
    return counts


def count_or_fail(label: str, count: Count, *args: str) -> Counter[str]:
    try:
        return count(*args)
    except (OSError, ET.ParseError, json.JSONDecodeError) as error:
        # The runner died before it could write its report.
        print(f"    {label}: no report: {error}")
        return Counter(failed=1)


def add(path: str, label: str, counts: Counter[str]) -> None:
    with open(path, "a", encoding="utf-8") as out:
        print(*(counts[kind] for kind in KINDS), label, sep="\t", file=out)


def total(path: str) -> bool:
    sums: Counter[str] = Counter()
    for row in Path(path).read_text("utf-8").splitlines():
        *numbers, label = row.split("\t")
        counts = dict(zip(KINDS, map(int, numbers)))
        sums.update(counts)
        text = "".join(f"{n:6} {kind}" for kind, n in counts.items())
        print(f"  {text}   {label}")
    print(", ".join(f"{sums[kind]} {kind}" for kind in KINDS))
    return sums["passed"] > 0 and sums["failed"] == 0


def main(argv: list[str]) -> int:
    match argv:
        case ["add", path, label, *numbers] if len(numbers) == 3:
            add(path, label, Counter(dict(zip(KINDS, map(int, numbers)))))
        case ["meson", path, label, log]:
            add(path, label, count_or_fail(label, count_meson, log))
        case ["junit", path, label, report, status]:
            add(path, label, count_or_fail(label, count_junit, report, status))
        case ["total", path]:
            return 0 if total(path) else 1
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
