"""Servers as processes, for the programs that are their clients."""

import concurrent.futures
import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")


@contextlib.contextmanager
def running(command, log):
    """A process that is ended with its context."""
    with open(log, "ab") as output:
        proc = subprocess.Popen(command, cwd=HERE, stdout=output,
                                stderr=output)
    try:
        yield proc
    finally:
        if proc.poll() is None:
            proc.terminate()
        proc.wait(30)


def until(condition, log):
    """Wait for it."""
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(pathlib.Path(log).read_text())
        time.sleep(0.05)


def accepts(address):
    """Does somebody listen at this port, or path?"""
    family = socket.AF_INET
    if isinstance(address, int):
        address = "127.0.0.1", address
    else:
        family, address = socket.AF_UNIX, str(address)
    with contextlib.suppress(OSError), socket.socket(family) as sock:
        sock.connect(address)
        return True
    return False


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def in_threads(function, count):
    """Call it with 0, 1, 2... in a thread each; the values, in order."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(function, range(count)))


def coir_serve(app, address, *options):
    """The command; the address is a port or a path."""
    if not isinstance(address, int):
        address = f"unix:{address}"
    else:
        address = f"127.0.0.1:{address}"
    return [sys.executable, "-m", "coir", "serve", "-b", address, *options,
            app]


def gunicorn(worker, app, port, *options):
    return [sys.executable, "-m", "gunicorn", "-k", worker, "-b",
            f"127.0.0.1:{port}", *options, app]


@contextlib.contextmanager
def nginx(tmp, port, upstream, log, more=""):
    """nginx on a port, in front of a server at another, or at a path.

    :param more: for the location.
    """
    server = f"unix:{upstream}"
    if isinstance(upstream, int):
        server = f"127.0.0.1:{upstream}"
    # As root it would give up the right to reach the socket.
    user = "user root;" if os.geteuid() == 0 else ""
    config = tmp / "nginx.conf"
    config.write_text(f"""\
{user}
daemon off; master_process off; pid {tmp}/pid;
error_log {log};
events {{ worker_connections 200; }}
http {{
    access_log off; client_max_body_size 10m;
    client_body_temp_path {tmp}/a; proxy_temp_path {tmp}/b;
    fastcgi_temp_path {tmp}/c; uwsgi_temp_path {tmp}/d;
    scgi_temp_path {tmp}/e;
    map $http_upgrade $hop {{ default upgrade; "" ""; }}
    upstream app {{ server {server}; keepalive 4; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://app; proxy_http_version 1.1;
            proxy_set_header Connection $hop;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Host $host;
            proxy_request_buffering off;
            {more}
        }}
    }}
}}
""")
    with running([NGINX, "-c", str(config), "-p", str(tmp)], log) as proc:
        until(lambda: accepts(port), log)
        yield proc
