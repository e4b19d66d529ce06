#!/usr/bin/env python3
"""Run what was written for other projects on Coir.

    run.py --suite greenlet     greenlet's tests
    run.py --suite stock        gevent, eventlet and SQLAlchemy, unmodified
    run.py --suite libev        libev's API and programs on Coir's event loop
    run.py --suite gevent       gevent's tests on coir.gevent
    run.py --suite eventlet     eventlet's tests on coir.eventlet
    run.py --suite stdlib       CPython's tests, patched by coir.gevent.monkey
    run.py --suite stdlib-eventlet  the same, by coir.eventlet
    run.py --suite programs     clients, servers and frameworks that use it
    run.py --suite http         h11 and llhttp beside Coir's parser of HTTP

All set-up is done here, in virtual environments below the user's cache
directory. The last line is ``N passed, M failed, K skipped``; the exit
status is 1 if anything failed.
"""

from __future__ import annotations

import argparse
import glob
import importlib
import json
import os
import pathlib
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from _env import SetupError, interpreter_tag  # noqa: E402

VERSIONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
SUITES = ("greenlet", "stock", "libev", "gevent", "eventlet", "stdlib",
          "stdlib-eventlet", "programs", "http")
LAST_LINE = re.compile(r"(\d+) passed, (\d+) failed, (\d+) skipped$")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--suite", required=True, choices=SUITES)
    parser.add_argument(
        "--on", choices=("coir", "original"), default="coir",
        help="what the tests run on (default: coir)")
    parser.add_argument(
        "--python", action="append", metavar="COMMAND", default=[],
        help="an interpreter to run on, instead of this one; may be given\n"
             "again, and may be a command such as 'chroot DIR python3.14'")
    parser.add_argument(
        "--all", action="store_true",
        help="run on every interpreter that the test matrix runs on")
    parser.add_argument(
        "--versions", metavar="LIST",
        help="run on these of them, such as 3.11,3.14")
    parser.add_argument("-k", metavar="TEXT",
                        help="only tests with TEXT in their name")
    parser.add_argument(
        "-j", "--jobs", type=int,
        help="processes at a time (default: 4, or one for each processor;\n"
             "gevent, eventlet, stdlib: one for two of them)")
    parser.add_argument(
        "--timeout", type=float, default=120, metavar="S",
        help="seconds without progress before a process is killed")
    parser.add_argument("--quick", action="store_true",
                        help="stock: a representative part only")
    parser.add_argument(
        "--only", metavar="NAME", action="append",
        help="stock: only gevent, eventlet or sqlalchemy; gevent, stdlib,\n"
             "eventlet, programs: only files with NAME in their names, which\n"
             "may have\n"
             "wildcards")
    parser.add_argument("--cases", type=int, metavar="N",
                        help="http: how many (default: 20000)")
    parser.add_argument("--seed", type=int, default=1, metavar="N",
                        help="http: which")
    parser.add_argument("--json", metavar="FILE", type=pathlib.Path,
                        help="write all outcomes there")
    return parser.parse_args()


def run_elsewhere(options: argparse.Namespace, command: list[str]
                  ) -> tuple[int, int, int]:
    """Run this program under another interpreter and read its last line."""
    args = ["--suite", options.suite, "--on", options.on,
            "--timeout", str(options.timeout)]
    if options.jobs:
        args += ["--jobs", str(options.jobs)]
    if options.k:
        args += ["-k", options.k]
    if options.quick:
        args.append("--quick")
    if options.cases:
        args += ["--cases", str(options.cases)]
    args += ["--seed", str(options.seed)]
    for package in options.only or ():
        args += ["--only", package]
    print(f"==== {shlex.join(command)}", flush=True)
    found = None
    with subprocess.Popen([*command, os.path.abspath(__file__), *args],
                          text=True, stdout=subprocess.PIPE) as proc:
        for line in proc.stdout:
            found = LAST_LINE.match(line.rstrip())
            print(line, end="", flush=True)
    if found is None:
        print("FAILED:", shlex.join(command), "did not run to its end")
        return 0, 1, 0
    return int(found[1]), int(found[2]), int(found[3])


def discover(versions: Iterable[str]) -> list[list[str]]:
    """Commands of interpreters of these versions.

    Those of this machine, and for versions that it has not those of the
    chroot that ``make test-matrix`` has made.
    """
    found = []
    tree = pathlib.Path(__file__).resolve().parents[2]
    for version in versions:
        candidates = [[sys.executable], [f"python{version}"]]
        if shutil.which("pyenv"):
            root = subprocess.run(["pyenv", "root"], capture_output=True,
                                  text=True).stdout.strip()
            candidates += [[path] for path in sorted(glob.glob(os.path.join(
                root, "versions", f"{version}.*", "bin",
                f"python{version}")))]
        candidates.append([str(tree / "tools" / "chroot.sh"), "run", "sid",
                           f"python{version}"])
        for command in candidates:
            try:
                out = subprocess.run(
                    [*command, "-c", "import sys, ensurepip;"
                     "print('%d.%d' % sys.version_info[:2])"],
                    capture_output=True, text=True)
            except OSError:
                continue
            if out.returncode == 0 and out.stdout.strip() == version:
                found.append(command)
                break
        else:
            print(f"CPython {version}: not found; make test-matrix makes a "
                  "chroot that has it", flush=True)
    return found


def run_here(options: argparse.Namespace) -> tuple[int, int, int]:
    suite = importlib.import_module(
        f"{options.suite.replace('-', '_')}_suite")
    if options.jobs is None and options.suite in ("greenlet", "stock",
                                                  "libev"):
        options.jobs = min(4, os.cpu_count() or 1)
    print(f"{platform.python_implementation()} {platform.python_version()} "
          f"({interpreter_tag()}), suite {options.suite}, on {options.on}",
          flush=True)
    totals, outcomes = suite.run(options)
    if options.json:
        options.json.write_text(json.dumps(
            {"python": platform.python_version(), "suite": options.suite,
             "on": options.on, "outcomes": outcomes}, indent=1))
    return totals.passed, totals.failed, totals.skipped


def main() -> int:
    options = parse_arguments()
    commands = [shlex.split(command) for command in options.python]
    if options.all or options.versions:
        commands += discover(options.versions.split(",") if options.versions
                             else VERSIONS)
    if options.json and commands:
        sys.exit("run.py: --json is for a single interpreter, the running one")
    try:
        counts = ([run_elsewhere(options, command) for command in commands]
                  if commands else [run_here(options)])
    except SetupError as err:
        sys.exit(f"run.py: {err}")
    passed, failed, skipped = map(sum, zip(*counts))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
