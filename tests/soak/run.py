#!/usr/bin/env python3
"""Run random greenlet programs and compare each with the oracle.

    run.py --minutes 10            on Coir
    run.py --on original           on greenlet: checks the oracle
    run.py --replay FILE           one program that failed

Every program is run on greenlets and on a model of them that is made of
threads, in the same process; both logs must be equal. A program that fails
is cut down to what is needed for it and printed. The memory of the processes
is watched: it must not grow. The last line is ``N passed, M failed,
K skipped``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import random
import resource
import selectors
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "conformance"))

from _env import (  # noqa: E402
    HERE as CONFORMANCE,
)
from _env import (  # noqa: E402
    Environment,
    SetupError,
    cache_dir,
    variables,
)

MEMORY_EVERY = 50  # programs
MEMORY_SAMPLES = 20  # at least, for a verdict
MEMORY_GROWTH = 8 << 20  # bytes allowed between the second and last quarter
OBJECTS_GROWTH = 2000
TIMEOUT = 60  # seconds for one program
SHRINK_SECONDS = 120
FAILURES_SHRUNK = 3

#: settings that workers take in turn: both ways to give greenlets stacks
SETTINGS = ({}, {"COIR_STACK": "slice"})


@dataclasses.dataclass
class Answer:
    """What running one program came to."""

    kind: str  # "same", "differ", "crash" or "hang"
    text: str = ""
    memory: tuple[int, int] | None = None
    dirty: bool = False  # threads of the model are left over


def _first_difference(answer: dict) -> str:
    for number, (seen, expected) in enumerate(
            zip(answer["seen"], answer["expected"])):
        if seen == expected:
            continue
        at = next((i for i, (a, b) in enumerate(zip(seen, expected))
                   if a != b), min(len(seen), len(expected)))
        lines = [f"thread {number}, after {at} equal entries:"]
        lines += [f"    both      {e}" for e in seen[max(0, at - 8):at]]
        lines += [f"    greenlet  {e}" for e in seen[at:at + 4]]
        lines += [f"    model     {e}" for e in expected[at:at + 4]]
        return "\n".join(lines)
    return "different numbers of threads"


class Worker:
    """A process that runs programs; made anew when it dies."""

    def __init__(self, python: str, on: str, settings: dict[str, str]):
        self.command = [python, "-P", str(HERE / "worker.py"), on]
        self.env = variables(on)
        # The module is asked for by its own name; nothing is shadowed.
        self.env.pop("COIR_AS", None)
        self.env["PYTHONPATH"] = str(HERE)
        self.env.update(settings)
        self.proc: subprocess.Popen | None = None
        self.samples: list[tuple[int, int]] = []
        self.lives: list[list[tuple[int, int]]] = []

    def _start(self) -> None:
        self.errors = tempfile.TemporaryFile()
        self.proc = subprocess.Popen(
            self.command, env=self.env, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self.errors)
        self.buffer = b""

    def stop(self) -> None:
        if self.proc is not None:
            self.proc.kill()
            self.proc.wait()
            self.proc.stdin.close()
            self.proc.stdout.close()
            self.errors.close()
            self.proc = None
            if self.samples:
                self.lives.append(self.samples)
                self.samples = []

    def _read(self, deadline: float) -> dict | None:
        """The next line; None at the end. Raises TimeoutError."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.proc.stdout, selectors.EVENT_READ)
            while b"\n" not in self.buffer:
                if not selector.select(max(0, deadline - time.monotonic())):
                    raise TimeoutError
                data = os.read(self.proc.stdout.fileno(), 1 << 16)
                if not data:
                    return None
                self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return json.loads(line)

    def _error_output(self) -> str:
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")[-5000:]

    def ask(self, request: dict, timeout: float = TIMEOUT) -> Answer:
        """Have one program run."""
        if self.proc is None:
            self._start()
        deadline = time.monotonic() + timeout
        stage = "set-up"
        try:
            self.proc.stdin.write(json.dumps(request).encode() + b"\n")
            self.proc.stdin.flush()
            while True:
                answer = self._read(deadline)
                if answer is None or "same" in answer:
                    break
                stage = answer["stage"]
        except TimeoutError:
            self.proc.send_signal(signal.SIGABRT)  # faulthandler: where
            try:
                self.proc.wait(5)
            except subprocess.TimeoutExpired:
                pass
            text = f"no end after {timeout:.0f} s, in stage {stage}\n"
            text += self._error_output()
            self.stop()
            return Answer("hang", text)
        except BrokenPipeError:
            answer = None
        if answer is None:
            code = self.proc.wait()
            how = (f"killed by {signal.Signals(-code).name}" if code < 0
                   else f"exited with status {code}")
            text = f"{how}, in stage {stage}\n{self._error_output()}"
            self.stop()
            return Answer("crash", text)
        if "memory" in answer:
            self.samples.append(tuple(answer["memory"]))
        result = Answer("same" if answer["same"] else "differ",
                        memory=answer.get("memory"), dirty=answer["left"] > 0)
        if not answer["same"]:
            result.text = _first_difference(answer)
        if result.dirty:
            self.stop()
        return result


