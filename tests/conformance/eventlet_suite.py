"""eventlet's own tests, from its source distribution, on coir.eventlet.

Each file is run by pytest, as eventlet's own tests are, on the original and
on Coir, where `eventlet` is coir.eventlet; so are the programs that the tests
start.

Then random programs are compared, by the order in which things happen, and
all public names.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess

import _names
import _order
import _sides
import _surface
from _env import HERE, Environment, Totals, variables
from _report import Deviations, Report
from _unittests import FileRun, is_wanted, run_file
from stock_suite import _source

DATA = HERE / "eventlet"


class Pair(_sides.Pair):
    """A file of pytest's tests."""

    def test_name(self, test: str) -> str:
        return ".".join([self.name, *test.split("::")[1:]])


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


def public_names(env: Environment, on: str, of: dict | None = None) -> dict:
    """What `stock/eventlet_names.py` tells; of the names in `of`, if any."""
    done = subprocess.run(
        [env.python, "-P", str(HERE / "stock" / "eventlet_names.py"),
         *["-"] * (of is not None)],
        text=True, check=True, input=json.dumps(of), stdout=subprocess.PIPE,
        env=environ(on))
    return json.loads(done.stdout)


def _pair(env: Environment, path: pathlib.Path, timeout: float,
          hub: str = "") -> Pair:
    """
    :param hub: for EVENTLET_HUB; the default one if empty.
    """
    command = [env.python, "-s", "-m", "pytest", "-q", "-p", "coir_notes",
               "-p", "no:cacheprovider", f"tests/{path.name}"]
    if hub:
        return Pair(f"{path.stem}@{hub}", command, timeout,
                    more={"EVENTLET_HUB": hub})
    return Pair(path.stem, command, timeout)


def run(options: argparse.Namespace) -> tuple[Totals, dict]:
    """Run the suite on the running interpreter.

    :returns: the counts, and outcomes for ``--json``.
    :raises SetupError: if the environment cannot be made.
    """
    env = Environment("eventlet", DATA / "requirements.txt")
    env.prepare(coir=options.on == "coir")
    for on in dict.fromkeys(("original", options.on)):
        _sides.probe(env, "eventlet", on, environ(on))
    top = _source(env, "eventlet")
    timeout = min(options.timeout, 60)
    pairs = [_pair(env, path, timeout)
             for pattern in ("*_test.py", "test_*.py")
             for path in sorted((top / "tests").glob(pattern))]
    # It has tests for no other hub.
    pairs.append(_pair(env, top / "tests" / "asyncio_test.py", timeout,
                       "asyncio"))
    pairs = [pair for pair in pairs if is_wanted(pair.name, options.only)]

    def run_side(pair: _sides.Pair, side: str) -> FileRun:
        # 5: there were none to run.
        run = run_file(pair.command, {**environ(side), **pair.more},
                       pair.timeout, options.k or "", accepted=(5,),
                       cwd=str(top), notes=DATA / "notes")
        run.tests.pop("program", None)
        return run

    runner = _sides.Runner(run_side, options, len(pairs))
    runner.run(pairs)
    report = Report()
    if options.on == "original":
        _sides.note_originals(pairs, report)
        return report.totals, report.outcomes
    deviations = Deviations(DATA / "deviations.toml")
    runner.run_again(pairs, deviations)
    for pair in pairs:
        _sides.judge_file(pair, "eventlet", deviations, report)
    whole = not (options.only or options.k)
    if whole:
        theirs = public_names(env, "original")
        mine = public_names(env, "coir", theirs)
        _names.judge(_surface.differences(theirs, mine), theirs, deviations,
                     report)
        _order.judge(env.python, {on: environ(on) for on in _sides.SIDES},
                     report)
    _sides.print_report(pairs, deviations, report, whole)
    return report.totals, report.outcomes
