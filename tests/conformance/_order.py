"""Random programs on eventlet and on coir.eventlet take the same course.

`eventlet/order/programs.py` is what is run; `eventlet/order/clock.c` is its
clock. A test is a seed.
"""

from __future__ import annotations

import itertools
import os
import pathlib
import subprocess
import tempfile

from _env import HERE, SetupError
from _report import Report, show

ORDER = HERE / "eventlet" / "order"
SEEDS = 2000


def _build(directory: str) -> str:
    library = os.path.join(directory, "clock.so")
    command = [os.environ.get("CC", "cc"), "-O1", "-shared", "-fPIC", "-o",
               library, str(ORDER / "clock.c"), "-ldl"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as err:
        raise SetupError(f"cannot build clock.c:\n{err.stderr}") from None
    return library


def _courses(python: str, env: dict[str, str], library: str) -> list[str]:
    done = subprocess.run(
        [python, "-P", str(ORDER / "programs.py"), "1", str(SEEDS)],
        text=True, capture_output=True, timeout=600,
        env={**env, "LD_PRELOAD": library})
    return [*done.stdout.splitlines(), *[done.stderr] * bool(done.returncode)]


def judge(python: str, environs: dict[str, dict[str, str]], report: Report
          ) -> None:
    """Note a test for each program.

    :param environs: the variables for each side.
    """
    with tempfile.TemporaryDirectory() as directory:
        library = _build(str(pathlib.Path(directory)))
        courses = {side: _courses(python, env, library)
                   for side, env in environs.items()}
    pairs = itertools.zip_longest(courses["original"], courses["coir"])
    wrong = 0
    for seed, (theirs, ours) in enumerate(pairs, 1):
        name = f"order.{seed}"
        if theirs == ours:
            report.note(name, "passed")
            continue
        wrong += 1
        text = f"eventlet: {theirs}\nCoir:     {ours}"
        report.note(name, "failed", text)
        if wrong <= 3:
            show("FAILED", name, text)
    print(f"\norder: {len(courses['coir'])} random programs, {wrong} take "
          "another course than on eventlet", flush=True)
