"""Benchmarks of Coir beside its peers.

For each row the implementations run in turn, A B A B ..., each measurement in
a process of its own, so that a change of the machine's mood meets all alike.
Figures are medians over all samples of all rounds; what counts is the ratio
within one run. Nothing here judges: a slow result is no error.
"""

import argparse
import datetime
import fnmatch
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import counts
import environment
import report
import targets

HERE = Path(__file__).resolve().parent
TIMEOUT = 600  # seconds for one measurement
GUARDS = ("auto", "MADV_GUARD_INSTALL", "mprotect", "none")


def measure(argv):
    """One measurement: what the program printed, or {"error": text}."""
    try:
        done = subprocess.run(
            [str(a) for a in argv], capture_output=True, text=True,
            timeout=TIMEOUT, cwd=HERE,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"not done in {TIMEOUT} s"}
    if done.returncode < 0:
        return {"error": signal.Signals(-done.returncode).name}
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [""]
        return {"error": f"failed: {lines[-1]}"}
    return json.loads(done.stdout.splitlines()[-1])


def run_row(row, commands, options):
    """Measure a row with all its implementations, in turn.

    :param commands: implementation -> argument list, or text why not.
    """
    rounds = min(options.rounds, row.rounds or options.rounds)
    found = {name: [] for name in commands}
    unit = ""
    for number in range(rounds):
        # Every other round the other way about: none is always the first.
        names = list(commands)
        if number % 2:
            names.reverse()
        for name in names:
            failed = found[name] and "error" in found[name][-1]
            if failed:
                continue
            if isinstance(commands[name], str):
                got = {"error": commands[name]}
            elif environment.memory_available() < row.memory:
                got = {"error": f"needs {row.memory >> 30} GiB of memory"}
            else:
                got = measure(commands[name])
            found[name].append(got)
            unit = got.get("unit", unit)
            print(".", end="", flush=True)
    results = {}
    for name, all_got in found.items():
        if "error" in all_got[-1]:
            results[name] = {"error": all_got[-1]["error"]}
            continue
        samples = [s for got in all_got for s in got["samples"]]
        results[name] = report.summary(samples)
        results[name]["note"] = report.median_notes(
            [got["note"] for got in all_got])
    return {
        "row": row.name,
        "label": row.label,
        "unit": unit,
        "target": row.target,
        "target_ratio": row.ratio,
        "judged": row.judged,
        "results": results,
    }


def count_in(command, row, ops):
    """Instructions and system calls of an operation of a program's row."""
    if command[0].name in targets.GO_PROGRAMS:
        return {}
    counted = {}
    found = counts.instructions(command[0], row.name, ops)
    if found:
        counted["instructions"] = sum(found.values())
    calls = counts.system_calls(command[0], row.name, ops)
    if calls is not None:
        counted["system_calls"] = calls
    return counted


def count_row(row, commands, done, quick, count):
    """Add what is counted to the results."""
    ops = row.counted // 10 if quick else row.counted
    for name, result in done["results"].items():
        if row.counted == 0 or "error" in result:
            continue
        result.update(count(commands[name], row, ops))
        print(".", end="", flush=True)


def run_rows(suite, rows, command, implementations, facts, options,
             count=count_in):
    """Measure all rows of a suite.

    :param command: (implementation, row) -> arguments, text why not, or None
        for a row that is not the implementation's.
    :param count: (arguments, row, operations) -> what is counted of one.
    """
    rows = [
        row for row in rows
        if any(fnmatch.fnmatch(row.name, p) for p in options.rows)
        and not (options.quick and row.slow)
    ]
    facts["date"] = now()
    facts["rounds"] = options.rounds
    print("\n" + report.facts_text({"facts": facts}), flush=True)
    run = {"suite": suite, "quick": options.quick, "facts": facts,
           "implementations": list(implementations), "rows": []}
    for number, row in enumerate(rows, 1):
        print(f"[{number:2}/{len(rows)}] {row.label} ", end="", flush=True)
        commands = {}
        for name in implementations:
            argv = command(name, row)
            if argv is not None:
                commands[name] = argv
        done = run_row(row, commands, options)
        count_row(row, commands, done, options.quick, count)
        run["rows"].append(done)
        print_row(done, implementations)
    facts["load_end"] = f"{os.getloadavg()[0]:.1f}"
    return run


