"""The part of the demo that serves HTTP: `coir serve` beside gevent's pywsgi,
both with the same applications, under wrk."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

from demo_tools import DemoError, cpu_seconds, environment, screen, show_bars

EXAMPLES = pathlib.Path(__file__).resolve().parents[1] / "examples" / "python"

#: Applications in examples/python/http_app.py, and what they answer.
APPS = {"app": b"Hello, demo!\n", "bare": b"Hello, bare\n"}
TITLES = {"app": "Flask", "bare": "bare WSGI"}

SERVERS = {
    "coir": ["-m", "coir", "serve", "--workers", "0", "--bind",
             "127.0.0.1:{port}", "--log-level", "error", "http_app:{app}"],
    "gevent": ["http_app.py", "{app}", "{port}"],
}  # fmt: skip

CONNECTIONS = 50
SECONDS = 4


def show():
    """Rows of figures; none without wrk."""
    screen.title(
        f"`coir serve` of a small Flask application, and of a bare one, "
        f"{CONNECTIONS} connections under wrk"
    )
    if shutil.which("wrk") is None:
        screen.line("  left out: install Debian package wrk")
        return []
    rows = []
    for app, title in TITLES.items():
        rates, cpus = {}, {}
        for server in SERVERS:
            screen.progress(f"{title} on {server}")
            told = measure(server, app)
            rates[server], cpus[server] = told["rate"], told["cpu"]
            screen.line(
                f"  {title} on {server}: {told['rate']:,.0f} requests per "
                f"second; answered after {told['p50']} (half of them), "
                f"{told['p99']} (99 %)"
            )
        rows.append((f"{title}, CPU", "us each", cpus))
        show_bars(*rows[-1])
    return rows


def measure(server, app):
    with serve(server, app) as (process, port):
        url = f"http://127.0.0.1:{port}/demo"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                body = answer.read()
        except OSError as exc:
            raise DemoError(f"{server} does not answer: {exc}") from None
        if body != APPS[app]:
            raise DemoError(f"{server} answered {body!r}, not {APPS[app]!r}")
        cpu = cpu_seconds(process.pid)
        done = subprocess.run(
            ["wrk", "-t2", f"-c{CONNECTIONS}", f"-d{SECONDS}", "--latency",
             url],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        cpu = cpu_seconds(process.pid) - cpu
    if done.returncode or "Non-2xx" in done.stdout:
        raise DemoError(f"wrk of {server}: {done.stdout}{done.stderr}")

    def figure(pattern):
        found = re.search(pattern, done.stdout)
        if found is None:
            raise DemoError(f"wrk printed\n{done.stdout}")
        return found[1]

    return {
        "rate": float(figure(r"Requests/sec: *([\d.]+)")),
        "cpu": cpu / int(figure(r"(\d+) requests in")) * 1e6,
        "p50": figure(r"50% +(\S+)"),
        "p99": figure(r"99% +(\S+)"),
    }


@contextlib.contextmanager
def serve(server, app):
    """Runs it; its process and port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    words = [word.format(app=app, port=port) for word in SERVERS[server]]
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=EXAMPLES,
        env=environment(""),
        stdin=subprocess.DEVNULL,
    )
    try:
        wait_for(process, port, server)
        yield process, port
        os.kill(process.pid, signal.SIGTERM)
        process.wait(30)
    finally:
        process.kill()
        process.wait()


def wait_for(process, port, server):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise DemoError(f"the HTTP server of {server} did not start")