# Cutting down a program


def _step_lists(value) -> Iterator[list]:
    """All lists of steps in a script, the longest way in last."""
    yield value
    for step in value:
        for argument in step[1:]:
            if isinstance(argument, list) and (
                    not argument or isinstance(argument[0], list)):
                yield from _step_lists(argument)


def shrink(program: dict, fails: Callable[[dict], bool],
           seconds: float) -> dict:
    """The smallest program found within the time that still fails."""
    deadline = time.monotonic() + seconds

    def lists() -> list[list]:
        found = []
        for thread in program["threads"]:
            for script in thread["scripts"]:
                found += _step_lists(script)
        return found

    def try_cut(steps: list, start: int, size: int) -> bool:
        cut = steps[start:start + size]
        del steps[start:start + size]
        if fails(program):
            return True
        steps[start:start] = cut
        return False

    def try_replace(steps: list, index: int) -> bool:
        """Put what is inside a step in its place."""
        old = steps[index]
        for argument in old[1:]:
            if isinstance(argument, list) and (
                    argument and isinstance(argument[0], list)):
                steps[index:index + 1] = argument
                if fails(program):
                    return True
                steps[index:index + len(argument)] = [old]
        return False

    for index in range(len(program["threads"]) - 1, -1, -1):
        if len(program["threads"]) > 1:
            thread = program["threads"].pop(index)
            if not fails(program):
                program["threads"].insert(index, thread)
    changed = True
    while changed and time.monotonic() < deadline:
        changed = False
        for steps in lists():
            size = len(steps)
            while size and time.monotonic() < deadline:
                start = 0
                while start < len(steps):
                    if try_cut(steps, start, size):
                        changed = True
                    else:
                        start += size
                size //= 2
        for steps in lists():
            for index in range(len(steps) - 1, -1, -1):
                if time.monotonic() < deadline:
                    changed |= try_replace(steps, index)
    return program


def _seed_program(seed: int) -> dict:
    sys.path.insert(0, str(HERE))
    import programs

    return programs.generate(seed)


class Soak:
    """The whole run: threads that feed a worker each."""

    def __init__(self, options: argparse.Namespace, python: str):
        self.options = options
        self.python = python
        self.end = time.monotonic() + options.minutes * 60
        self.seeds = iter(range(options.seed, sys.maxsize))
        self.lock = threading.Lock()
        self.done = 0
        self.failed = 0
        self.failures: list[tuple[int, dict[str, str], Answer]] = []
        self.printed = 0
        self.workers: list[Worker] = []

    def _settings(self, index: int) -> dict[str, str]:
        if self.options.on == "original":
            return {}
        return dict(SETTINGS[index % len(SETTINGS)])

    def _feed(self, index: int) -> None:
        worker = Worker(self.python, self.options.on, self._settings(index))
        self.workers.append(worker)
        count = 0
        while (time.monotonic() < self.end
               and self.failed < self.options.max_failures):
            with self.lock:
                seed = next(self.seeds)
            count += 1
            answer = worker.ask(
                {"seed": seed, "memory": count % MEMORY_EVERY == 0})
            with self.lock:
                self.done += 1
                if answer.kind != "same":
                    self.failed += 1
                    self.failures.append(
                        (seed, self._settings(index), answer))
        worker.stop()

    def run(self) -> None:
        threads = [threading.Thread(target=self._feed, args=(i,))
                   for i in range(self.options.jobs)]
        start = time.monotonic()
        for thread in threads:
            thread.start()
        shown = 0.0
        every = 1 if sys.stdout.isatty() else 10
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.2)
            self._print_new_failures()
            now = time.monotonic()
            if now - shown >= every:
                shown = now
                self._progress(now - start)
        for thread in threads:
            thread.join()
        self._print_new_failures()
        self._progress(time.monotonic() - start)
        print()

    def _progress(self, seconds: float) -> None:
        last = [w.samples[-1][0] for w in self.workers if w.samples]
        rss = f", {max(last) / 2**20:.1f} MB" if last else ""
        left = max(0, self.end - time.monotonic())
        print(f"\r  {self.done} programs, {self.done / seconds:.0f}/s, "
              f"{self.failed} failed{rss}, {left / 60:.1f} min left   ",
              end="" if sys.stdout.isatty() else "\n", flush=True)

    def _print_new_failures(self) -> None:
        while self.printed < len(self.failures):
            seed, settings, answer = self.failures[self.printed]
            self.printed += 1
            print(f"\nFAILED seed {seed} {settings or ''}: {answer.kind}\n"
                  f"{answer.text}", flush=True)

    def memory_verdicts(self) -> tuple[int, int]:
        """Judge the growth of each process; returns passed and failed."""
        passed = failed = 0
        for worker in self.workers:
            for samples in worker.lives:
                if len(samples) < MEMORY_SAMPLES:
                    continue
                quarter = len(samples) // 4
                grown = []
                for column in (0, 1):
                    values = [sample[column] for sample in samples]
                    early = statistics.median(values[quarter:2 * quarter])
                    late = statistics.median(values[-quarter:])
                    grown.append(late - early)
                good = (grown[0] <= MEMORY_GROWTH
                        and grown[1] <= OBJECTS_GROWTH)
                passed += good
                failed += not good
                print(f"{'memory' if good else 'FAILED memory'}: process "
                      f"with {len(samples) * MEMORY_EVERY} programs: RSS "
                      f"{samples[0][0] / 2**20:.1f} -> "
                      f"{samples[-1][0] / 2**20:.1f} MB (second to last "
                      f"quarter {grown[0] / 2**20:+.1f}), objects "
                      f"{samples[0][1]} -> {samples[-1][1]} "
                      f"({grown[1]:+.0f})")
        return passed, failed


