"""Unmodified gevent, eventlet and SQLAlchemy: Coir against the original.

Every test file and program is run on the original greenlet and on Coir's,
one after the other on the same machine. A file is "worse" if a test fails
on Coir that passes on the original, if its process crashes or hangs only on
Coir, if fewer of its tests are run there, or if a program prints something
else. Such a file is run again on both sides: what is not worse each time is
reported as unsteady.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import textwrap
import threading
import time
import xml.etree.ElementTree as ElementTree

from _env import HERE, Environment, Totals, check_origin, variables

DATA = HERE / "stock"
SOURCES = {"eventlet": "eventlet==0.41.3", "sqlalchemy": "SQLAlchemy==2.1.9"}

#: times that a file which is worse is run again, on both sides
RETRIES = 2
#: characters of output shown for a file that is worse
OUTPUT_SHOWN = 5000

#: what --quick runs
QUICK = {
    "gevent": {
        "test__GreenletExit", "test__event", "test__greenlet", "test__hub",
        "test__hub_join", "test__local", "test__lock", "test__pool",
        "test__pywsgi", "test__queue", "test__select", "test__semaphore",
        "test__server", "test__signal", "test__sleep0", "test__socket",
        "test__subprocess", "test__threading", "test__threadpool",
        "test__timeout",
    },
    "eventlet": {
        "event_test", "greenio_test", "greenpool_test", "greenthread_test",
        "hub_test", "queue_test", "semaphore_test", "timeout_test",
        "tpool_test", "wsgi_test",
    },
}


@dataclasses.dataclass(frozen=True)
class Job:
    """A test file or a program."""

    package: str
    name: str
    kind: str  # "unittest", "pytest" or "program"
    command: tuple[str, ...]
    cwd: str
    timeout: float
    alone: bool = False


@dataclasses.dataclass
class Result:
    """What a run of a job on one side came to."""

    end: str  # "" if it ended by itself, with any status that tests give
    ran: int
    failing: set[str]
    output: str
    seconds: float = 0.0

    def __str__(self) -> str:
        return self.end or f"{self.ran} ran, {len(self.failing)} failed"


def gevent_jobs(env: Environment) -> list[Job]:
    out = subprocess.run([env.python, "-P", str(DATA / "gevent_jobs.py")],
                         text=True, check=True, stdout=subprocess.PIPE,
                         env=_variables("original", "gevent"))
    return [Job("gevent", job["name"], "unittest", tuple(job["command"]),
                str(env.dir), job["timeout"], job["alone"])
            for job in json.loads(out.stdout)]


def _source(env: Environment, package: str) -> pathlib.Path:
    """The unpacked source distribution: it holds the tests."""
    top = env.dir / "source" / package
    if not top.exists():
        print(f"fetching the tests of {SOURCES[package]}", flush=True)
        with tempfile.TemporaryDirectory(dir=env.dir) as tmp:
            env.pip("download", "--no-deps", "--no-binary", package,
                    "--dest", tmp, SOURCES[package],
                    what=f"fetching {SOURCES[package]}")
            [archive] = pathlib.Path(tmp).glob("*.tar.gz")
            unpacked = pathlib.Path(tmp, "unpacked")
            subprocess.run([env.python, "-m", "tarfile", "-e", str(archive),
                            str(unpacked)], check=True,
                           stdout=subprocess.DEVNULL)
            [folder] = unpacked.iterdir()
            if package == "eventlet":
                # The tests import what lies in the current directory
                # first; they are to test the installed package.
                (folder / "eventlet").rename(folder / "not-under-test")
            top.parent.mkdir(exist_ok=True)
            folder.rename(top)
    return top


def _pytest_job(env: Environment, package: str, top: pathlib.Path,
                path: pathlib.Path, *options: str) -> Job:
    # -s: SQLAlchemy's tests then take the installed package, not their lib/.
    command = (env.python, "-s", "-m", "pytest", "-v", "-p",
               "no:cacheprovider", *options, str(path.relative_to(top)))
    return Job(package, path.stem, "pytest", command, str(top), 300)


def eventlet_jobs(env: Environment) -> list[Job]:
    top = _source(env, "eventlet")
    tests = top / "tests"
    files = sorted({*tests.glob("*_test.py"), *tests.glob("test_*.py")})
    return [_pytest_job(env, "eventlet", top, path) for path in files]


def sqlalchemy_jobs(env: Environment) -> list[Job]:
    top = _source(env, "sqlalchemy")
    files = sorted((top / "test/ext/asyncio").glob("test_*.py"))
    files.append(top / "test/base/test_concurrency.py")
    return [_pytest_job(env, "sqlalchemy", top, path, "--dburi",
                        "sqlite+aiosqlite://") for path in files]


PACKAGES = {"gevent": gevent_jobs, "eventlet": eventlet_jobs,
            "sqlalchemy": sqlalchemy_jobs}


def _program(env: Environment, package: str) -> Job:
    name = f"{package}_program"
    return Job(package, name, "program",
               (env.python, "-P", str(DATA / f"{name}.py")), str(env.dir), 60)


def _variables(on: str, package: str) -> dict[str, str]:
    env = variables(on)
    if package == "gevent":
        # As gevent's own runner has it, less what needs a network.
        env["PYTHONDEVMODE"] = "1"
        env["PYTHONWARNINGS"] = "default"
        env["GEVENTTEST_USE_RESOURCES"] = "-network"
        env["GEVENTTEST_QUIET"] = "True"
    return env


def _kill_group(proc: subprocess.Popen, number: int) -> None:
    try:
        os.killpg(proc.pid, number)
    except ProcessLookupError:
        pass


def _execute(job: Job, on: str) -> Result:
    with tempfile.TemporaryDirectory(prefix="coir-stock-") as tmp:
        command = list(job.command)
        report = pathlib.Path(tmp, "report.xml")
        if job.kind == "pytest":
            command += [f"--junitxml={report}",
                        f"--basetemp={pathlib.Path(tmp, 'base')}"]
        log = pathlib.Path(tmp, "log")
        env = _variables(on, job.package)
        env["TMPDIR"] = tmp
        start = time.monotonic()
        with open(log, "wb") as output:
            proc = subprocess.Popen(command, cwd=job.cwd, env=env,
                                    stdin=subprocess.DEVNULL, stdout=output,
                                    stderr=subprocess.STDOUT,
                                    start_new_session=True)
            end = ""
            try:
                code = proc.wait(job.timeout)
                if code < 0:
                    end = f"killed by {signal.Signals(-code).name}"
            except subprocess.TimeoutExpired:
                end = f"still running after {job.timeout:.0f} s"
                _kill_group(proc, signal.SIGABRT)  # faulthandler says where
                try:
                    code = proc.wait(5)
                except subprocess.TimeoutExpired:
                    code = -signal.SIGKILL
            _kill_group(proc, signal.SIGKILL)  # and all it has left behind
            proc.wait()
        text = log.read_text(errors="replace")
        result = Result(end, 0, set(), text, time.monotonic() - start)
        if not end:
            _READERS[job.kind](result, code, report)
        return result


def _read_unittest(result: Result, code: int, report: pathlib.Path) -> None:
    result.ran = sum(map(int, re.findall(r"^Ran (\d+) tests? in",
                                         result.output, re.M)))
    result.failing = {" ".join(found) for found in re.findall(
        r"^(FAIL|ERROR): (.*)", result.output, re.M)}
    if code and not result.failing:
        result.end = f"exited with status {code}"


def _read_pytest(result: Result, code: int, report: pathlib.Path) -> None:
    if not report.exists():
        result.end = f"exited with status {code}"
        return
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        if case.find("failure") is not None or case.find("error") is not None:
            result.failing.add(name)
        if case.find("skipped") is None:
            result.ran += 1
    if code > 1 and code != 5:  # 1: tests failed; 5: there were none
        result.end = f"exited with status {code}"


def _read_program(result: Result, code: int, report: pathlib.Path) -> None:
    result.ran = 1
    if code:
        result.end = f"exited with status {code}"


_READERS = {"unittest": _read_unittest, "pytest": _read_pytest,
            "program": _read_program}


@dataclasses.dataclass
class Pair:
    """All runs of a job on both sides."""

    job: Job
    original: list[Result]
    other: list[Result]
    verdict: str = ""  # "same", "better", "worse", "unsteady", "unusable"
    why: str = ""


def _worse(original: list[Result], other: Result) -> str:
    """Why `other` is worse than every run on the original; "" if it isn't."""
    if any(r.end for r in original):
        return ""
    if other.end:
        return other.end
    new = other.failing - set().union(*(r.failing for r in original))
    if new:
        return "fails: " + ", ".join(sorted(new))
    least = min(r.ran for r in original)
    if other.ran < least:
        return f"runs {other.ran} tests, the original {least}"
    return ""


