"""coir serve: options, workers, signals."""

import contextlib
import http.client
import os
import re
import resource
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest
from coir.http import _listen, _options, _supervisor, _worker

LONG = 60  # seconds after which something hangs

APP = """
import os, sys, time
import coir.gevent as gevent

VERSION = "1"

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/sleep":
        gevent.sleep(float(environ["QUERY_STRING"]))
    if path == "/hang":
        time.sleep(1000)
    if path == "/std":
        import socket
        body = socket.socket.__module__
    else:
        body = f"{VERSION} {os.getpid()} {environ['wsgi.url_scheme']}"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body.encode()]

def make(word="x"):
    def app(environ, start_response):
        start_response("200 OK", [])
        return [word.encode()]
    return app

class Holder:
    inner = staticmethod(app)

nothing = 7
"""


def until(condition):
    deadline = time.monotonic() + LONG
    while not (result := condition()):
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.01)
    return result


class Served:
    """coir serve in a process of its own."""

    count = 0

    def __init__(self, directory, *args, app="mod:app", env=None):
        Served.count += 1
        self.log = directory / f"log{Served.count}"
        command = [sys.executable, "-m", "coir", "serve"]
        bind = ["-b", "127.0.0.1:0"]
        if any(a.startswith(("-b", "--bind", "-c")) for a in args):
            bind = []
        self.process = subprocess.Popen(
            [*command, *bind, "--log", self.log, *args, app],
            cwd=directory,
            env={**os.environ, **(env or {})},
            stderr=subprocess.PIPE,
            process_group=0,
        )

    def text(self):
        return self.log.read_text() if self.log.exists() else ""

    @property
    def port(self):
        assert self.process.poll() is None, self.process.stderr.read()
        found = until(lambda: re.search(r"http.*:(\d+)", self.text()))
        return int(found[1])

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONG)

    def get(self, path="/"):
        connection = self.connect()
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().read().decode()

    def pid(self):
        """Of the worker that answers."""
        return int(self.get().split()[1])

    def signal(self, number):
        self.process.send_signal(number)

    def end(self):
        return self.process.wait(LONG)


@pytest.fixture
def serve(tmp_path):
    (tmp_path / "mod.py").write_text(APP)
    with contextlib.ExitStack() as stack:

        def start(*args, **kwargs):
            served = Served(tmp_path, *args, **kwargs)
            stack.callback(served.process.stderr.close)
            stack.callback(served.process.wait)
            stack.callback(served.process.kill)
            stack.callback(stop_gently, served.process)
            return served

        yield start


def stop_gently(process):
    """So that workers don't stay."""
    if process.poll() is None:
        process.send_signal(signal.SIGQUIT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)


class Load:
    """Clients that send request after request from threads; any failure of
    one, but for a refused keep-alive, is noted."""

    def __init__(self, served, clients=4):
        self.served = served
        self.failures = []
        self.answers = []
        self._stop = False
        self._threads = [
            threading.Thread(target=self._run) for _ in range(clients)
        ]

    def _run(self):
        while not self._stop:
            try:
                self.answers.append(self.served.get())
            except Exception as exc:
                self.failures.append(exc)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *args):
        self._stop = True
        for thread in self._threads:
            thread.join()


# --- serving


@pytest.mark.parametrize("workers", ["0", "1", "3"])
def test_serves_and_stops(serve, workers):
    served = serve("-w", workers)
    assert served.get().startswith("1 ")
    served.signal(signal.SIGTERM)
    assert served.end() == 0


@pytest.mark.parametrize(
    ("app", "body"),
    [
        ("mod", "1 "),
        ("mod:Holder.inner", "1 "),
        ("mod:make()", "x"),
        ("mod:make('y')", "y"),
        ("mod:make(word='z')", "z"),
    ],
)
def test_names_of_applications(serve, app, body):
    assert serve(app=app).get().startswith(body)


@pytest.mark.parametrize(
    ("app", "text"),
    [
        ("mod:missing", "missing"),
        ("mod:nothing", "not callable"),
        ("mod:make(", "no application"),
        ("mod:1+1", "no application"),
        ("absent", "no module 'absent' in "),
        (".mod:app", "relative"),
    ],
)
def test_application_that_cannot_be_loaded(serve, app, text):
    """Said in a line."""
    served = serve(app=app)
    assert served.end() == _supervisor.BOOT_FAILED
    assert text in served.text()
    assert "Traceback" not in served.text()


