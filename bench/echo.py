"""One measurement of an echo server: what a row of the echo suite runs.

    echo.py LOAD SERVER... --connections N [--size B] [--seconds S]

Starts the server, a program with its arguments, on a CPU of its own, lets
the client (bench/c/load.c) talk to it from the others, and prints a line of
JSON as the programs of the other suites do. A sample is the CPU time of the
server process for a message, the kernel's part included; with --idle the
resident memory of a connection on which one message came and went. With
--count it is what callgrind and the kernel's tracepoint count: instructions
and system calls of a message.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

#: seconds for what ought to take one
TIMEOUT = 120
COUNTED_CONNECTIONS = 50
COUNTED_MESSAGES = 200  # on each


class EchoError(Exception):
    """The text says what went wrong."""


@contextlib.contextmanager
def server(argv):
    """Run a server on the first CPU.

    :returns: its process and its port.
    """
    cpus = sorted(os.sched_getaffinity(0))
    environ = dict(os.environ, GOMAXPROCS="1")
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environ,
    )
    with process:
        try:
            if len(cpus) > 1:
                os.sched_setaffinity(process.pid, cpus[:1])
            line = process.stdout.readline().split()
            if not line:
                text = process.stderr.read().strip().splitlines() or ["ended"]
                raise EchoError(f"{Path(argv[0]).name}: {text[-1]}")
            yield process, int(line[-1])
        finally:
            process.terminate()
            # Callgrind writes its file; a server ends at once.
            process.wait(TIMEOUT)


def load(program, process, port, *arguments):
    """Run the client; returns what it printed last."""
    cpus = sorted(os.sched_getaffinity(0))[1:]
    argv = [program, "--port", port, "--pid", process.pid,
            "--addresses", 4, "--threads", min(2, len(cpus)) or 1, *arguments]
    if cpus:
        argv += ["--cpus", ",".join(map(str, cpus))]
    done = subprocess.run(
        [str(a) for a in argv], capture_output=True, text=True,
        timeout=TIMEOUT)
    if done.returncode:
        ended = process.poll() is not None
        text = process.stderr.read() if ended else done.stderr
        raise EchoError(text.strip().splitlines()[-1])
    return json.loads(done.stdout.splitlines()[-1])


def measure(options):
    """Samples and further figures."""
    with server(options.server) as (process, port):
        if options.idle:
            got = load(options.load, process, port, "--messages", 1,
                       "--connections", options.connections)
            memory = got["rss_end"] - got["rss_before"]
            return {"unit": "B", "samples": [memory / options.connections],
                    "note": {}}
        got = load(options.load, process, port,
                   "--connections", options.connections,
                   "--size", options.size, "--seconds", options.seconds)
    keys = ("rate", "p50_us", "p99_us", "client_cpu_us")
    return {"unit": "us", "samples": [got["server_cpu_us"]],
            "note": {key: got[key] for key in keys}}


def total_instructions(options, messages):
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "callgrind.out"
        argv = ["valgrind", "--tool=callgrind", "-q",
                f"--callgrind-out-file={out}", *options.server]
        with server(argv) as (process, port):
            load(options.load, process, port, "--messages", messages,
                 "--connections", COUNTED_CONNECTIONS)
        found = re.search(r"^(?:totals|summary): (\d+)", out.read_text(),
                          re.MULTILINE)
        return int(found[1])


def count(options):
    """What can be counted here: neither, one or both."""
    counts = {}
    with server(options.server) as (process, port):
        got = load(options.load, process, port, "--count-calls",
                   "--messages", COUNTED_MESSAGES,
                   "--connections", COUNTED_CONNECTIONS)
    if "server_calls" in got:
        counts["system_calls"] = got["server_calls"]
    # Go's runtime and valgrind do not go together, nor Python's stacks.
    name, *arguments = options.server
    if shutil.which("valgrind") and not (name.endswith("_go") or arguments):
        few, many = (total_instructions(options, n) for n in (20, 60))
        counts["instructions"] = (many - few) / (40 * COUNTED_CONNECTIONS)
    return counts


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("load", metavar="LOAD")
    parser.add_argument("server", metavar="SERVER", nargs="+")
    parser.add_argument("--connections", type=int, default=50, metavar="N")
    parser.add_argument("--size", type=int, default=64, metavar="BYTES")
    parser.add_argument("--seconds", type=float, default=2, metavar="S")
    parser.add_argument("--idle", action="store_true")
    parser.add_argument("--count", action="store_true")
    options = parser.parse_args()
    try:
        done = count(options) if options.count else measure(options)
    except (EchoError, subprocess.TimeoutExpired) as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(done))
    return 0


if __name__ == "__main__":
    sys.exit(main())