def _reproduce(python: str, on: str, program: dict, settings: dict,
               kind: str, name: str) -> None:
    """Cut a failing program down, print and save it."""
    worker = Worker(python, on, settings)
    last = Answer(kind)

    def fails(candidate: dict) -> bool:
        nonlocal last
        answer = worker.ask({"program": candidate}, 15)
        if answer.kind == kind:
            last = answer
        return answer.kind == kind

    try:
        if not any(fails(program) for _ in range(5)):
            print(f"{name} did not fail again, alone and from the start")
            return
        print(f"cutting {name} down ...", flush=True)
        program = shrink(program, fails, SHRINK_SECONDS)
        fails(program)
    finally:
        worker.stop()
    folder = cache_dir().parent / "soak"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name.replace(' ', '-')}.json"
    path.write_text(json.dumps(program))
    print(f"{name}, cut down:")
    for number, thread in enumerate(program["threads"]):
        for index, script in enumerate(thread["scripts"]):
            if script:
                print(f"    thread {number} script {index}: {script}")
    variables_set = " ".join(f"{k}={v}" for k, v in settings.items())
    print(f"{last.kind}: {last.text}\nrun again with: {variables_set} "
          f"{shlex.join([sys.executable, os.path.relpath(__file__)])} "
          f"--on {on} --replay {path}\n", flush=True)


def replay(options: argparse.Namespace, python: str) -> int:
    program = json.loads(options.replay.read_text())
    settings = {name: os.environ[name] for name in ("COIR_STACK",)
                if name in os.environ}
    worker = Worker(python, options.on, settings)
    answer = worker.ask({"program": program})
    worker.stop()
    print(answer.kind, answer.text)
    return answer.kind != "same"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int,
                        help="of the first program (default: a random one)")
    parser.add_argument("-j", "--jobs", type=int,
                        default=min(4, os.cpu_count() or 1))
    parser.add_argument("--on", choices=("coir", "original"), default="coir")
    parser.add_argument("--max-failures", type=int, default=20)
    parser.add_argument("--replay", type=pathlib.Path, metavar="FILE")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = random.randrange(10**9)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        env = Environment("greenlet", CONFORMANCE / "greenlet"
                          / "requirements.txt")
        env.prepare(coir=options.on == "coir")
    except SetupError as err:
        sys.exit(f"run.py: {err}")
    if options.replay:
        return replay(options, env.python)

    print(f"CPython {platform.python_version()}, on {options.on}, "
          f"{options.minutes:g} minutes, {options.jobs} processes, "
          f"seeds from {options.seed}", flush=True)
    soak = Soak(options, env.python)
    soak.run()
    passed, failed = soak.memory_verdicts()
    for seed, settings, answer in soak.failures[:FAILURES_SHRUNK]:
        _reproduce(env.python, options.on, _seed_program(seed), settings,
                   answer.kind, f"seed {seed}")
    failed += soak.failed
    passed += soak.done - soak.failed
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
