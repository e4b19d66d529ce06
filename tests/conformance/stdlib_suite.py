"""CPython's own tests under coir.gevent.monkey.patch_all().

Each module of the interpreter's package `test` is run three times: as it is,
patched by coir.gevent, and patched by the original gevent. The same with
eventlet is `stdlib_eventlet_suite`. A test that passes
as it is and not when patched is a new failure. Modules with new failures are
run again that way; what passes then is reported as unsteady.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import threading

from _env import HERE, Environment, Totals, variables
from _report import Deviations, Report, show
from _unittests import FileRun, cause, is_wanted, run_file

DATA = HERE / "stdlib"


@dataclasses.dataclass
class Patcher:
    """What patches, of a package's kind."""

    #: of the package that it stands for, and of that one's environment
    original: str
    #: as the worker knows it
    coir: str
    #: a file below DATA
    deviations: str

    def sides(self, on: str) -> tuple[str, ...]:
        """As it is, and patched."""
        if on == "original":
            return "plain", self.original
        return "plain", self.coir, self.original


GEVENT = Patcher("gevent", "coir", "deviations.toml")
EVENTLET = Patcher("eventlet", "coir.eventlet", "deviations-eventlet.toml")

MODULES = """
test_socket test_ssl test_select test_selectors test_poll test_epoll
test_queue test_thread test_threading test_threading_local test_subprocess
test_signal test_socketserver test_httplib test_httpservers test_urllib
test_urllib2 test_urllib2_localnet test_urllibnet test_smtplib test_ftplib
test_poplib test_imaplib test_wsgiref test_concurrent_futures test_logging
test_context test_sched test_timeout test_asyncio
""".split()

#: seconds without a test that ends, at most
TIMEOUT = 40

#: Prints the modules that there are; of a package, those in it.
DISCOVER = """\
import importlib.util, json, pkgutil, sys
found = []
for name in sys.argv[1:]:
    try:
        spec = importlib.util.find_spec("test." + name)
    except ImportError:
        spec = None
    if spec is None:
        continue
    if spec.submodule_search_locations is None:
        found.append(spec.name)
    else:
        found += [f"{spec.name}.{module.name}" for module in
                  pkgutil.iter_modules(spec.submodule_search_locations)
                  if module.name.startswith("test_")]
print(json.dumps(found))
"""


@dataclasses.dataclass
class Module:
    """A module of tests, and its runs."""

    name: str
    runs: dict[str, FileRun] = dataclasses.field(default_factory=dict)
    again: dict[str, FileRun] = dataclasses.field(default_factory=dict)

    def new_failures(self, side: str) -> list[str]:
        """Tests that pass as they are, and fail patched, the last time."""
        plain = self.runs["plain"].tests
        run = self.runs[side]
        again = self.again.get(side)
        return [test for test, outcome in run.tests.items()
                if outcome.outcome == "fail" and test in plain
                and plain[test].outcome == "pass"
                and not (again is not None and test in again.tests
                         and again.tests[test].outcome == "pass")]

    def not_run(self, side: str) -> list[str]:
        """Tests that pass as they are, and are not even run patched."""
        run = self.runs[side]
        if any(test.endswith(".import") for test in run.tests):
            return []  # skipped as a whole
        return [test for test, outcome in self.runs["plain"].tests.items()
                if outcome.outcome == "pass" and test not in run.tests]


def _discover(python: str) -> list[str]:
    done = subprocess.run([python, "-P", "-c", DISCOVER, *MODULES], text=True,
                          check=True, stdout=subprocess.PIPE,
                          env=variables("original"))
    return json.loads(done.stdout)


def _install_tests() -> str:
    """Have Debian's package of the interpreter's tests, if it is Debian's.

    :returns: why there are none, or "".
    """
    package = "libpython{}.{}-testsuite".format(*sys.version_info)
    if sys.base_prefix != "/usr":
        return f"{sys.executable} came without its package test"
    if os.geteuid() or not shutil.which("apt-get"):
        return f"install Debian package {package}"
    print(f"installing Debian package {package}", flush=True)
    install = ["apt-get", "-qq", "-y", "-o", "DPkg::Lock::Timeout=300",
               "--no-install-recommends", "install", package]
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    for command in (install, ["apt-get", "-qq", "update"], install):
        done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, text=True,
                              stderr=subprocess.PIPE)
        if command is install and done.returncode == 0:
            return ""
    return f"Debian package {package} cannot be installed: {done.stderr}"