def _compare(job: Job, on: str) -> Pair:
    pair = Pair(job, [_execute(job, "original")], [])
    for attempt in range(1 + RETRIES):
        if attempt:
            pair.original.append(_execute(job, "original"))
        pair.other.append(_execute(job, on))
        why = _worse(pair.original, pair.other[-1])
        if not why:
            break
        pair.why = why
    first = pair.original[0]
    if why:
        pair.verdict = "worse"
    elif pair.why:
        pair.verdict = "unsteady"
    elif first.end and pair.other[-1].end:
        pair.verdict = "unusable"
        pair.why = first.end
    elif first.end or first.failing > pair.other[-1].failing:
        pair.verdict = "better"
    else:
        pair.verdict = "same"
    return pair


def _run_jobs(jobs: list[Job], on: str, workers: int) -> list[Pair]:
    """Run those that may have company side by side, then the others."""
    pairs = []
    lock = threading.Lock()

    def run_one(job: Job) -> None:
        pair = _compare(job, on)
        with lock:
            pairs.append(pair)
            seconds = sum(r.seconds for r in pair.original + pair.other)
            print(f"  [{len(pairs):3}/{len(jobs)}] {job.package:10} "
                  f"{job.name:36} {pair.verdict:8} original: "
                  f"{pair.original[-1]}; {on}: {pair.other[-1]} "
                  f"({seconds:.0f} s)", flush=True)

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        list(pool.map(run_one, (job for job in jobs if not job.alone)))
    for job in jobs:
        if job.alone:
            run_one(job)
    return pairs


