"""A project's own files of tests, each run on the original and on Coir.

What fails on Coir is run again once the rest is done, with less company:
what passes then is counted as passed and reported as unsteady, unless a
process crashed or hung.
"""

from __future__ import annotations

import abc
import argparse
import concurrent.futures
import dataclasses
import json
import os
import subprocess
import threading
from collections.abc import Callable, Sequence

from _env import Environment, SetupError
from _report import Deviations, Report, show
from _unittests import FileRun, Outcome, cause

SIDES = ("original", "coir")

PROBE = """\
import {0}, {0}.event, greenlet, json, os
print(json.dumps({{
    "file": os.path.realpath({0}.__file__),
    "version": {0}.__version__,
    "greenlet": repr(greenlet.greenlet)}}))
"""


@dataclasses.dataclass
class Pair(abc.ABC):
    """A file and its runs on both sides."""

    name: str
    command: list[str]
    timeout: float
    #: no other is to run meanwhile
    alone: bool = False
    #: further variables
    more: dict[str, str] = dataclasses.field(default_factory=dict)
    runs: dict[str, FileRun] = dataclasses.field(default_factory=dict)
    again: FileRun | None = None

    @abc.abstractmethod
    def test_name(self, test: str) -> str:
        """The name that deviations have for a test's id."""

    def named(self, run: FileRun | None) -> dict[str, Outcome]:
        """Outcomes by these names."""
        tests = {} if run is None else run.tests
        return {self.test_name(test): outcome
                for test, outcome in tests.items()}


def probe(env: Environment, project: str, on: str, environ: dict[str, str]
          ) -> str:
    """Say whose package is imported, and check it: its file."""
    done = subprocess.run([env.python, "-P", "-c", PROBE.format(project)],
                          text=True, capture_output=True, env=environ)
    if done.returncode:
        raise SetupError(f"import {project} failed on {on}:\n{done.stderr}")
    found = json.loads(done.stdout)
    print(f"{on}: {project} {found['version']} from {found['file']}, on "
          f"{found['greenlet']}", flush=True)
    if (f"/coir/{project}/" in found["file"]) != (on == "coir"):
        raise SetupError(f"on {on}, {project} is not the one to be tested")
    return found["file"]


