"""Run others' files of unittest tests and learn what became of each test.

Each file is run as its own project runs it, in a process of its own; what
its tests do is noted by ``notes/sitecustomize.py``. A test that crashes or
hangs its process has failed; the remaining ones are run by another process.
"""

from __future__ import annotations

import ast
import dataclasses
import fnmatch
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time

from _env import HERE

NOTES = HERE / "notes"

#: processes that a file may take before the rest of its tests are given up
PROCESSES = 8

#: characters of a process's output that are kept
OUTPUT_KEPT = 6000


@dataclasses.dataclass
class Outcome:
    """What became of one test."""

    outcome: str  # "pass", "fail" or "skip"
    text: str = ""


@dataclasses.dataclass
class FileRun:
    """What became of a file: of its tests by id, and of its processes."""

    tests: dict[str, Outcome] = dataclasses.field(default_factory=dict)
    #: how a process ended that did not end well, "" if all did
    end: str = ""
    output: str = ""
    seconds: float = 0.0
    #: files that the name gevent stood for
    gevent: set[str] = dataclasses.field(default_factory=set)
    #: a process was killed by a signal, or by us since it hung
    crashed: bool = False

    def count(self, outcome: str) -> int:
        return sum(o.outcome == outcome for o in self.tests.values())

    def __str__(self) -> str:
        text = (f"{self.count('pass')} passed, {self.count('fail')} failed, "
                f"{self.count('skip')} skipped")
        return f"{text}; {self.end}" if self.end else text


def is_wanted(name: str, patterns: list[str] | None) -> bool:
    """Whether ``--only`` asks for a file of this name."""
    return not patterns or any(fnmatch.fnmatchcase(name, f"*{pattern}*")
                               for pattern in patterns)


def _kill_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        pass


def watch(proc: subprocess.Popen, notes: pathlib.Path, timeout: float
          ) -> bool:
    """Wait for the end; kill it and return False if there is no progress."""
    size, last = -1, time.monotonic()
    while True:
        try:
            proc.wait(0.1)
            return True
        except subprocess.TimeoutExpired:
            pass
        now = notes.stat().st_size
        if now != size:
            size, last = now, time.monotonic()
        elif time.monotonic() - last > timeout:
            _kill_group(proc.pid, signal.SIGABRT)  # faulthandler says where
            try:
                proc.wait(5)
            except subprocess.TimeoutExpired:
                _kill_group(proc.pid, signal.SIGKILL)
                proc.wait()
            return False


def how_ended(code: int) -> str:
    if code >= 0:
        return f"exited with status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def run_file(command: list[str], environ: dict[str, str], timeout: float,
             only: str = "", accepted: tuple[int, ...] = (),
             cwd: str | None = None, notes: pathlib.Path = NOTES) -> FileRun:
    """Run a file to its end, in as many processes as that takes.

    :param command: its program.
    :param cwd: where it runs; a new, empty directory if None.
    :param notes: the directory of what takes the notes, for PYTHONPATH.
    :param timeout: seconds without a test that ends before a process is
        killed.
    :param only: text that must be in the ids of the tests to be run.
    :param accepted: exit statuses that are good beside 0.
    """
    run = FileRun()
    start = time.monotonic()
    for _ in range(PROCESSES):
        known = len(run.tests)
        if not _run_process(run, command, environ, timeout, only, accepted,
                            cwd, notes):
            break
        if len(run.tests) == known:
            break  # it crashes before any test
    if not run.tests and not run.end:
        run.tests["program"] = Outcome("pass")  # it asserts without unittest
    run.seconds = time.monotonic() - start
    return run


def _run_process(run: FileRun, command: list[str], environ: dict[str, str],
                 timeout: float, only: str, accepted: tuple[int, ...],
                 cwd: str | None, taker: pathlib.Path) -> bool:
    """Run one process; true if there may be more tests than it ran."""
    with tempfile.TemporaryDirectory(
            prefix="coir-conf-", ignore_cleanup_errors=True) as tmp:
        notes = pathlib.Path(tmp, "notes")
        skip = pathlib.Path(tmp, "skip")
        log = pathlib.Path(tmp, "log")
        work = pathlib.Path(tmp, "work")
        work.mkdir()
        notes.touch()
        skip.write_text("\n".join(run.tests))
        path = environ.get("PYTHONPATH")
        env = dict(environ, COIR_TEST_NOTES=str(notes), TMPDIR=tmp,
                   PYTHONPATH=f"{taker}:{path}" if path else str(taker))
        if run.tests:
            env["COIR_TEST_SKIP"] = str(skip)
        if only:
            env["COIR_TEST_ONLY"] = only
        with open(log, "wb") as output:
            proc = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, cwd=cwd or work, env=env,
                start_new_session=True)
            in_time = watch(proc, notes, timeout)
        _kill_group(proc.pid, signal.SIGKILL)  # what it has left behind
        running = None
        known = len(run.tests)
        for line in notes.read_text().split("\n")[:-1]:
            note = ast.literal_eval(line)
            if note["event"] == "start":
                running = note["id"]
                if note["gevent"]:
                    run.gevent.add(note["gevent"])
            else:
                _add(run.tests, note)
                running = None
        output = log.read_text(errors="replace")
    if run.output:
        run.output += "\n---- next process\n"
    run.output = (run.output + output)[-OUTPUT_KEPT:]
    how = (how_ended(proc.returncode) if in_time
           else f"no progress for {timeout:.0f} s, killed")
    crashed = not in_time or proc.returncode < 0
    if running is not None:
        run.tests[running] = Outcome("fail", f"{how}\n{output[-3000:]}")
    if running is not None or crashed:
        run.crashed = True
        run.end = how
        return True
    # unittest tells by its status that tests failed, and that it ran none.
    failed = any(o.outcome == "fail" for o in run.tests.values())
    if proc.returncode and not failed and not known and (
            proc.returncode not in accepted):
        run.end = how
    return False


def _add(tests: dict[str, Outcome], note: dict) -> None:
    """Note an outcome; that of a test that is run again only if worse."""
    before = tests.get(note["id"])
    if before is None or before.outcome != "fail":
        tests[note["id"]] = Outcome(note["outcome"], note["text"])


def cause(run: FileRun) -> str:
    """One line on why the file did not run all of its tests."""
    lines = [line for line in run.output.splitlines()
             if re.match(r"\w*(Error|Exception|Exit|Warning)\b", line)
             or line.startswith(("Fatal Python error", "Segmentation"))]
    return ": ".join(filter(None, [run.end, lines[-1] if lines else ""]))
