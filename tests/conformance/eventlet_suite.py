"""eventlet's own tests, from its source distribution, on coir.eventlet.

Each file is run by pytest, as eventlet's own tests are, on the original and
on Coir, where `eventlet` is coir.eventlet; so are the programs that the tests
start. What fails is run again on Coir once the rest is done, with less
company: what passes then is counted as passed and reported as unsteady,
unless a process crashed or hung.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import fnmatch
import json
import os
import pathlib
import subprocess
import threading

from _env import HERE, Environment, SetupError, Totals, variables
from _report import Deviations, Report, show
from _unittests import FileRun, Outcome, cause, run_file
from stock_suite import _source

DATA = HERE / "eventlet"
SIDES = ("original", "coir")

PROBE = """\
import eventlet, eventlet.event, greenlet, json, os
print(json.dumps({
    "file": os.path.realpath(eventlet.__file__),
    "version": eventlet.__version__,
    "greenlet": repr(greenlet.greenlet)}))
"""


class Pair:
    """A file and its runs on both sides."""

    def __init__(self, path: pathlib.Path, hub: str = "") -> None:
        """
        :param hub: for EVENTLET_HUB; the default one if empty.
        """
        self.name = f"{path.stem}@{hub}" if hub else path.stem
        self.hub = hub
        self.file = f"tests/{path.name}"
        self.runs: dict[str, FileRun] = {}
        self.again: FileRun | None = None

    def test_name(self, test: str) -> str:
        """The name that deviations have for a test's id."""
        return ".".join([self.name, *test.split("::")[1:]])

    def named(self, run: FileRun | None) -> dict[str, Outcome]:
        """Outcomes by these names."""
        if run is None:
            return {}
        return {self.test_name(test): outcome
                for test, outcome in run.tests.items()}


def environ(on: str) -> dict[str, str]:
    """The variables for a run."""
    env = variables(on)
    for name in list(env):
        if name.startswith("EVENTLET"):
            del env[name]
    if on == "coir":
        env["COIR_AS"] = "eventlet"
    env["EVENTLET_TESTS"] = "1"
    return env


def probe(env: Environment, on: str) -> None:
    """Say whose eventlet is imported, and check it."""
    done = subprocess.run([env.python, "-P", "-c", PROBE], text=True,
                          capture_output=True, env=environ(on))
    if done.returncode:
        raise SetupError(f"import eventlet failed on {on}:\n{done.stderr}")
    found = json.loads(done.stdout)
    print(f"{on}: eventlet {found['version']} from {found['file']}, on "
          f"{found['greenlet']}", flush=True)
    if ("/coir/eventlet/" in found["file"]) != (on == "coir"):
        raise SetupError(f"on {on}, eventlet is not the one to be tested")


