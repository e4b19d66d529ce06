"""Real programs on coir.gevent and coir.eventlet: clients, servers and
frameworks from the registry, unmodified, with real servers that the suite
starts.

``programs/programs.toml`` tells which there are. Each is a file of tests,
run on coir.gevent, under the name gevent, and on the original; or the same
with eventlet. One whose packages or servers cannot be had is skipped and says
why.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import tomllib

import _servers
import _sides
from _env import HERE, Environment, SetupError, Totals
from _report import Deviations, Report
from _unittests import is_wanted, run_file
from gevent_suite import Pair, environ

DATA = HERE / "programs"

#: seconds without a test that ends, at most
TIMEOUT = 120


def _install(env: Environment, packages: list[str]) -> None:
    """Install a program's packages, once.

    :raises SetupError: if that is not possible.
    """
    constraints = DATA / "constraints.txt"
    key = hashlib.sha256("\0".join([*packages, constraints.read_text()])
                         .encode()).hexdigest()[:16]
    stamp = env.dir / f"program-{key}"
    if not stamp.exists():
        print("installing", *packages, flush=True)
        env.pip("install", "-c", str(constraints), *packages,
                what=f"installing {' '.join(packages)}")
        stamp.touch()


def _install_apart(env: Environment, packages: list[str]) -> dict[str, str]:
    """Install versions that only one program uses, where others do not see.

    :returns: the variables by which that program finds them.
    :raises SetupError: if that is not possible.
    """
    if not packages:
        return {}
    key = hashlib.sha256("\0".join(packages).encode()).hexdigest()[:16]
    directory = env.dir / f"apart-{key}"
    stamp = directory / "done"
    if not stamp.exists():
        print("installing", *packages, flush=True)
        env.pip("install", "--no-deps", "--target", str(directory),
                *packages, what=f"installing {' '.join(packages)}")
        stamp.touch()
    return {"PYTHONPATH": str(directory)}


class _Running:
    """The servers that were started, each when it was first needed."""

    def __init__(self, python: str, stack: contextlib.ExitStack) -> None:
        self._python = python
        self._stack = stack
        self._found: dict[str, dict[str, str] | _servers.Missing] = {}

    def variables(self, names: list[str]) -> dict[str, str]:
        """What the programs are to know of them.

        :raises Missing: if one of them cannot be had.
        """
        all_of_them = {}
        for name in names:
            if name not in self._found:
                try:
                    self._found[name] = self._stack.enter_context(
                        _servers.start(name, self._python))
                except _servers.Missing as exc:
                    self._found[name] = exc
            found = self._found[name]
            if isinstance(found, _servers.Missing):
                raise found
            all_of_them.update(found)
        return {f"COIR_PROGRAMS_{key}": value
                for key, value in all_of_them.items()}


def _variables(on: str, api: str, more: dict[str, str]) -> dict[str, str]:
    env = environ(on)
    if "COIR_AS" in env:
        env["COIR_AS"] = api
    for name in list(env):
        if name.startswith(("GEVENTTEST_", "PYTHONDEV", "PYTHONWARN")):
            del env[name]
    return {**env, **more}


def _run_program(pair: Pair, api: str, on: list[str], more: dict[str, str],
                 pattern: str) -> None:
    for side in on:
        pair.runs[side] = run_file(
            pair.command, _variables(side, api, more), pair.timeout, pattern)
        print(f"  {pair.name:24} {side:8} {pair.runs[side]} "
              f"({pair.runs[side].seconds:.0f} s)", flush=True)
    if on == ["original", "coir"] and pair.runs["coir"].count("fail"):
        pair.again = run_file(
            pair.command, _variables("coir", api, more), pair.timeout,
            pattern)
        print(f"  {pair.name:24} again    {pair.again}", flush=True)


def run(options: argparse.Namespace) -> tuple[Totals, dict]:
    """Run the suite on the running interpreter.

    :returns: the counts, and outcomes for ``--json``.
    :raises SetupError: if the environment cannot be made.
    """
    env = Environment("programs", HERE / "gevent" / "requirements.txt")
    env.prepare(coir=options.on == "coir")
    _sides.probe(env, "gevent", "original", environ("original"))
    on = ["original"]
    if options.on == "coir":
        _sides.probe(env, "gevent", "coir", environ("coir"))
        on.append("coir")
    with open(DATA / "programs.toml", "rb") as file:
        programs = tomllib.load(file)
    report = Report()
    pairs = []
    with contextlib.ExitStack() as stack:
        running = _Running(env.python, stack)
        for name, program in programs.items():
            if not is_wanted(name, options.only):
                continue
            try:
                _install(env, program["packages"])
                more = {**running.variables(program["servers"]),
                        **_install_apart(env, program.get("apart", []))}
            except (SetupError, _servers.Missing) as exc:
                report.note(name, "skipped", str(exc))
                report.lines["absent"].append(f"{name}: {exc}")
                print(f"  {name:24} skipped: {exc}", flush=True)
                continue
            pair = Pair(name, [env.python, "-u", str(DATA / f"{name}.py")],
                        min(options.timeout, TIMEOUT), True)
            _run_program(pair, program.get("api", "gevent"), on, more,
                         options.k or "")
            pairs.append(pair)
    if options.on == "original":
        _sides.note_originals(pairs, report)
        return report.totals, report.outcomes
    deviations = Deviations(DATA / "deviations.toml")
    for pair in pairs:
        _sides.judge_file(pair, "gevent", deviations, report)
    report.print_lines("absent", "SKIPPED")
    _sides.print_report(pairs, deviations, report,
                        whole=not (options.only or options.k))
    return report.totals, report.outcomes