@pytest.mark.parametrize("args", [(), ("--check",)])
def test_application_that_fails_when_it_is_loaded(serve, tmp_path, args):
    """Where, in its own code, is told, and no more."""
    (tmp_path / "bad.py").write_text("import mod\nimport absent.mod\n")
    served = serve(*args, app="bad:app")
    assert served.end() == _supervisor.BOOT_FAILED
    text = served.text() + served.process.stderr.read().decode()
    files = re.findall(r'File "(.*?)"', text)
    assert files == [str(tmp_path / "bad.py")]
    assert "ModuleNotFoundError: No module named 'absent'" in text


def test_patch(serve):
    assert serve().get("/std") == "socket"
    assert "gevent" in serve("--patch").get("/std")


def test_unix_socket(serve, tmp_path):
    path = tmp_path / "socket"
    served = serve("-b", f"unix:{path}", "--unix-mode", "600")
    until(lambda: "serving" in served.text())
    assert path.stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(path))
        s.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert s.recv(100).startswith(b"HTTP/1.")
    served.signal(signal.SIGTERM)
    assert served.end() == 0
    assert not path.exists()


def test_workers_with_own_ports_share_a_unix_socket(serve, tmp_path):
    path = tmp_path / "socket"
    served = serve(
        "-b", "127.0.0.1:0", "-b", f"unix:{path}", "-w", "2", "--reuse-port"
    )

    def ask():
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(LONG)
            s.connect(str(path))
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return s.recv(100).startswith(b"HTTP/1.")

    until(lambda: served.text().count(" serves\n") == 2)
    assert ask()
    assert served.get()
    served.signal(signal.SIGTTOU)
    served.signal(signal.SIGHUP)
    until(lambda: " in place of " in served.text())
    assert ask()
    served.signal(signal.SIGTERM)
    assert served.end() == 0
    assert not path.exists()


