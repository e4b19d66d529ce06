"""What the suites that count single tests share: deviations and counts."""

from __future__ import annotations

import collections
import dataclasses
import fnmatch
import pathlib
import sys
import textwrap
import tomllib

from _env import Totals

#: lines of a failure's text that are shown
LINES_SHOWN = 30


class Deviations:
    """What Coir fails, or does not run, on purpose.

    A table of TOML: names of tests, or of files, which may have wildcards;
    the reason; ``versions`` if it is not all of Python's; ``unsteady`` if
    they may pass.
    """

    def __init__(self, path: pathlib.Path | None) -> None:
        """
        :param path: the file; ``None`` if there are none.
        """
        version = "{}.{}".format(*sys.version_info)
        entries = []
        if path is not None:
            with open(path, "rb") as file:
                entries = tomllib.load(file).get("deviation", [])
        self.entries = [entry for entry in entries
                        if version in entry.get("versions", [version])]
        self.used: set[str] = set()

    def add(self, tests: list[str], reason: str) -> None:
        """One more, that the file need not have."""
        self.entries.append({"tests": tests, "reason": reason})
        self.used |= set(tests)

    def find(self, name: str) -> dict | None:
        """The entry for a test, or for the file it is in."""
        for entry in self.entries:
            for pattern in entry["tests"]:
                if (fnmatch.fnmatchcase(name, pattern)
                        or name.startswith(f"{pattern}.")):
                    self.used.add(pattern)
                    return entry
        return None

    def unused(self) -> list[str]:
        """Names that find() never met."""
        return [pattern for entry in self.entries
                for pattern in entry["tests"] if pattern not in self.used]


@dataclasses.dataclass
class Report:
    """The counts, and what is worth a line, by kind."""

    totals: Totals = dataclasses.field(default_factory=Totals)
    outcomes: dict[str, dict] = dataclasses.field(default_factory=dict)
    lines: dict[str, list[str]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(list))

    def note(self, name: str, verdict: str, text: str = "") -> None:
        self.outcomes[name] = {"verdict": verdict, "text": text}
        if verdict == "passed":
            self.totals.passed += 1
        elif verdict == "unsteady":
            self.totals.passed += 1
            self.lines["unsteady"].append(name)
        elif verdict == "failed":
            self.totals.failed += 1
        else:  # skipped, a deviation, or it fails on the original too
            self.totals.skipped += 1

    def print_deviations(self) -> None:
        """All that were met, by their reasons."""
        by_reason = collections.defaultdict(list)
        for name in self.lines["deviations"]:
            by_reason[self.outcomes[name]["text"]].append(name)
        for reason, names in by_reason.items():
            print(f"\nDEVIATION {reason}")
            for name in names:
                print(f"    {name}")

    def print_lines(self, kind: str, title: str) -> None:
        if self.lines[kind]:
            print(f"\n{title}")
            for line in self.lines[kind]:
                print(f"    {line}")


def show(kind: str, name: str, text: str) -> None:
    lines = text.strip().splitlines()
    if len(lines) > LINES_SHOWN:
        lines = ["...", *lines[-LINES_SHOWN:]]
    print(f"\n{kind} {name}\n" + textwrap.indent("\n".join(lines), "    "))