class Runner:
    """Runs files side by side, with a line for each that is done."""

    def __init__(self, env: Environment, top: pathlib.Path,
                 options: argparse.Namespace, total: int) -> None:
        self._python = env.python
        self._top = str(top)
        self._only = options.k or ""
        self._timeout = min(options.timeout, 60)
        self._jobs = options.jobs or max(1, (os.cpu_count() or 2) // 2)
        self._sides = SIDES if options.on == "coir" else SIDES[:1]
        self._total = total
        self._done = 0
        self._lock = threading.Lock()

    def run(self, pairs: list[Pair]) -> None:
        with concurrent.futures.ThreadPoolExecutor(self._jobs) as pool:
            list(pool.map(self._run_pair, pairs))

    def _run_pair(self, pair: Pair) -> None:
        for side in self._sides:
            pair.runs[side] = self.run_side(pair, side)
        with self._lock:
            self._done += 1
            seconds = sum(run.seconds for run in pair.runs.values())
            print(f"  [{self._done:2}/{self._total}] {pair.name:30} "
                  + "; ".join(f"{side}: {pair.runs[side]}"
                              for side in reversed(self._sides))
                  + f" ({seconds:.0f} s)", flush=True)

    def run_side(self, pair: Pair, side: str) -> FileRun:
        # 5: there were none to run.
        env = environ(side)
        if pair.hub:
            env["EVENTLET_HUB"] = pair.hub
        run = run_file(
            [self._python, "-s", "-m", "pytest", "-q", "-p", "coir_notes",
             "-p", "no:cacheprovider", pair.file],
            env, self._timeout, self._only, accepted=(5,),
            cwd=self._top, notes=DATA / "notes")
        run.tests.pop("program", None)
        return run


def _judge_test(pair: Pair, name: str, outcome: Outcome | None,
                other: Outcome | None, again: Outcome | None,
                deviations: Deviations, report: Report) -> None:
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
    run = pair.runs["coir"]
    text = outcome.text if outcome is not None else (
        f"run on the original, not on Coir: {cause(run)}")
    if entry is not None:
        report.note(name, "deviation", entry["reason"])
        report.lines["deviations"].append(name)
    elif again is not None and again.outcome == "pass" and not run.crashed:
        report.note(name, "unsteady", text)
    elif other is not None and other.outcome == "fail":
        report.note(name, "both", text)
        report.lines["both"].append(name)
    else:
        report.note(name, "failed", text)
        show("FAILED", name, text)


def judge_file(pair: Pair, deviations: Deviations, report: Report) -> None:
    """Count the tests of a file that ran on both."""
    mine = pair.named(pair.runs["coir"])
    theirs = pair.named(pair.runs["original"])
    again = pair.named(pair.again)
    run = pair.runs["coir"]
    for name in sorted(mine.keys() | theirs.keys()):
        other = theirs.get(name)
        if name not in mine and other.outcome == "skip":
            continue
        _judge_test(pair, name, mine.get(name), other, again.get(name),
                    deviations, report)
    if run.end and not run.tests and not theirs:
        report.note(pair.name, "failed", cause(run))
        show("FAILED", pair.name, f"{cause(run)}\n{run.output}")
    wrong = [path for path in run.gevent if "/coir/eventlet/" not in path]
    if wrong:
        report.note(pair.name, "failed", f"ran on {wrong}")
        show("FAILED", pair.name, f"it did not run on Coir but on {wrong}")


def _executed(pairs: list[Pair], side: str) -> int:
    return sum(run.count("pass") + run.count("fail")
               for pair in pairs for run in [pair.runs[side]])


def print_report(pairs: list[Pair], deviations: Deviations, report: Report,
                 whole: bool) -> None:
    """What is worth a line, and how many tests were executed."""
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


def note_originals(pairs: list[Pair], report: Report) -> None:
    """Count what ran on the original, where nothing else did."""
    for pair in pairs:
        for name, outcome in pair.named(pair.runs["original"]).items():
            report.note(name, {"pass": "passed", "fail": "failed"}.get(
                outcome.outcome, "skipped"), outcome.text)
            if outcome.outcome == "fail":
                show("FAILED", name, outcome.text)


def _run_again(pairs: list[Pair], runner: Runner, deviations: Deviations
               ) -> None:
    for pair in pairs:
        run = pair.runs["coir"]
        failed = [name for name, outcome in pair.named(run).items()
                  if outcome.outcome == "fail"
                  and deviations.find(name) is None]
        if failed and not run.crashed and len(failed) < 20:
            pair.again = runner.run_side(pair, "coir")
            print(f"  again: {pair.name:30} {pair.again}", flush=True)


def run(options: argparse.Namespace) -> tuple[Totals, dict]:
    """Run the suite on the running interpreter.

    :returns: the counts, and outcomes for ``--json``.
    :raises SetupError: if the environment cannot be made.
    """
    env = Environment("eventlet", DATA / "requirements.txt")
    env.prepare(coir=options.on == "coir")
    for on in SIDES if options.on == "coir" else SIDES[:1]:
        probe(env, on)
    top = _source(env, "eventlet")
    pairs = [Pair(path) for pattern in ("*_test.py", "test_*.py")
             for path in sorted((top / "tests").glob(pattern))]
    # It has tests for no other hub.
    pairs.append(Pair(top / "tests" / "asyncio_test.py", "asyncio"))
    if options.only:
        pairs = [pair for pair in pairs
                 if any(fnmatch.fnmatchcase(pair.name, f"*{pattern}*")
                        for pattern in options.only)]
    runner = Runner(env, top, options, len(pairs))
    runner.run(pairs)
    report = Report()
    if options.on == "original":
        note_originals(pairs, report)
        return report.totals, report.outcomes
    deviations = Deviations(DATA / "deviations.toml")
    _run_again(pairs, runner, deviations)
    for pair in pairs:
        judge_file(pair, deviations, report)
    print_report(pairs, deviations, report,
                 whole=not (options.only or options.k))
    return report.totals, report.outcomes