class Runner:
    """Runs files side by side, with a line for each that is done."""

    def __init__(self, run_side: Callable[[Pair, str], FileRun],
                 options: argparse.Namespace, total: int) -> None:
        """
        :param run_side: runs a file on one side.
        """
        self._run_side = run_side
        self._jobs = options.jobs or max(1, (os.cpu_count() or 2) // 2)
        self._sides = SIDES if options.on == "coir" else SIDES[:1]
        self._total = total
        self._done = 0
        self._lock = threading.Lock()

    def run(self, pairs: Sequence[Pair]) -> None:
        together = [pair for pair in pairs if not pair.alone]
        with concurrent.futures.ThreadPoolExecutor(self._jobs) as pool:
            list(pool.map(self._run_pair, together))
        for pair in pairs:
            if pair.alone:
                self._run_pair(pair)

    def _run_pair(self, pair: Pair) -> None:
        for side in self._sides:
            pair.runs[side] = self._run_side(pair, side)
        with self._lock:
            self._done += 1
            seconds = sum(run.seconds for run in pair.runs.values())
            print(f"  [{self._done:3}/{self._total}] {pair.name:38} "
                  + "; ".join(f"{side}: {pair.runs[side]}"
                              for side in reversed(self._sides))
                  + f" ({seconds:.0f} s)", flush=True)

    def run_again(self, pairs: Sequence[Pair], deviations: Deviations
                  ) -> None:
        """Give those that failed another chance."""
        for pair in pairs:
            run = pair.runs["coir"]
            failed = [name for name, outcome in pair.named(run).items()
                      if outcome.outcome == "fail"
                      and deviations.find(name) is None]
            if (failed or run.end) and not (
                    run.crashed or deviations.find(pair.name)):
                pair.again = self._run_side(pair, "coir")
                print(f"  again: {pair.name:38} {pair.again}", flush=True)


def judge_file(pair: Pair, project: str, deviations: Deviations,
               report: Report) -> None:
    """Count the tests of a file that ran on both."""
    run = pair.runs["coir"]
    mine, theirs = pair.named(run), pair.named(pair.runs["original"])
    again = pair.named(pair.again)
    for name in sorted(mine.keys() | theirs.keys()):
        other = theirs.get(name)
        if name not in mine and (run.end or other.outcome == "skip"):
            continue  # all at once below, or not of interest
        _judge_test(name, mine.get(name), other,
                    None if run.crashed else again.get(name), deviations,
                    report)
    if run.end:
        _judge_end(pair, sorted(theirs.keys() - mine.keys()), deviations,
                   report)
    wrong = [path for path in run.gevent if f"/coir/{project}/" not in path]
    if wrong:
        report.note(pair.name, "failed", f"ran on {wrong}")
        show("FAILED", pair.name, f"it did not run on Coir but on {wrong}")


def _judge_test(name: str, outcome: Outcome | None, other: Outcome | None,
                again: Outcome | None, deviations: Deviations,
                report: Report) -> None:
    entry = deviations.find(name)
    if outcome is not None and outcome.outcome == "pass":
        report.note(name, "passed")
        if entry is not None and not entry.get("unsteady"):
            report.lines["passes"].append(name)
        return
    if outcome is not None and outcome.outcome == "skip":
        report.note(name, "skipped", outcome.text)
        if other is not None and other.outcome == "pass":
            report.lines["skips"].append(f"{name}: {outcome.text}")
        return
    text = "run on the original, not on Coir"
    if outcome is not None:
        text = outcome.text
    if entry is not None:
        report.note(name, "deviation", entry["reason"])
        report.lines["deviations"].append(name)
    elif again is not None and again.outcome == "pass":
        report.note(name, "unsteady", text)
    elif other is not None and other.outcome == "fail":
        report.note(name, "both", text)
        report.lines["both"].append(name)
    else:
        report.note(name, "failed", text)
        show("FAILED", name, text)


def _judge_end(pair: Pair, missing: list[str], deviations: Deviations,
               report: Report) -> None:
    """A process of the file did not end well, and tests may be missing."""
    run = pair.runs["coir"]
    if not run.tests and pair.runs["original"].end and not missing:
        report.note(pair.name, "both", cause(run))
        report.lines["both"].append(f"{pair.name}: {cause(run)}")
        return
    entry = deviations.find(pair.name)
    passed_again = (pair.again is not None and not pair.again.end
                    and not run.crashed)
    for name in missing or [pair.name]:
        if entry is not None or (found := deviations.find(name)) is not None:
            entry_of = entry or found
            report.note(name, "deviation", entry_of["reason"])
            report.lines["deviations"].append(name)
        elif passed_again:
            report.note(name, "unsteady", run.end)
        else:
            report.note(name, "failed", f"not run: {cause(run)}")
    if entry is None and not passed_again:
        show("FAILED", f"{pair.name}: {len(missing)} tests were not run",
             f"{cause(run)}\n{run.output}")


def _executed(pairs: Sequence[Pair], side: str) -> int:
    return sum(run.count("pass") + run.count("fail")
               for pair in pairs for run in [pair.runs[side]])


def print_report(pairs: Sequence[Pair], deviations: Deviations,
                 report: Report, whole: bool) -> None:
    """What is worth a line, and how many tests were executed.

    :param whole: all files were run, and all of their tests.
    """
    report.print_deviations()
    report.print_lines("passes", "PASS although listed as deviations")
    report.print_lines("both", "FAIL on the original in this run, too")
    report.print_lines("skips", "SKIPPED, but run on the original")
    report.print_lines("unsteady",
                       "UNSTEADY: failed, and passed when run again")
    if whole:
        for pattern in deviations.unused():
            print(f"\nUNUSED deviation: {pattern}")
    ours, theirs = _executed(pairs, "coir"), _executed(pairs, "original")
    failing = sum(pair.runs["original"].count("fail") for pair in pairs)
    print(f"\ntests executed: {ours} on Coir, {theirs} on the original, "
          f"{100 * ours / max(theirs, 1):.1f} %; "
          f"on the original {failing} of them failed")


def note_originals(pairs: Sequence[Pair], report: Report) -> None:
    """Count what ran on the original, where nothing else did."""
    for pair in pairs:
        run = pair.runs["original"]
        for name, outcome in pair.named(run).items():
            report.note(name, {"pass": "passed", "fail": "failed"}.get(
                outcome.outcome, "skipped"), outcome.text)
            if outcome.outcome == "fail":
                show("FAILED", name, outcome.text)
        if run.end:
            report.note(pair.name, "failed", cause(run))
            show("FAILED", pair.name, f"{cause(run)}\n{run.output}")