def _report(pairs: list[Pair], on: str) -> Totals:
    for pair in pairs:
        if pair.verdict in ("worse", "unsteady", "unusable"):
            print(f"\n{pair.verdict.upper()} {pair.job.package} "
                  f"{pair.job.name}: {pair.why}")
        if pair.verdict == "worse":
            print(textwrap.indent(pair.other[-1].output[-OUTPUT_SHOWN:],
                                  "    "))
    print(f"\n{'suite':12}{'files':>6}{'same':>6}{'better':>8}{'worse':>7}"
          f"{'unsteady':>10}{'unusable':>10}   tests run, original / {on}")
    totals = Totals()
    for package in PACKAGES:
        mine = [p for p in pairs if p.job.package == package]
        count = collections.Counter(p.verdict for p in mine)
        print(f"{package:12}{len(mine):6}{count['same']:6}"
              f"{count['better']:8}{count['worse']:7}{count['unsteady']:10}"
              f"{count['unusable']:10}   "
              f"{sum(p.original[-1].ran for p in mine)} / "
              f"{sum(p.other[-1].ran for p in mine)}")
        totals.failed += count["worse"]
        totals.skipped += count["unusable"]
        totals.passed += count["same"] + count["better"] + count["unsteady"]
    print("(unsteady: worse at first, not when run again; unusable: does "
          "not run to its end on either)\n")
    return totals


def run(options: argparse.Namespace) -> tuple[Totals, dict]:
    """Run the suite on the running interpreter.

    :returns: the counts of files, and outcomes for ``--json``.
    :raises SetupError: if the environment cannot be made.
    """
    env = Environment("stock", DATA / "requirements.txt")
    env.prepare(coir=options.on == "coir")
    for on in dict.fromkeys(("original", options.on)):
        check_origin(env.python, on)
    jobs = []
    for package in options.only or PACKAGES:
        jobs.append(_program(env, package))
        for job in PACKAGES[package](env):
            quick = QUICK.get(package)
            if not options.quick or quick is None or job.name in quick:
                jobs.append(job)
    if options.k:
        jobs = [job for job in jobs if options.k in job.name]
    pairs = _run_jobs(jobs, options.on, options.jobs)
    totals = _report(pairs, options.on)
    return totals, {
        f"{p.job.package}/{p.job.name}": {
            "verdict": p.verdict, "why": p.why,
            "original": str(p.original[-1]), options.on: str(p.other[-1]),
        } for p in pairs}
