"""Instructions per operation, counted by valgrind's callgrind.

A count does not move with the machine's load, and says where a row's time can
go. Programs of the greenlet and the core suite run twice, with N and with 3 N
operations; the difference, function by function, is what 2 N operations cost.
In the loop and the hub suite only the operations themselves are counted, once,
and their system calls too.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import counts
import environment
import targets

HERE = Path(__file__).resolve().parent


def count(argv, ops):
    """Function -> instructions per operation."""
    costs = []
    for times in (1, 3):
        with tempfile.TemporaryDirectory() as directory:
            out = Path(directory) / "callgrind.out"
            done = subprocess.run(
                ["valgrind", "--tool=callgrind", "-q",
                 f"--callgrind-out-file={out}", *map(str, argv), "--ops",
                 str(ops * times)],
                env=dict(os.environ, PYTHONHASHSEED="0"),
                capture_output=True, text=True,
            )
            if done.returncode:
                raise RuntimeError(done.stderr.strip()[-500:])
            costs.append(counts.self_costs(out.read_text()))
    costs[1].subtract(costs[0])
    return Counter({
        name: cost / (2 * ops) for name, cost in costs[1].items()
        if cost >= ops / 2
    })


def report(label, costs, top):
    total = sum(costs.values())
    print(f"{label}: {total:,.0f} instructions per operation")
    for name, cost in costs.most_common(top):
        print(f"    {cost:8,.1f}  {cost / total:4.0%}  {name}")
    sys.stdout.flush()


def count_once(programs, row, implementations, options):
    """A row of those programs that count within bench_timed() alone."""
    for name, (program, _) in implementations.items():
        path = programs / program
        if not path.exists() or program in targets.GO_PROGRAMS:
            continue
        costs = counts.instructions(path, row, options.ops)
        if not costs:
            continue
        report(f"{row}, {name}", costs, options.top)
        calls = counts.system_calls(path, row, options.ops)
        if calls is not None:
            print(f"    {calls:8.4f}  system calls")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--python", action="append", metavar="PYTHON",
        help="interpreters for the rows in Python (default: the running one)")
    parser.add_argument(
        "--rows", nargs="*", default=["switch", "run_finish"], metavar="ROW",
        help="short rows of the greenlet suite (default: switch run_finish)")
    parser.add_argument(
        "--core", nargs="*", default=["switch", "spawn"], metavar="ROW",
        help="short rows of the core suite (default: switch spawn)")
    parser.add_argument(
        "--loop", nargs="*", default=[], metavar="ROW",
        help="rows of the loop suite (default: none)")
    parser.add_argument(
        "--hub", nargs="*", default=[], metavar="ROW",
        help="rows of green threads of the hub suite (default: none)")
    parser.add_argument("--ops", type=int, default=5000, metavar="N")
    parser.add_argument(
        "--top", type=int, default=12, metavar="N",
        help="functions shown (default 12)")
    options = parser.parse_args()

    for python in options.python or [sys.executable]:
        if not options.rows:
            break
        interpreter, _ = environment.python_environment(
            environment.find_python(python), "greenlet",
            targets.GREENLET_PEERS)
        version = environment.python_facts(interpreter, [])["python"]
        for row in options.rows:
            for name, module in targets.GREENLET_IMPLEMENTATIONS.items():
                program = HERE / "python" / "greenlet_rows.py"
                costs = count([interpreter, program, module, row],
                              options.ops)
                report(f"CPython {version}, {row}, {name}", costs,
                       options.top)
    if options.core or options.loop or options.hub:
        programs = environment.core_build()
    for row in options.core:
        for name, (program, _) in targets.CORE_IMPLEMENTATIONS.items():
            if (programs / program).exists():
                costs = count([programs / program, row], options.ops)
                report(f"{row}, {name}", costs, options.top)
    for row in options.loop:
        count_once(programs, row, targets.LOOP_IMPLEMENTATIONS, options)
    for row in options.hub:
        count_once(programs, row, targets.HUB_IMPLEMENTATIONS, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