def print_row(row, implementations):
    print()
    for name in implementations:
        if name in row["results"]:
            result = row["results"][name]
            text = report.cell(result, row["unit"])
            counted = report.counts_text(result)
            print(f"        {name:16} {text}  {counted}".rstrip())
    ratio = report.ratio(row, implementations)
    text = f"ratio {report.ratio_text(ratio)}" if ratio else ""
    wanted = report.target_text(row)
    if wanted:
        text += f"   target {wanted}:"
        text += f" {report.verdict(row, implementations).strip('*')}"
    if text:
        print(f"        {text.strip()}", flush=True)


def now():
    stamp = datetime.datetime.now(datetime.UTC)
    return stamp.strftime("%Y-%m-%d %H:%M UTC")


def greenlet_suite(options):
    runs = []
    for python in options.python or [sys.executable]:
        python = environment.find_python(python)
        interpreter, missing = environment.python_environment(
            python, "greenlet", targets.GREENLET_PEERS)
        facts = environment.facts() | environment.python_facts(
            interpreter, ["greenlet", "coir"])

        def command(name, row, interpreter=interpreter, missing=missing):
            if name in row.programs:
                return None
            module = targets.GREENLET_IMPLEMENTATIONS[name]
            if module.partition(".")[0] in missing:
                return "not built"
            argv = [interpreter, HERE / "python" / "greenlet_rows.py",
                    module, row.name]
            return argv + ["--quick"] * options.quick

        for text in missing.values():
            print(text, file=sys.stderr)
        runs.append(run_rows(
            "greenlet", targets.GREENLET_ROWS, command,
            targets.GREENLET_IMPLEMENTATIONS, facts, options,
        ))
    return runs


def gevent_suite(options):
    return green_suite(
        "gevent", targets.GEVENT_PEERS, targets.GEVENT_IMPLEMENTATIONS,
        targets.PYTHON_ECHO_IMPLEMENTATIONS, options)


def eventlet_suite(options):
    return green_suite(
        "eventlet", targets.EVENTLET_PEERS, targets.EVENTLET_IMPLEMENTATIONS,
        targets.EVENTLET_ECHO_IMPLEMENTATIONS, options)


def green_suite(suite, peers, implementations, servers, options):
    """Green threads and TCP echo in Python."""
    programs = environment.core_build()
    runs = []
    for python in options.python or [sys.executable]:
        python = environment.find_python(python)
        interpreter, missing = environment.python_environment(
            python, suite, peers)
        facts = environment.facts() | environment.python_facts(
            interpreter, ["greenlet", *peers, "coir"])
        for text in missing.values():
            print(text, file=sys.stderr)
        runs += [
            green_run(suite, implementations, interpreter, missing,
                      dict(facts), options),
            green_echo_run(suite, servers, interpreter, missing, programs,
                           facts, options),
        ]
    return runs


def green_run(suite, implementations, interpreter, missing, facts, options):
    def command(name, row):
        peer = implementations[name]
        if peer.partition(".")[0] in missing:
            return "not installed"
        argv = [interpreter, HERE / "python" / "green_rows.py", peer,
                row.name]
        return argv + ["--quick"] * options.quick

    return run_rows(suite, targets.GEVENT_ROWS, command, implementations,
                    facts, options)


def green_echo_run(suite, servers, interpreter, missing, programs, facts,
                   options):
    driver = [sys.executable, HERE / "echo.py", programs / "load"]

    def command(name, row):
        peer = servers[name]
        if name in row.programs:
            return None
        if peer is None:
            argv = [*driver, programs / "echo_epoll"]
        elif peer.partition(".")[0] in missing:
            return "not installed"
        else:
            argv = [*driver, interpreter,
                    HERE / "python" / "echo_servers.py", peer]
        return argv + echo_options(row, options, 5000)

    return run_rows(f"{suite} echo", targets.PYTHON_ECHO_ROWS, command,
                    servers, facts, options, count_echo)


