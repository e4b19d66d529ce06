"""gevent's own tests, from its installed package, on coir.gevent.

Each file of gevent.tests is run as gevent's own runner would run it, on the
original and on Coir, where `gevent` is coir.gevent. What fails is run again
on Coir once the rest is done, with less company: what passes then is counted
as passed and reported as unsteady, unless a process crashed or hung.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import fnmatch
import json
import os
import subprocess
import threading

import _names
from _env import (
    HERE,
    Environment,
    SetupError,
    Totals,
    variables,
)
from _report import Deviations, Report, show
from _unittests import FileRun, Outcome, cause, run_file

DATA = HERE / "gevent"
SIDES = ("original", "coir")

PROBE = """\
import gevent, gevent.event, gevent.tests, greenlet, json, os
try:
    import gevent.resolver.cares
    has_ares = True
except ImportError:
    has_ares = False
print(json.dumps({
    "file": os.path.realpath(gevent.__file__),
    "version": gevent.__version__,
    "greenlet": repr(greenlet.greenlet),
    "module": gevent.event.__name__,
    "ares": has_ares,
    "tests": os.path.dirname(gevent.tests.__file__)}))
"""

#: What a build without c-ares has not.
ARES = ["*[._]ares", "*[._]ares.*", "*[._]cares", "*[._]cares.*",
        "*_resolver_ares)", "*_resolver_cares)", "test__ares_*"]


@dataclasses.dataclass
class Pair:
    """A file and its runs on both sides."""

    name: str
    command: list[str]
    timeout: float
    alone: bool
    runs: dict[str, FileRun] = dataclasses.field(default_factory=dict)
    again: FileRun | None = None

    def named(self, side: str) -> dict[str, Outcome]:
        """Outcomes by the names that deviations have."""
        return {self.test_name(test): outcome
                for test, outcome in self.runs[side].tests.items()}

    def test_name(self, test: str) -> str:
        test = test.removeprefix("__main__.")
        return f"{self.name}.{test.removeprefix(f'gevent.tests.{self.name}.')}"


def environ(on: str, tests: str = "") -> dict[str, str]:
    """The variables that gevent's runner sets, less what needs a network."""
    env = variables(on)
    for name in list(env):
        if name.startswith("GEVENT"):
            del env[name]
    if on == "coir":
        env["COIR_AS"] = "gevent"
    env["PYTHONDEVMODE"] = "1"
    env["PYTHONWARNINGS"] = "default"
    env["GEVENTTEST_USE_RESOURCES"] = "-network"
    env["GEVENTTEST_QUIET"] = "True"
    if tests:
        env["PYTHONPATH"] = tests
    return env


def probe(env: Environment, on: str) -> dict:
    """Whose gevent is imported, and where its tests are."""
    done = subprocess.run([env.python, "-P", "-c", PROBE], text=True,
                          capture_output=True, env=environ(on))
    if done.returncode:
        raise SetupError(f"import gevent failed on {on}:\n{done.stderr}")
    found = json.loads(done.stdout)
    print(f"{on}: gevent {found['version']} from {found['file']}, on "
          f"{found['greenlet']}", flush=True)
    ours = "/coir/gevent/" in found["file"]
    if ours != (on == "coir"):
        raise SetupError(f"on {on}, gevent is not the one to be tested")
    return found


def public_names(env: Environment, on: str, of: dict | None = None) -> dict:
    """What `stock/gevent_names.py` tells; of the modules of `of`, if any."""
    wanted = {module: list(names) for module, names in (of or {}).items()}
    done = subprocess.run(
        [env.python, "-P", str(HERE / "stock" / "gevent_names.py"),
         json.dumps(wanted)],
        text=True, check=True, stdout=subprocess.PIPE, env=environ(on))
    return json.loads(done.stdout)


def _discover(env: Environment, options: argparse.Namespace) -> list[Pair]:
    """Ask gevent's runner, on the original, what there is to run."""
    done = subprocess.run(
        [env.python, "-P", str(HERE / "stock" / "gevent_jobs.py")],
        text=True, check=True, stdout=subprocess.PIPE,
        env=environ("original"))
    pairs = [Pair(job["name"], job["command"],
                  min(job["timeout"], options.timeout), job["alone"])
             for job in json.loads(done.stdout)]
    if options.only:
        pairs = [pair for pair in pairs
                 if any(fnmatch.fnmatchcase(pair.name, f"*{pattern}*")
                        for pattern in options.only)]
    return pairs