class Runner:
    """Runs modules side by side, with a line for each that is done."""

    def __init__(self, python: str, options: argparse.Namespace,
                 sides: tuple[str, ...], total: int) -> None:
        self._python = python
        self._env = variables("original")
        del self._env["PYTHONFAULTHANDLER"]  # some tests are about that
        self._sides = sides
        self._only = options.k or ""
        self._timeout = min(options.timeout, TIMEOUT)
        self._jobs = options.jobs or max(1, (os.cpu_count() or 2) // 2)
        self._total = total
        self._done = 0
        self._lock = threading.Lock()

    def run(self, modules: list[Module]) -> None:
        with concurrent.futures.ThreadPoolExecutor(self._jobs) as pool:
            list(pool.map(self._run_module, modules))

    def _run_module(self, module: Module) -> None:
        for side in self._sides:
            module.runs[side] = self._run_side(module, side)
        for side in self._sides[1:]:
            if module.new_failures(side) and not module.runs[side].crashed:
                module.again[side] = self._run_side(module, side)
        with self._lock:
            self._done += 1
            seconds = sum(run.seconds for runs in (module.runs, module.again)
                          for run in runs.values())
            parts = []
            for side in self._sides:
                run = module.runs[side]
                text = f"{side}: {run.count('pass')} passed"
                if side != "plain":
                    text += (f", {len(module.new_failures(side))} new "
                             f"failures, {len(module.not_run(side))} not run")
                parts.append(text)
            print(f"  [{self._done:3}/{self._total}] {module.name:38} "
                  f"{'; '.join(parts)} ({seconds:.0f} s)", flush=True)

    def _run_side(self, module: Module, side: str) -> FileRun:
        command = [self._python, "-P", str(DATA / "worker.py"), side,
                   module.name]
        # 5: all tests were skipped, since CPython 3.12.
        return run_file(command, self._env, self._timeout, self._only,
                        accepted=(5,))


def _judge(module: Module, side: str, deviations: Deviations,
           report: Report) -> None:
    plain, run = module.runs["plain"].tests, module.runs[side]
    new = set(module.new_failures(side))
    not_run = set(module.not_run(side))
    for test, before in plain.items():
        name = test.removeprefix("test.")
        outcome = run.tests.get(test)
        if before.outcome != "pass":
            report.note(name, before.outcome, before.text)
        elif test in new or test in not_run:
            text = (f"not run: {cause(run)}" if outcome is None
                    else outcome.text)
            entry = deviations.find(name)
            if entry is not None:
                report.note(name, "deviation", entry["reason"])
                report.lines["deviations"].append(name)
                continue
            report.note(name, "failed", text)
            if outcome is not None:
                show("FAILED", name, text)
        elif outcome is not None and outcome.outcome == "pass":
            report.note(name, "passed")
            entry = deviations.find(name)
            if entry is not None and not entry.get("unsteady"):
                report.lines["passes"].append(name)
        elif outcome is not None and outcome.outcome == "fail":
            report.note(name, "unsteady", outcome.text)
        else:
            report.note(name, "skipped")
            why = next((o.text for t, o in run.tests.items()
                        if t in (test, f"{module.name}.import")), "")
            report.lines["skips"].append(f"{name}: {why}")
    if not_run and not all(deviations.find(test.removeprefix("test."))
                           for test in not_run):
        show("FAILED", f"{module.name}: {len(not_run)} tests were not run",
             f"{cause(run)}\n{run.output}")


def run(options: argparse.Namespace, patcher: Patcher = GEVENT
        ) -> tuple[Totals, dict]:
    """Run the suite on the running interpreter.

    :returns: the counts, and outcomes for ``--json``.
    :raises SetupError: if the environment cannot be made.
    """
    package = patcher.original
    env = Environment(package, HERE / package / "requirements.txt")
    env.prepare(coir=options.on == "coir")
    names = _discover(env.python)
    if not names:
        why = _install_tests()
        names = _discover(env.python)
        if not names:
            print(f"skipped: {why or 'the package test has none of them'}")
            return Totals(skipped=1), {}
    modules = [Module(name) for name in names
               if is_wanted(name, options.only)]
    sides = patcher.sides(options.on)
    Runner(env.python, options, sides, len(modules)).run(modules)
    report = Report()
    side = sides[1]
    deviations = Deviations(DATA / patcher.deviations
                            if side == patcher.coir else None)
    for module in modules:
        _judge(module, side, deviations, report)
    report.print_deviations()
    report.print_lines("passes", "PASS although listed as deviations")
    report.print_lines("skips", "SKIPPED when patched")
    report.print_lines("unsteady",
                       "UNSTEADY: failed, and passed when run again")
    if not (options.only or options.k):
        for pattern in deviations.unused():
            print(f"\nUNUSED deviation: {pattern}")
    print()
    for side in sides[1:]:
        print(f"{side}: {sum(len(m.new_failures(side)) for m in modules)} new "
              f"failures, {sum(len(m.not_run(side)) for m in modules)} tests "
              "not run, for a process that crashed or hung")
    return report.totals, report.outcomes