def http_suite(options):
    if shutil.which("wrk") is None:
        raise environment.SetupError("wrk is missing: install Debian package"
                                     " wrk")
    programs = environment.core_build()
    driver = [sys.executable, HERE / "http_load.py"]
    runs = []
    for python in options.python or [sys.executable]:
        python = environment.find_python(python)
        interpreter, missing = environment.python_environment(
            python, "http", targets.HTTP_PEERS)
        facts = environment.facts() | environment.python_facts(
            interpreter, ["gevent", "eventlet", "gunicorn", "uvicorn",
                          "coir"])
        for text in missing.values():
            print(text, file=sys.stderr)

        def command(name, row, interpreter=interpreter, missing=missing):
            if name in row.programs:
                return None
            what, _, count = row.name.partition("_")
            path = "/hello" if row.name == "idle" else f"/{what}"
            server = targets.HTTP_IMPLEMENTATIONS[name]
            if server is None:
                argv = [*driver, path, programs / "http_coir"]
            elif re.split("[.-]", server[0])[0] in missing:
                return "not installed"
            else:
                settings = [f"{k}={v}" for k, v in server[1].items()]
                argv = ["env", *settings, *driver, path, interpreter,
                        HERE / "python" / "http_servers.py", server[0]]
            if row.name == "idle":
                count = 1000 if options.quick else 10000
                return [*argv, "--idle", "--connections", count]
            return [*argv, "--connections", count,
                    "--seconds", 1 if options.quick else 3,
                    *["--upload"] * (what == "upload")]

        runs.append(run_rows("http", targets.HTTP_ROWS, command,
                             targets.HTTP_IMPLEMENTATIONS, facts, options))
    return runs


def c_suite(suite, rows, implementations, programs, facts, options):
    """A suite of C programs, in the directory `programs`."""

    def command(name, row):
        program, package = implementations[name]
        if name in row.programs:
            return None
        if not (programs / program).exists():
            return f"not installed ({package})"
        argv = [programs / program, row.name]
        return argv + ["--quick"] * options.quick

    return [run_rows(suite, rows, command, implementations, facts, options)]


def core_suite(options):
    programs = environment.core_build()
    facts = environment.facts()
    info = measure([programs / "bench_coir", "info"])
    if "error" not in info:
        facts["context"] = info["unit"]
        facts["guards"] = GUARDS[int(info["samples"][0])]
    return c_suite("core", targets.CORE_ROWS, targets.CORE_IMPLEMENTATIONS,
                   programs, facts, options)


def loop_suite(options):
    programs = environment.core_build()
    facts = environment.facts()
    for name, (program, _) in targets.LOOP_IMPLEMENTATIONS.items():
        if not report.is_coir(name) and (programs / program).exists():
            facts[name] = measure([programs / program, "version"])["unit"]
    if shutil.which("valgrind") is None:
        print("valgrind is missing: no instructions", file=sys.stderr)
    return c_suite("loop", targets.LOOP_ROWS, targets.LOOP_IMPLEMENTATIONS,
                   programs, facts, options)


def parse_suite(options):
    programs = environment.core_build()
    environment.parse_build(programs)
    if shutil.which("valgrind") is None:
        print("valgrind is missing: no instructions", file=sys.stderr)
    return c_suite("parse", targets.PARSE_ROWS, targets.PARSE_IMPLEMENTATIONS,
                   programs, environment.facts(), options)


def hub_suite(options):
    programs = environment.core_build()
    missing = environment.go_build(programs)
    if missing:
        print(missing, file=sys.stderr)
    if shutil.which("valgrind") is None:
        print("valgrind is missing: no instructions", file=sys.stderr)
    facts = environment.facts()
    for name, (program, _) in targets.HUB_IMPLEMENTATIONS.items():
        if not report.is_coir(name) and (programs / program).exists():
            facts[name] = measure([programs / program, "version"])["unit"]
    return [
        *c_suite("hub", targets.HUB_ROWS, targets.HUB_IMPLEMENTATIONS,
                 programs, dict(facts), options),
        echo_run(programs, facts, options),
    ]


def echo_run(programs, facts, options):
    """The servers; facts are those of the rows before."""
    driver = [sys.executable, HERE / "echo.py", programs / "load"]

    def command(name, row):
        program, package, settings = targets.ECHO_IMPLEMENTATIONS[name]
        if name in row.programs:
            return None
        if not (programs / program).exists():
            return f"not installed ({package})"
        argv = ["env", *(f"{k}={v}" for k, v in settings.items()), *driver,
                programs / program]
        return argv + echo_options(row, options, 10000)

    return run_rows("echo", targets.ECHO_ROWS, command,
                    targets.ECHO_IMPLEMENTATIONS, facts, options, count_echo)


