"""Instructions and system calls per operation, of a C program's row.

Both are counted within bench_timed() alone, where the programs run what they
measure (bench/c/bench.h): callgrind counts in that function and in
bench_thread(), the main function of a row's second thread. System calls are
counted by the program itself, where the kernel lets it; else by strace, which
writes down every call, of which those between the two of getppid() count. That
takes much longer, and a loop that does something at times does it more often.
"""

import json
import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

TIMEOUT = 60  # seconds; under valgrind some system calls never return
CALL = re.compile(r"^\d+ +(?:\d+\.\d+ +)?(\w+)\(")


def run(argv):
    """The output of a command, None if it could not be run to its end."""
    try:
        done = subprocess.run(
            [str(a) for a in argv], capture_output=True, text=True,
            timeout=TIMEOUT)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def self_costs(text):
    """Function -> instructions of its own, from callgrind's output."""
    costs = Counter()
    names = {}
    function, inclusive = None, False
    for line in text.splitlines():
        if line.startswith("fn="):
            number, name = re.match(r"fn=(\(\d+\))\s*(.*)", line).groups()
            function = names.setdefault(number, plain(name))
        elif line.startswith("calls="):
            inclusive = True  # the next line counts what was called
        elif line.startswith("cfn="):
            number, name = re.match(r"cfn=(\(\d+\))\s*(.*)", line).groups()
            names.setdefault(number, plain(name))
        elif function is not None and re.match(r"[+\-*0-9]", line):
            if not inclusive:
                costs[function] += int(line.split()[-1])
            inclusive = False
    return costs


def plain(name):
    """Without the mark that callgrind gives to recursive calls."""
    return re.sub(r"'\d+$", "", name)


def instructions(program, row, ops):
    """Function -> instructions per operation; empty if not to be had.

    Without Coir's audit of descriptors: so many in so much time, of which
    callgrind takes fifty times more.
    """
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "callgrind.out"
        argv = ["valgrind", "--tool=callgrind", "-q",
                f"--callgrind-out-file={out}",
                "--toggle-collect=bench_timed",
                "--toggle-collect=bench_thread",
                program, row, "--ops", ops]
        if run(argv) is None:
            return Counter()
        costs = self_costs(out.read_text())
    return Counter({name: cost / ops for name, cost in costs.items()
                    if not name.endswith("_audit")})


def system_calls(program, row, ops):
    """Calls per operation; None if not to be had."""
    for line in (run([program, row, "--ops", ops]) or "").splitlines():
        found = json.loads(line)
        if "system_calls" in found:
            return found["system_calls"] / ops
    names = system_call_names(program, row, ops)
    return sum(names.values()) if names else None


def system_call_names(program, row, ops):
    """Name -> calls per operation, by strace; empty if not to be had."""
    calls = Counter()
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "strace.out"
        argv = ["strace", "-f", "-qq", "-e", "raw=all", "-o", out,
                program, row, "--ops", ops]
        if run(argv) is None:
            return calls
        counting = False
        for line in out.read_text().splitlines():
            name = CALL.match(line)
            if name is None:
                continue
            if name[1] == "getppid":
                counting = not counting
            elif counting:
                calls[name[1]] += 1
    return Counter({name: count / ops for name, count in calls.items()})
