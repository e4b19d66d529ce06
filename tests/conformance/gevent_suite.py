"""gevent's own tests, from its installed package, on coir.gevent.

Each file of gevent.tests is run as gevent's own runner would run it, on the
original and on Coir, where `gevent` is coir.gevent.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess

import _names
import _sides
from _env import HERE, Environment, Totals, variables
from _report import Deviations, Report
from _unittests import FileRun, is_wanted, run_file

DATA = HERE / "gevent"

#: What a build without c-ares has not.
ARES = ["*[._]ares", "*[._]ares.*", "*[._]cares", "*[._]cares.*",
        "*_resolver_ares)", "*_resolver_cares)", "test__ares_*"]


class Pair(_sides.Pair):
    """A file of unittest's tests."""

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
    return [Pair(job["name"], job["command"],
                 min(job["timeout"], options.timeout), job["alone"])
            for job in json.loads(done.stdout)
            if is_wanted(job["name"], options.only)]


def _has_ares(env: Environment) -> bool:
    done = subprocess.run(
        [env.python, "-c", "import gevent.resolver.cares"],
        env=environ("coir"), stderr=subprocess.DEVNULL)
    return done.returncode == 0


def run(options: argparse.Namespace) -> tuple[Totals, dict]:
    """Run the suite on the running interpreter.

    :returns: the counts, and outcomes for ``--json``.
    :raises SetupError: if the environment cannot be made.
    """
    env = Environment("gevent", DATA / "requirements.txt")
    env.prepare(coir=options.on == "coir")
    file = _sides.probe(env, "gevent", "original", environ("original"))
    if options.on == "coir":
        _sides.probe(env, "gevent", "coir", environ("coir"))
    tests = os.path.join(os.path.dirname(file), "tests")
    pairs = _discover(env, options)

    def run_side(pair: _sides.Pair, side: str) -> FileRun:
        # 5: all tests were skipped, since CPython 3.12.
        return run_file(pair.command, environ(side, tests), pair.timeout,
                        options.k or "", accepted=(5,))

    runner = _sides.Runner(run_side, options, len(pairs))
    runner.run(pairs)
    report = Report()
    if options.on == "original":
        _sides.note_originals(pairs, report)
        return report.totals, report.outcomes
    deviations = Deviations(DATA / "deviations.toml")
    if not _has_ares(env):
        deviations.add(ARES, "this build of Coir has no c-ares")
    runner.run_again(pairs, deviations)
    for pair in pairs:
        _sides.judge_file(pair, "gevent", deviations, report)
    whole = not (options.only or options.k)
    if whole:
        theirs = public_names(env, "original")
        mine = public_names(env, "coir", theirs)
        _names.judge(_names.missing(theirs, mine), theirs, deviations, report)
    _sides.print_report(pairs, deviations, report, whole)
    return report.totals, report.outcomes