def echo_options(row, options, idle):
    """What echo.py is told for a row; `idle`: how many connections are."""
    if row.name == "idle":
        count = idle // 10 if options.quick else idle
        return ["--idle", "--connections", count]
    _, size, count = row.name.split("_")
    seconds = 0.3 if options.quick else 2
    return ["--size", size, "--connections", count, "--seconds", seconds]


def count_echo(argv, row, ops):
    found = measure([*argv, "--count"])
    return {} if "error" in found else found


SUITES = {"greenlet": greenlet_suite, "core": core_suite, "loop": loop_suite,
          "hub": hub_suite, "parse": parse_suite, "gevent": gevent_suite,
          "eventlet": eventlet_suite, "http": http_suite}
#: suite -> tables of its rows
ROWS = {"greenlet": targets.GREENLET_ROWS, "core": targets.CORE_ROWS,
        "loop": targets.LOOP_ROWS,
        "hub": targets.HUB_ROWS + targets.ECHO_ROWS,
        "parse": targets.PARSE_ROWS,
        "gevent": targets.GEVENT_ROWS + targets.PYTHON_ECHO_ROWS,
        "eventlet": targets.GEVENT_ROWS + targets.PYTHON_ECHO_ROWS,
        "http": targets.HTTP_ROWS}


def parse(argv):
    parser = argparse.ArgumentParser(
        prog="bench/run.py", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Everything it builds or installs is kept under "
               "${XDG_CACHE_HOME:-~/.cache}/coir/bench/.",
    )
    parser.add_argument(
        "--suite", choices=[*SUITES, "all"], default="all",
        help="greenlet: Python, against the greenlet package; core: C,"
             " against boost.context and ucontext; loop: C, against libev and"
             " libuv; hub: green threads and TCP echo in C, against"
             " boost.fiber, State Threads, Go, libev and bare epoll; parse:"
             " HTTP, against picohttpparser and llhttp; gevent:"
             " green threads and TCP echo in Python, against gevent,"
             " eventlet, asyncio and uvloop; eventlet: the same of"
             " coir.eventlet, against eventlet; http: HTTP servers, against"
             " gevent's, eventlet's, gunicorn, uvicorn, bjoern and granian;"
             " all (the default)")
    parser.add_argument(
        "--python", action="append", metavar="PYTHON",
        help="interpreter for the suites in Python, a path or a version such"
             " as 3.13; may be given several times (default: the running one)")
    parser.add_argument(
        "--rounds", type=int, default=5, metavar="N",
        help="turns per implementation and row; rows that take long have"
             " fewer (default 5)")
    parser.add_argument(
        "--rows", action="append", metavar="PATTERN",
        help="only rows whose name matches, as in 'switch*'; may be given"
             " several times")
    parser.add_argument(
        "--quick", action="store_true",
        help="few samples and a tenth of the greenlets: shows that all works,"
             " not how fast it is")
    parser.add_argument(
        "--json", metavar="FILE",
        help="where the results go (default bench-SUITE.json)")
    parser.add_argument(
        "--list", action="store_true", help="list the rows and leave")
    parser.add_argument(
        "--markdown", nargs="+", metavar="JSON",
        help="measure nothing: print the tables of earlier runs")
    parser.add_argument(
        "--into", metavar="PAGE",
        help="with --markdown: replace the tables of this page")
    options = parser.parse_args(argv)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    if options.into and not options.markdown:
        parser.error("--into needs --markdown")
    options.rows = options.rows or ["*"]
    return options


def print_markdown(options):
    runs = []
    for name in options.markdown:
        runs += json.loads(Path(name).read_text())["runs"]
    if options.into is None:
        print(report.markdown(runs))
        return
    page = Path(options.into)
    page.write_text(report.replace_tables(page.read_text(), runs))


def main(argv=None):
    options = parse(argv)
    if options.markdown:
        print_markdown(options)
        return 0
    names = list(SUITES) if options.suite == "all" else [options.suite]
    if options.list:
        for suite in names:
            for row in ROWS[suite]:
                print(f"{suite:9} {row.name:20} {row.label}")
        return 0
    # A peer may crash, and is reported; its core dump is not wanted.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    runs = []
    try:
        for name in names:
            runs += SUITES[name](options)
    except environment.SetupError as error:
        print(error, file=sys.stderr)
        return 1
    path = Path(options.json or f"bench-{options.suite}.json")
    path.write_text(json.dumps({"runs": runs}, indent=1) + "\n")
    print(f"\nwritten to {path}; tables: bench/run.py --markdown {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
