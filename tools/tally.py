"""Count tests over several runners.

A tally file has one line per part: passed, failed, skipped and a label,
separated by tabs.

    tally.py add FILE LABEL PASSED FAILED SKIPPED
    tally.py junit FILE LABEL REPORT.xml    counts a JUnit report
    tally.py total FILE                     prints the sum; exit status 1 if
                                            anything failed or nothing ran
"""

import sys
import xml.etree.ElementTree as ET


def count(report: str) -> tuple[int, int, int]:
    """Passed, failed and skipped test cases of a JUnit report."""
    passed = failed = skipped = 0
    for case in ET.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            failed += 1
        elif "skipped" in kinds:
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def add(path: str, label: str, counts: tuple[int, int, int]) -> None:
    with open(path, "a", encoding="utf-8") as out:
        print(*counts, label, sep="\t", file=out)


def total(path: str) -> bool:
    sums = [0, 0, 0]
    with open(path, encoding="utf-8") as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines]
    for *counts, label in rows:
        p, f, s = map(int, counts)
        sums = [sums[0] + p, sums[1] + f, sums[2] + s]
        print(f"    {label:40} {p:6} passed {f:4} failed {s:4} skipped")
    print(f"{sums[0]} passed, {sums[1]} failed, {sums[2]} skipped")
    return sums[0] > 0 and sums[1] == 0


def main(argv: list[str]) -> int:
    match argv:
        case ["add", path, label, *numbers] if len(numbers) == 3:
            p, f, s = map(int, numbers)
            add(path, label, (p, f, s))
        case ["junit", path, label, report]:
            try:
                counts = count(report)
            except (OSError, ET.ParseError) as error:
                # The runner died before it could write its report.
                print(f"    {label}: no report: {error}", file=sys.stderr)
                counts = (0, 1, 0)
            add(path, label, counts)
        case ["total", path]:
            return 0 if total(path) else 1
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