@pytest.mark.parametrize("args", [(), ("-w", "2", "--reuse-port")])
def test_socket_that_is_inherited(serve, tmp_path, args):
    """Workers that would have their own share it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        os.set_inheritable(fd, True)
        process = subprocess.Popen(
            [sys.executable, "-m", "coir", "serve", "-b", f"fd:{fd}",
             "mod:app"],
            cwd=tmp_path, pass_fds=[fd], stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            s = socket.create_connection(listener.getsockname())
            with s:
                s.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert s.recv(100).startswith(b"HTTP/1.")
        finally:
            stop_gently(process)
    assert process.wait(LONG) == 0


def test_tls(serve, tmp_path):
    certificate = tmp_path / "cert.pem"
    key = tmp_path / "key.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 "
        "-nodes -days 2 -subj /CN=localhost -addext "
        "subjectAltName=DNS:localhost"
    )
    try:
        subprocess.run(
            [*command.split(), "-keyout", key, "-out", certificate],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("no openssl program")
    served = serve("--certfile", str(certificate), "--keyfile", str(key))
    context = ssl.create_default_context(cafile=certificate)
    context.set_alpn_protocols(["http/1.1"])
    with socket.create_connection(("127.0.0.1", served.port)) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as s:
            assert s.selected_alpn_protocol() == "http/1.1"
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert b" https" in http_body(s)


def http_body(s):
    r = http.client.HTTPResponse(s)
    r.begin()
    return r.read()


def test_access_log(serve, tmp_path):
    served = serve("--access-log", "access", "--access-log-format", "json")
    served.get("/there")
    path = tmp_path / "access"
    until(lambda: path.exists() and "/there" in path.read_text())
    path.rename(tmp_path / "old")
    served.signal(signal.SIGUSR1)
    until(lambda: path.exists())
    served.get("/here")
    until(lambda: "/here" in path.read_text())


# --- options


def test_help_is_complete():
    out = subprocess.run(
        [sys.executable, "-m", "coir", "serve", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for option in _options.OPTIONS:
        assert option.flag in out
        assert option.help


def test_file_and_environment(serve, tmp_path):
    """The command line goes before the environment, that before the file."""
    (tmp_path / "conf.toml").write_text(
        '[serve]\napp = "mod:make(\'file\')"\nbind = "127.0.0.1:0"\n'
        "idle-timeout = \"5s\"\nmax_body = '1K'\nworkers = 2\n"
    )
    args = [sys.executable, "-m", "coir", "serve", "-c", "conf.toml"]
    env = {**os.environ, "COIR_SERVE_LOG": "first"}
    process = subprocess.Popen(args, cwd=tmp_path, env=env)
    served = Served.__new__(Served)
    served.process, served.log = process, tmp_path / "first"
    try:
        assert served.get() == "file"
    finally:
        stop_gently(process)
    env = {
        "COIR_SERVE_CONFIG": "conf.toml",
        "COIR_SERVE_WORKERS": "1",
        "COIR_SERVE_BIND": "unix:one unix:two",
    }
    served = serve("-b", "127.0.0.1:0", app="mod:app", env=env)
    assert served.get().startswith("1 ")
    assert "1 worker" in served.text()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("nonsense = 1", "no option 'nonsense'"),
        ("idle_timeout = -1", "idle_timeout"),
        ("workers = true", "workers"),
        ("workers = ", "conf.toml"),
        ("serve = 7", "must be a table"),
    ],
)
def test_file_that_makes_no_sense(tmp_path, content, text):
    path = tmp_path / "conf.toml"
    path.write_text(content)
    with pytest.raises(ValueError, match=text):
        _options.from_file(str(path))


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["mod:app", "--idle-timeout", "x"], "idle-timeout: 'x' is not a t"),
        (["mod:app", "--max-body", "5X"], "'5X' is not a number of bytes"),
        (["mod:app", "-w", "many"], "'many' is not a number"),
        (["mod:app", "-w", "-1"], "'-1' is not a number"),
        (["mod:app", "--unix-mode", "8"], "octal"),
        (["mod:app", "--frobnicate"], "unrecognized arguments: --frob"),
        (["mod:app", "other"], "coir serve: error: unrecognized arguments"),
        (["mod:app", "--keyfile", "absent"], "--keyfile needs --certfile"),
        (["mod:app", "--ca-certs", "absent"], "--ca-certs needs --certfile"),
        (["mod:app", "--access-log", "absent/log"], "log absent/log: No such"),
        (["mod:app", "--log", "absent/log"], "the log absent/log: No such"),
        (["mod:app", "--pidfile", "absent/pid"], "pidfile absent/pid: No suc"),
        (["mod:app", "--chdir", "absent"], "no directory absent"),
        (["mod:app", "--as", "nobody"], "'nobody'"),
        (["mod:app", "-b", "::1:80"], "brackets"),
        (["mod:app", "-b", "x:y"], "'y'"),
        (["mod:app", "-b", "1.2.3.4:80"], "cannot listen on 1.2.3.4:80"),
        (["mod:app", "--certfile", "absent"], "absent"),
        (["mod:app", "--forwarded-allow-ips", "x"], "'x'"),
        (["mod:app", "-c", "absent"], "absent"),
        ([], "which application"),
    ],
)
def test_options_that_make_no_sense(args, text):
    out = subprocess.run(
        [sys.executable, "-m", "coir", "serve", *args],
        capture_output=True,
        text=True,
        timeout=LONG,
    )
    assert out.returncode == 2
    assert text in out.stderr
    assert "Traceback" not in out.stderr


def test_kinds_of_values():
    assert _options.seconds("1.5") == 1.5
    assert _options.seconds("200ms") == 0.2
    assert _options.seconds("2m") == 120
    assert _options.size("64K") == 65536
    assert _options.size("1") == 1
    for bad in "x", "-1", "nan", "":
        with pytest.raises(ValueError):
            _options.seconds(bad)
        with pytest.raises(ValueError):
            _options.size(bad)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("80", ("tcp", "127.0.0.1", 80)),
        (":80", ("tcp", "", 80)),
        ("h:80", ("tcp", "h", 80)),
        ("[::1]:80", ("tcp", "::1", 80)),
        ("unix:/x", ("unix", "/x", 0)),
        ("fd:3", ("fd", "", 3)),
    ],
)
def test_addresses(text, address):
    assert _listen.parse_address(text) == address


def test_unix_sockets_that_are_left(tmp_path):
    """One that nobody listens on is replaced, others are not."""
    path = str(tmp_path / "socket")
    first = _listen.listen(f"unix:{path}")
    with pytest.raises(OSError, match="socket"):
        _listen.listen(f"unix:{path}")
    first.close()
    second = _listen.listen(f"unix:{path}")
    first.unlink()  # it is not the first one's any more
    assert os.path.exists(path)
    second.close()
    second.unlink()
    assert not os.path.exists(path)
    (tmp_path / "socket").write_text("a file")
    with pytest.raises(OSError):
        _listen.listen(f"unix:{path}")


def test_check(tmp_path):
    (tmp_path / "mod.py").write_text(APP)
    args = [sys.executable, "-m", "coir", "serve", "--check", "mod:app"]
    out = subprocess.run(args, cwd=tmp_path, capture_output=True, text=True)
    assert (out.returncode, out.stdout) == (0, "mod:app: fine\n")


def test_load():
    assert _worker.load("os:getpid") is os.getpid
    with pytest.raises(ValueError, match="neither"):
        _worker.load("os")


# --- many who say nothing


def resident(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@contextlib.contextmanager
def many_descriptors(count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip("too few descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_idle_connections(serve):
    """At most 1 KB each, and a new client does not wait for them: a third is
    new, a third has sent a part of a head, a third waits for the next request.
    COIR_TEST_CONNECTIONS=10000 is what `make conformance SUITE=http` asks for.
    """
    end, half = b"\r\n\r\n", b"GET / HTTP/1.1\r\nHo"
    get = half + b"st: a" + end
    kinds = [b"", half, get]
    count = int(os.environ.get("COIR_TEST_CONNECTIONS", "1000"))
    with many_descriptors(count + 100), contextlib.ExitStack() as stack:
        most = f"--max-connections={count + 10}"
        served = serve("--workers=0", "--head-timeout=0", most)
        port, pid = served.port, served.process.pid

        def dial(data):
            s = stack.enter_context(socket.socket())
            s.settimeout(LONG)
            s.bind((f"127.0.0.{2 + len(socks) % 4}", 0))
            s.connect(("127.0.0.1", port))
            s.sendall(data)
            if data.endswith(end):
                assert s.recv(4096).startswith(b"HTTP/1.1 200 ")
            socks.append(s)

        def new_client():
            start = time.perf_counter()
            assert served.pid() == pid
            return time.perf_counter() - start

        socks = []
        for i in range(60):  # so that pools are filled
            dial(kinds[i % 3])
        before = resident(pid)
        for i in range(count - 60):
            dial(kinds[i % 3])
        took = min(new_client() for _ in range(10))
        each = (resident(pid) - before) / (count - 60)
        print(f"{count} connections: {each:.0f} B each, a new client is served"
              f" in {took * 1000:.1f} ms")
        assert each <= 1024
        assert took < 0.1
        for s in socks:  # each is still there, and served
            s.setblocking(False)
            with pytest.raises(BlockingIOError):
                s.recv(1)
        for s, rest in zip(socks[60:63], (get, b"st: a" + end, get)):
            s.settimeout(LONG)
            s.sendall(rest)
            assert s.recv(4096).startswith(b"HTTP/1.1 200 ")


# --- workers


@pytest.mark.parametrize("reuse", ["--reuse-port", "--no-reuse-port"])
def test_worker_that_is_killed_is_replaced(serve, reuse):
    served = serve("-w", "2", reuse)
    with Load(served) as load:
        until(lambda: len(load.answers) > 20)
        os.kill(served.pid(), signal.SIGKILL)
        before = len(load.answers)
        until(lambda: len(load.answers) > before + 50)
        until(lambda: "ended by signal 9" in served.text())
        # What was in that very worker is lost, nothing else.
        assert len(load.failures) <= 4
    served.signal(signal.SIGTERM)
    assert served.end() == 0


def test_reload_under_load(serve, tmp_path):
    """Not one request fails, and the new code is there."""
    served = serve("-w", "2")
    with Load(served) as load:
        until(lambda: len(load.answers) > 20)
        for version in "2", "3":
            # Of another size each: by that, and the second, Python tells
            # whether what it has compiled is of this file.
            longer = f'VERSION = "{version}"' + ' + ""' * int(version)
            (tmp_path / "mod.py").write_text(
                APP.replace('VERSION = "1"', longer)
            )
            served.signal(signal.SIGHUP)
            # Both old workers have gone when nobody answers as they do.
            at = until(
                lambda: next(
                    (
                        i
                        for i, a in enumerate(load.answers)
                        if a.startswith(version)  # noqa: B023
                    ),
                    0,
                )
            )
            assert at
            until(
                lambda: (
                    len(load.answers) > 100
                    and all(
                        a.startswith(version)  # noqa: B023
                        for a in load.answers[-100:]
                    )
                )
            )
    assert load.failures == [], served.text()


def test_signals_to_the_whole_process_group(serve):
    """As a terminal sends them: the workers leave them to the parent."""
    served = serve("-w", "2")
    with Load(served) as load:
        until(lambda: len(load.answers) > 20)
        before = {a.split()[1] for a in load.answers}
        group = served.process.pid
        for number in signal.SIGUSR1, signal.SIGHUP:
            os.killpg(group, number)
        until(lambda: not before & {a.split()[1] for a in load.answers[-50:]})
    assert load.failures == [], served.text()
    os.killpg(group, signal.SIGINT)
    assert served.end() == 0


def test_reload_of_what_cannot_be_loaded(serve, tmp_path):
    """The old workers stay."""
    served = serve("-w", "1")
    pid = served.pid()
    (tmp_path / "mod.py").write_text("raise KeyError")
    served.signal(signal.SIGHUP)
    until(lambda: f"old worker {pid} stays" in served.text())
    assert served.pid() == pid
    (tmp_path / "mod.py").write_text(APP)
    served.signal(signal.SIGHUP)
    until(lambda: served.pid() != pid)


def test_reload_of_addresses(serve, tmp_path):
    conf = tmp_path / "conf.toml"
    conf.write_text('bind = ["127.0.0.1:0", "unix:one"]\n')
    served = serve("-c", "conf.toml")
    pid = served.pid()
    assert (tmp_path / "one").exists()
    conf.write_text('bind = ["127.0.0.1:0", "unix:two"]\nworkers = 2\n')
    served.signal(signal.SIGHUP)
    until(lambda: (tmp_path / "two").exists())
    until(lambda: served.pid() != pid)
    assert not (tmp_path / "one").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_graceful_stop(serve, number):
    served = serve("-w", "1")
    connection = served.connect()
    with contextlib.closing(connection):
        connection.request("GET", "/sleep?0.5")
        until(lambda: served.pid())
        served.signal(number)
        assert connection.getresponse().status == 200
    assert served.end() == 0


@pytest.mark.parametrize(
    "numbers",
    [[signal.SIGQUIT], [signal.SIGTERM, signal.SIGTERM],
     [signal.SIGTERM, signal.SIGINT]],
)  # fmt: skip
@pytest.mark.parametrize("workers", ["0", "1"])
def test_stop_at_once(serve, numbers, workers):
    served = serve("-w", workers)
    connection = served.connect()
    with contextlib.closing(connection):
        connection.request("GET", "/sleep?100")
        assert served.pid()
        for number in numbers:
            served.signal(number)
            time.sleep(0.1)  # signals of one kind may become one
        assert served.end() == 0


def test_worker_stops_when_its_parent_is_gone(serve):
    served = serve("-w", "1")
    pid = served.pid()
    served.process.kill()
    served.end()

    def is_gone():
        try:
            with open(f"/proc/{pid}/stat") as file:
                return file.read().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    until(is_gone)


def test_more_and_fewer_workers(serve):
    served = serve("-w", "1", "--reuse-port")
    served.pid()
    served.signal(signal.SIGTTIN)
    until(lambda: len({served.pid() for _ in range(20)}) == 2)
    served.signal(signal.SIGTTOU)
    parent = served.process.pid
    children = f"/proc/{parent}/task/{parent}/children"
    until(lambda: len(open(children).read().split()) == 1)
    served.signal(signal.SIGTERM)
    assert served.end() == 0


def test_worker_that_is_stuck_is_killed(serve):
    served = serve("-w", "1", "--worker-timeout", "0.5")
    pid = served.pid()
    connection = served.connect()
    with contextlib.closing(connection):
        connection.request("GET", "/hang")
        until(lambda: "has been stuck" in served.text())
        until(lambda: served.pid() != pid)


def test_max_requests(serve):
    served = serve("-w", "1", "--max-requests", "10")
    with Load(served, clients=1) as load:
        until(lambda: len({a.split()[1] for a in load.answers}) > 2)
    assert load.failures == [], served.text()


def test_pidfile(serve, tmp_path):
    path = tmp_path / "pid"
    served = serve("--pidfile", "pid")
    served.get()
    assert int(path.read_text()) == served.process.pid
    other = serve("--pidfile", "pid")
    assert other.end() == 2
    served.signal(signal.SIGTERM)
    assert served.end() == 0
    assert not path.exists()
