"""One measurement of an HTTP server: what a row of the http suite runs.

    http_load.py PATH SERVER... [--connections N] [--seconds S] [--upload]
    http_load.py PATH --idle SERVER... [--connections N]

Starts the server, a program with its arguments, on a CPU of its own, has wrk
ask it for PATH from the others, and prints a line of JSON as the programs of
the other suites do. A sample is the CPU time for a request of the server and
the processes that it has started, the kernel's part included; with --idle the
resident memory of a connection that has had one request answered, and waits.
An answer other than 200, or a lost connection, is a failure of the row.
"""

import argparse
import contextlib
import json
import os
import re
import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

#: seconds for what ought to take one
TIMEOUT = 120
UPLOAD = 1 << 20
REQUEST = b"GET /hello HTTP/1.1\r\nHost: bench\r\n\r\n"
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGESIZE")

SCRIPT = """
%s
function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format(
        "RESULT %%d %%d %%d %%d %%d\\n", summary.requests, summary.duration,
        latency:percentile(50), latency:percentile(99),
        e.connect + e.read + e.write + e.status + e.timeout))
end
"""
PUT = f"""
wrk.method = "POST"
wrk.body = string.rep("x", {UPLOAD})
"""


class HttpError(Exception):
    """The text says what went wrong."""


def family(pid):
    """A process and those below it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += family(int(child))
    return found


def cpu_seconds(pid):
    """Of a process, and of those below it that are still there. Ticks of a
    hundredth of a second."""
    ticks = 0
    for each in family(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2]
        ticks += sum(int(text) for text in fields.split()[11:13])
    return ticks / TICK


def memory(pid):
    return sum(
        int(Path(f"/proc/{each}/statm").read_text().split()[1]) * PAGE
        for each in family(pid))


def last_words(process):
    """The last line with words that a process wrote, if it has ended."""
    if process.poll() is None:
        return ""
    lines = process.stderr.read().splitlines()
    return next((line for line in reversed(lines) if re.search(r"\w", line)),
                "").strip()


def wait_for(port, process):
    """Until it answers."""
    end = time.monotonic() + TIMEOUT
    while True:
        if process.poll() is not None or time.monotonic() > end:
            raise HttpError(last_words(process) or "it does not answer")
        with contextlib.suppress(OSError):
            ask_once(port).close()
            return
        time.sleep(0.05)


def ask_once(port, address="127.0.0.1"):
    """A connection on which one request was answered."""
    s = socket.socket()
    s.bind((address, 0))
    s.settimeout(TIMEOUT)
    try:
        s.connect(("127.0.0.1", port))
        s.sendall(REQUEST)
        data = b""
        while not data.endswith(b"Hello, World!\n"):
            some = s.recv(4096)
            if not some:
                raise OSError(f"closed after {data!r}")
            data += some
    except BaseException:
        s.close()
        raise
    return s


@contextlib.contextmanager
def server(argv):
    """Run a server on the first CPU.

    :returns: its process and its port.
    """
    cpus = sorted(os.sched_getaffinity(0))

    def pin():
        if len(cpus) > 1:
            os.sched_setaffinity(0, cpus[:1])

    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=pin, start_new_session=True,
    )
    with process:
        try:
            line = process.stdout.readline().split()
            if not line:
                raise HttpError(last_words(process) or "ended")
            port = int(line[-1])
            wait_for(port, process)
            yield process, port
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)


def wrk(options, port, seconds):
    cpus = sorted(os.sched_getaffinity(0))[1:]
    threads = min(2, len(cpus)) or 1
    argv = ["wrk", "-t", threads, "-c", options.connections, "-d",
            f"{max(1, round(seconds))}s", "--timeout", "30s"]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT % (PUT if options.upload else ""))
        script.flush()
        done = subprocess.run(
            [*map(str, argv), "-s", script.name,
             f"http://127.0.0.1:{port}{options.path}"],
            capture_output=True, text=True, timeout=TIMEOUT,
            preexec_fn=lambda: cpus and os.sched_setaffinity(0, cpus),
        )
    found = re.search(r"^RESULT (\d+) (\d+) (\d+) (\d+) (\d+)$", done.stdout,
                      re.MULTILINE)
    if done.returncode or not found:
        raise HttpError(f"wrk: {done.stderr.strip() or done.stdout.strip()}")
    count, duration, p50, p99, errors = map(int, found.groups())
    if errors or count == 0:
        raise HttpError(f"{errors} of {count} requests failed")
    return count, duration / 1e6, p50, p99


def measure(options):
    with server(options.server) as (process, port):
        wrk(options, port, 1)  # warm
        before = cpu_seconds(process.pid)
        count, duration, p50, p99 = wrk(options, port, options.seconds)
        used = cpu_seconds(process.pid) - before
    return {"unit": "us", "samples": [used / count * 1e6],
            "note": {"rate": count / duration, "p50_us": p50, "p99_us": p99}}


def idle(options):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < options.connections + 200:
        raise HttpError(f"only {hard} descriptors may be open")
    with server(options.server) as (process, port), \
            contextlib.ExitStack() as stack:
        for _ in range(20):
            ask_once(port).close()
        before = memory(process.pid)
        for i in range(options.connections):
            stack.enter_context(ask_once(port, f"127.0.0.{2 + i % 4}"))
        after = memory(process.pid)
    return {"unit": "B", "samples": [(after - before) / options.connections],
            "note": {}}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", metavar="PATH")
    parser.add_argument("server", metavar="SERVER", nargs="+")
    parser.add_argument("--connections", type=int, default=50, metavar="N")
    parser.add_argument("--seconds", type=float, default=3, metavar="S")
    parser.add_argument("--upload", action="store_true")
    parser.add_argument("--idle", action="store_true")
    options = parser.parse_args()
    try:
        done = idle(options) if options.idle else measure(options)
    except (HttpError, OSError, subprocess.TimeoutExpired) as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(done))
    return 0


if __name__ == "__main__":
    sys.exit(main())
