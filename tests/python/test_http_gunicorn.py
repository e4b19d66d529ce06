"""gunicorn's worker on Coir's server."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip("gunicorn")

LONG = 60  # seconds after which something hangs

APP = """
import os, socket, time
import coir.gevent as gevent

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/sleep":
        open("begun", "w").close()
        time.sleep(0.5)  # patched
    if path == "/error":
        raise KeyError
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/environ":
        return [repr(sorted(environ)).encode()]
    if path == "/input":
        return [environ["wsgi.input"].read()]
    scheme = environ["wsgi.url_scheme"]
    return [f"{os.getpid()} {scheme} {socket.socket.__module__}".encode()]
"""


def until(condition):
    deadline = time.monotonic() + LONG
    while not (result := condition()):
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.01)
    return result


class Gunicorn:
    def __init__(self, directory, *args, worker="coir.http.gunicorn.Worker"):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.log = directory / "log"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-k", worker, "-b",
             f"127.0.0.1:{self.port}", "--log-file", self.log,
             "--no-control-socket", *args, "mod:app"],
            cwd=directory,
        )  # fmt: skip
        until(self._is_up)

    def _is_up(self):
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.get()

    def get(self, path="/", headers=None, body=None):
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=LONG
        )
        with contextlib.closing(connection):
            method = "GET" if body is None else "POST"
            connection.request(method, path, body, headers or {})
            return connection.getresponse().read().decode()

    def pid(self):
        return int(self.get().split()[0])

    def end(self):
        return self.process.wait(LONG)


@pytest.fixture
def gunicorn(tmp_path):
    (tmp_path / "mod.py").write_text(APP)
    with contextlib.ExitStack() as stack:

        def start(*args, **kwargs):
            started = Gunicorn(tmp_path, *args, **kwargs)
            stack.callback(stop, started.process)
            return started

        yield start


def stop(process):
    if process.poll() is None:
        process.send_signal(signal.SIGQUIT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


@pytest.mark.parametrize("worker", ["coir", "egg:coir#coir"])
def test_names(gunicorn, worker):
    started = gunicorn(worker=worker)
    assert "gevent" in started.get()
    assert started.get("/input", body="data") == "data"
    environ = started.get("/environ")
    for key in "RAW_URI", "SERVER_SOFTWARE", "wsgi.file_wrapper":
        assert key in environ
    started.process.send_signal(signal.SIGTERM)
    assert started.end() == 0


def test_waiting_requests_share_a_worker(gunicorn):
    started = gunicorn()
    begin = time.monotonic()
    threads = [
        threading.Thread(target=started.get, args=["/sleep"])
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - begin < 4


def test_graceful_stop(gunicorn, tmp_path):
    started = gunicorn()
    got = []
    thread = threading.Thread(target=lambda: got.append(started.get("/sleep")))
    thread.start()
    until((tmp_path / "begun").exists)
    started.process.send_signal(signal.SIGTERM)
    thread.join()
    assert "http" in got[0]
    assert started.end() == 0


def test_reload_under_load(gunicorn):
    started = gunicorn("-w", "2")
    answers, failures, over = [], [], []

    def load():
        while not over:
            try:
                answers.append(started.pid())
            except Exception as exc:
                failures.append(exc)

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: len(answers) > 20)
        before = set(answers)
        started.process.send_signal(signal.SIGHUP)
        until(lambda: len(answers) > 200 and not before & set(answers[-100:]))
    finally:
        over.append(1)
        for thread in threads:
            thread.join()
    assert failures == []


def test_max_requests(gunicorn):
    started = gunicorn("--max-requests", "5")
    pid = started.pid()
    until(lambda: started.pid() != pid)


def test_logs(gunicorn, tmp_path):
    access = tmp_path / "access"
    started = gunicorn(
        "--access-logfile", str(access),
        "--access-logformat", "%(r)s %(s)s %(B)s %({x-one}i)s",
    )  # fmt: skip
    started.get("/x?y", {"X-One": "1"})
    until(lambda: "GET /x?y HTTP/1.1 200" in access.read_text())
    assert access.read_text().endswith(" 1\n")
    started.get("/error")
    until(lambda: "GET /error HTTP/1.1 500" in access.read_text())
    assert "Error handling request GET /error" in started.log.read_text()
    assert "KeyError" in started.log.read_text()


def test_secure_scheme_headers(gunicorn):
    started = gunicorn()
    assert " https " in started.get("/", {"X-Forwarded-Proto": "https"})
    assert " http " in started.get("/", {"X-Forwarded-Proto": "http"})
    untrusting = gunicorn("--forwarded-allow-ips", "10.0.0.1")
    assert " http " in untrusting.get("/", {"X-Forwarded-Proto": "https"})


def test_hooks(gunicorn, tmp_path):
    (tmp_path / "conf.py").write_text(
        "def pre_request(worker, req):\n"
        "    print('before', req.method, req.path, file=open('hooks', 'a'))\n"
        "def post_request(worker, req, environ, resp):\n"
        "    print('after', resp.status, file=open('hooks', 'a'))\n"
    )
    started = gunicorn("-c", "conf.py")
    started.get("/there")
    path = tmp_path / "hooks"
    until(lambda: "before GET /there\nafter 200 OK" in path.read_text())


def test_heartbeat(gunicorn):
    """Requests that wait do not make gunicorn kill their worker."""
    for timeout in 1, 4, 16:  # a machine may be that slow
        started = gunicorn("--timeout", str(timeout))
        pid = started.pid()
        end = time.monotonic() + timeout * 2
        with contextlib.suppress(OSError, http.client.HTTPException):
            while time.monotonic() < end:
                started.get("/sleep")
            if started.pid() == pid:
                return
        stop(started.process)
    pytest.fail("gunicorn kills its worker")


def test_keep_alive(gunicorn):
    started = gunicorn("--keep-alive", "1")
    with socket.create_connection(("127.0.0.1", started.port)) as s:
        s.settimeout(LONG)
        for _ in range(3):
            s.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert s.recv(1000)
        assert s.recv(1000) == b""
    pid = started.pid()
    os.kill(pid, signal.SIGKILL)
    until(lambda: started._is_up() and started.pid() != pid)