class Runner:
    """Runs files side by side, with a line for each that is done."""

    def __init__(self, tests: str, options: argparse.Namespace,
                 total: int) -> None:
        self._environ = {on: environ(on, tests) for on in SIDES}
        self._only = options.k or ""
        self._jobs = options.jobs or max(1, (os.cpu_count() or 2) // 2)
        self._sides = SIDES if options.on == "coir" else SIDES[:1]
        self._total = total
        self._done = 0
        self._lock = threading.Lock()

    def run(self, pairs: list[Pair]) -> None:
        together = [pair for pair in pairs if not pair.alone]
        with concurrent.futures.ThreadPoolExecutor(self._jobs) as pool:
            list(pool.map(self._run_pair, together))
        for pair in pairs:
            if pair.alone:
                self._run_pair(pair)

    def _run_pair(self, pair: Pair) -> None:
        for side in self._sides:
            pair.runs[side] = self.run_side(pair, side)
        with self._lock:
            self._done += 1
            seconds = sum(run.seconds for run in pair.runs.values())
            print(f"  [{self._done:3}/{self._total}] {pair.name:38} "
                  + "; ".join(f"{side}: {pair.runs[side]}"
                              for side in reversed(self._sides))
                  + f" ({seconds:.0f} s)", flush=True)

    def run_side(self, pair: Pair, side: str) -> FileRun:
        # 5: all tests were skipped, since CPython 3.12.
        return run_file(pair.command, self._environ[side], pair.timeout,
                        self._only, accepted=(5,))


def judge_file(pair: Pair, deviations: Deviations, report: Report) -> None:
    mine, theirs = pair.named("coir"), pair.named("original")
    run = pair.runs["coir"]
    again = {} if pair.again is None else {
        pair.test_name(test): outcome
        for test, outcome in pair.again.tests.items()}
    for name in sorted(mine.keys() | theirs.keys()):
        outcome = mine.get(name)
        other = theirs.get(name)
        if outcome is None and (run.end or other.outcome == "skip"):
            continue  # all at once below, or not of interest
        entry = deviations.find(name)
        if outcome is not None and outcome.outcome == "pass":
            report.note(name, "passed")
            if entry is not None and not entry.get("unsteady"):
                report.lines["passes"].append(name)
            continue
        if outcome is not None and outcome.outcome == "skip":
            report.note(name, "skipped", outcome.text)
            if other is not None and other.outcome == "pass":
                report.lines["skips"].append(f"{name}: {outcome.text}")
            continue
        text = "run on the original, not on Coir"
        if outcome is not None:
            text = outcome.text
        if entry is not None:
            report.note(name, "deviation", entry["reason"])
            report.lines["deviations"].append(name)
        elif (name in again and again[name].outcome == "pass"
                and not run.crashed):
            report.note(name, "unsteady", text)
        elif other is not None and other.outcome == "fail":
            report.note(name, "both", text)
            report.lines["both"].append(name)
        else:
            report.note(name, "failed", text)
            show("FAILED", name, text)
    missing = sorted(theirs.keys() - mine.keys())
    if run.end:
        _judge_end(pair, missing, deviations, report)
    wrong = [path for path in run.gevent if "/coir/gevent/" not in path]
    if wrong:
        report.note(pair.name, "failed", f"ran on {wrong}")
        show("FAILED", pair.name, f"it did not run on Coir but on {wrong}")


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


def _executed(pairs: list[Pair], side: str) -> int:
    return sum(run.count("pass") + run.count("fail")
               for pair in pairs for run in [pair.runs[side]])


def print_report(pairs: list[Pair], deviations: Deviations,
                  report: Report, whole: bool) -> None:
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
        run = pair.runs["original"]
        for name, outcome in pair.named("original").items():
            report.note(name, {"pass": "passed", "fail": "failed"}.get(
                outcome.outcome, "skipped"), outcome.text)
            if outcome.outcome == "fail":
                show("FAILED", name, outcome.text)
        if run.end:
            report.note(pair.name, "failed", cause(run))
            show("FAILED", pair.name, f"{cause(run)}\n{run.output}")


def run(options: argparse.Namespace) -> tuple[Totals, dict]:
    """Run the suite on the running interpreter.

    :returns: the counts, and outcomes for ``--json``.
    :raises SetupError: if the environment cannot be made.
    """
    env = Environment("gevent", DATA / "requirements.txt")
    env.prepare(coir=options.on == "coir")
    found = probe(env, "original")
    has_ares = options.on != "coir" or probe(env, "coir")["ares"]
    pairs = _discover(env, options)
    runner = Runner(found["tests"], options, len(pairs))
    runner.run(pairs)
    report = Report()
    if options.on == "original":
        note_originals(pairs, report)
        return report.totals, report.outcomes
    deviations = Deviations(DATA / "deviations.toml")
    if not has_ares:
        deviations.add(ARES, "this build of Coir has no c-ares")
    for pair in pairs:
        failed = [name for name, outcome in pair.named("coir").items()
                  if outcome.outcome == "fail"
                  and deviations.find(name) is None]
        if (failed or pair.runs["coir"].end) and not (
                pair.runs["coir"].crashed or deviations.find(pair.name)):
            pair.again = runner.run_side(pair, "coir")
            print(f"  again: {pair.name:38} {pair.again}", flush=True)
    for pair in pairs:
        judge_file(pair, deviations, report)
    if not (options.only or options.k):
        theirs = public_names(env, "original")
        _names.judge(theirs, public_names(env, "coir", theirs), deviations,
                     report)
    print_report(pairs, deviations, report,
                  whole=not (options.only or options.k))
    return report.totals, report.outcomes
