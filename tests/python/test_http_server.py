"""coir.http.Server: clients of all kinds, and its life."""

import contextlib
import gc
import http.client
import os
import resource
import socket as _socket
import subprocess
import sys
import threading
import time

import coir.gevent as gevent
import coir.http
import pytest
from coir import _core
from coir.gevent import socket
from coir.gevent.event import Event
from http_helper import (
    GET,
    GET_CLOSE,
    LONG,
    TEXT,
    Server,
    collect,
    connect,
    echo,
    environ_of,
    get,
    hello,
    post,
    read_all,
    reset,
    response,
    serving,
    talk,
    until,
)

# --- clients that come and go


def test_slow_head():
    with serving(hello) as server, connect(server) as s:
        for byte in GET:
            s.sendall(bytes([byte]))
            gevent.sleep(0)
        assert response(s).read() == b"hello"


def test_silent_clients_do_not_stay():
    with serving(hello, head_timeout=0.05, idle_timeout=0.05) as server:
        with connect(server) as silent, connect(server) as half:
            half.sendall(GET[:20])
            with connect(server) as idle:
                idle.sendall(GET)
                assert response(idle).read() == b"hello"
                assert read_all(idle) == b""
            read_all(silent)
            assert b" 408 " in read_all(half)


def test_resets_at_every_stage():
    with serving(echo) as server:
        for data in b"", GET[:10], post(b"abc", 10), post(b"abc"), GET * 20:
            s = connect(server)
            s.sendall(data)
            reset(s)
        assert get(server)[1] == b""
        assert server.errors == []
        until(lambda: server.counters()["connections"] == 0)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/3.0\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        ("GET /\xe9 HTTP/1.1\r\nHost: a\r\n\r\n".encode(), 400),
        (b"GET /?\xe9 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
    ],
)
def test_what_is_no_request(data, status):
    called = []
    with serving(collect(called)) as server:
        answer = talk(server, data + GET)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert answer.count(b"HTTP/1.1") == 1
    assert called == []


def test_limits_of_heads():
    limits = {"max_line": 50, "max_field": 60, "max_fields": 5}
    with serving(hello, **limits) as server:
        assert get(server)[0].status == 200
        assert get(server, "/" + "x" * 50)[0].status == 414
        assert get(server, headers=[("X", "x" * 60)])[0].status == 431
        many = [(f"X{i}", "x") for i in range(5)]
        assert get(server, headers=many)[0].status == 431


def test_app_that_waits_holds_up_nobody():
    go = Event()

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/wait":
            go.wait()
        return hello(environ, start_response)

    with serving(app) as server, connect(server) as s:
        s.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        for _ in range(10):
            assert get(server)[1] == b"hello"
        go.set()
        assert response(s).read() == b"hello"


def idle_clients(stack, server, count):
    """So many, which the server knows of; nobody else."""
    socks = [stack.enter_context(connect(server)) for _ in range(count)]
    until(lambda: server.counters()["idle"] == count)
    return socks


def test_requests_of_one_turn_come_one_after_the_other():
    """The next head is read when the application has ended, or waits."""
    seen = []

    def app(environ, start_response):
        seen.append(server.counters()["requests"])
        gevent.sleep(0)
        return hello(environ, start_response)

    with serving(app) as server, contextlib.ExitStack() as stack:
        socks = idle_clients(stack, server, 3)
        for s in socks:
            s.send(GET)
        for s in socks:
            assert response(s).read() == b"hello"
    assert seen == [1, 2, 3]


def test_a_slow_application_keeps_no_timer_waiting():
    """Of many requests in one turn only some are handled before others."""
    order = []

    def app(environ, start_response):
        end = time.perf_counter() + 0.01
        while time.perf_counter() < end:
            pass
        order.append("request")
        return hello(environ, start_response)

    with serving(app) as server, contextlib.ExitStack() as stack:
        socks = idle_clients(stack, server, 24)
        for s in socks:
            s.send(GET)
        timer = gevent.get_hub().loop.timer(0.002)
        timer.start(order.append, "tick")
        for s in socks:
            assert response(s).read() == b"hello"
        timer.close()
    assert order.index("tick") < 20, order


def test_an_application_closes_its_server():
    """The others of that turn are not handled, and nothing is left."""
    handled = []

    def app(environ, start_response):
        handled.append(1)
        server.close()
        return hello(environ, start_response)

    with serving(app) as server, contextlib.ExitStack() as stack:
        socks = idle_clients(stack, server, 3)
        for s in socks:
            s.send(GET)
        until(lambda: server.state == "stopped")
        for s in socks:
            with contextlib.suppress(ConnectionResetError):
                assert read_all(s) == b""
    assert handled == [1]


def test_max_active():
    running, most = [], []

    def app(environ, start_response):
        running.append(1)
        most.append(len(running))
        gevent.sleep(0.001)
        running.pop()
        return hello(environ, start_response)

    with serving(app, max_active=3) as server:
        jobs = [gevent.spawn(get, server) for _ in range(30)]
        for job in jobs:
            assert job.get()[1] == b"hello"
    assert max(most) == 3


def test_thousand_idle_connections():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 3000:
        pytest.skip("too few descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 3000), hard))
    try:
        with serving(hello) as server, contextlib.ExitStack() as stack:
            for _ in range(1000):
                stack.enter_context(connect(server))
            assert get(server)[1] == b"hello"
            counters = server.counters()
            assert counters["idle"] + counters["reading"] >= 1000
            assert counters["active"] == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_descriptors():
    """The oldest idle connection goes for a new one."""
    code = """if 1:
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        import coir.http
        def app(environ, start_response):
            start_response("200 OK", [])
            return [b"hello"]
        server = coir.http.Server(app, port=0, max_connections=1000)
        server.start()
        print(server.port, flush=True)
        server.serve_forever()
    """
    with (
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE
        ) as p,
        contextlib.ExitStack() as stack,
    ):
        stack.callback(p.kill)
        port = int(p.stdout.readline())
        for _ in range(120):
            s = _socket.create_connection(("127.0.0.1", port), timeout=LONG)
            stack.enter_context(s)
            s.sendall(GET)
            assert response(s).read() == b"hello"


def test_without_stacks():
    """Who gets no green thread is told so, and the server goes on."""
    code = """if 1:
        import resource
        import coir.gevent as gevent, coir.http
        from coir.gevent import socket
        from coir.gevent.event import Event
        go = Event()
        def app(environ, start_response):
            go.wait()
            start_response("200 OK", [])
            return [b"hello"]
        server = coir.http.Server(app, port=0)
        server.start()
        socks = [socket.create_connection(("127.0.0.1", server.port))
                 for _ in range(500)]
        with open("/proc/self/statm") as f:
            now = int(f.read().split()[0]) * 4096
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (now + 200_000_000, hard))
        for s in socks:
            s.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
            gevent.sleep(0)
        go.set()
        def status(s):
            data = b""
            while some := s.recv(1000):
                data += some
            return data[9:12].decode()
        found = [status(s) for s in socks]
        print(*sorted(set(found)), server.counters()["active"])
        server.stop(1)
    """
    out = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "COIR_STACK": "dedicated"},
        capture_output=True,
        timeout=60,
    )
    assert out.stdout == b"200 503 0\n", out.stderr[-2000:]
    assert out.returncode == 0


# --- the server's life


def test_graceful_stop():
    """What was begun is finished, and nothing new accepted."""
    begun, go = Event(), Event()

    def app(environ, start_response):
        begun.set()
        go.wait()
        return hello(environ, start_response)

    with serving(app) as server:
        port = server.port
        with connect(server) as busy, connect(server) as idle:
            busy.sendall(GET)
            assert begun.wait(LONG)
            stopper = gevent.spawn(server.stop, LONG)
            until(lambda: server.state == "stopping")
            assert read_all(idle) == b""
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))
            go.set()
            r = response(busy)
            assert r.getheader("Connection") == "close"
            assert r.read() == b"hello"
            busy.close()
            stopper.get(timeout=LONG)
    assert server.state == "stopped"


def test_stop_cancels():
    ended = []

    def app(environ, start_response):
        try:
            gevent.sleep(LONG)
        finally:
            ended.append(sys.exc_info()[0])

    with serving(app) as server:
        with connect(server) as s:
            s.sendall(GET)
            until(lambda: server.counters()["active"] == 1)
            server.stop(0.01)
            assert b" 503 " in read_all(s)
        assert server.errors == []
    assert ended == [gevent.GreenletExit]


def test_stop_cancels_who_waits_for_a_client():
    ended = []

    def app(environ, start_response):
        try:
            environ["wsgi.input"].read()
        finally:
            ended.append(sys.exc_info()[0])

    with serving(app) as server:
        with connect(server) as s:
            s.sendall(post(b"", 10))
            until(lambda: server.counters()["active"] == 1)
            server.stop(0.01)
            read_all(s)
        assert server.errors == []
    assert ended == [gevent.GreenletExit]


def test_stop_from_another_thread():
    with serving(hello) as server:
        assert get(server)[1] == b"hello"
        thread = threading.Thread(target=server.stop, args=[1])
        thread.start()
        assert server.join(LONG)
        until(lambda: not thread.is_alive())


def test_stop_under_load():
    """Not one request fails."""
    answers = []

    def client(server, s):
        try:
            while True:
                s.sendall(GET)
                r = response(s)
                assert r.read() == b"hello"
                answers.append(r.status)
                if r.getheader("Connection") == "close":
                    return
        except (ConnectionError, http.client.RemoteDisconnected):
            # Closed between two requests: nothing was answered in part.
            pass
        finally:
            s.close()

    with serving(hello) as server, contextlib.ExitStack() as stack:
        socks = [stack.enter_context(connect(server)) for _ in range(20)]
        jobs = [gevent.spawn(client, server, s) for s in socks]
        until(lambda: len(answers) > 500)
        server.stop(LONG)
        for job in jobs:
            job.get(timeout=LONG)
        counters = server.counters()
    assert set(answers) == {200}
    assert counters["aborted"] == 0


def test_server_in_a_thread():
    """It has the hub of that thread; others see it from theirs."""
    servers, there = [], threading.Event()

    def run():
        servers.append(Server(hello, port=0))
        servers[0].start()
        there.set()
        servers[0].serve_forever()

    thread = threading.Thread(target=run)
    thread.start()
    assert there.wait(LONG)
    (server,) = servers
    assert get(server)[1] == b"hello"
    with pytest.raises(RuntimeError):
        server.pause()
    server.stop(1)
    thread.join(LONG)
    assert not thread.is_alive()


def test_pause_and_start():
    with serving(hello) as server:
        server.pause()
        with connect(server) as s:
            s.sendall(GET)
            with pytest.raises(TimeoutError):
                s.settimeout(0.02)
                s.recv(10)
            s.settimeout(LONG)
            server.start()
            assert response(s).read() == b"hello"


def test_unix_socket(tmp_path):
    path = tmp_path / "socket"
    seen = []
    with Server(collect(seen), bind=f"unix:{path}", unix_mode=0o600) as server:
        assert path.stat().st_mode & 0o777 == 0o600
        with socket.socket(_socket.AF_UNIX) as s:
            s.connect(str(path))
            s.sendall(GET_CLOSE)
            assert read_all(s).startswith(b"HTTP/1.1 200")
        assert server.urls == [f"unix:{path}"]
    assert seen[0]["REMOTE_ADDR"] == ""
    assert not path.exists()


def test_sockets_that_are_given():
    with _socket.create_server(("127.0.0.1", 0)) as listener:
        with Server(hello, sockets=[listener]) as server:
            assert server.port == listener.getsockname()[1]
            assert get(server)[1] == b"hello"
        assert listener.fileno() >= 0


def test_server_that_nobody_keeps():
    """It serves all the same, until it is stopped."""
    import weakref

    server = coir.http.Server(hello, port=0)
    server.start()
    core = weakref.ref(server._core)
    port = server.port
    stop = server._core.stop
    del server
    gevent.sleep(0)
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.sendall(GET_CLOSE)
        assert b"hello" in read_all(s)
    stop(0, 0)
    del stop
    gevent.sleep(0)
    gc.collect()
    assert core() is None


def test_hub_that_is_destroyed_with_a_server():
    """A thread that ends takes its server along, also in a request."""
    code = """if 1:
        import threading
        import coir.gevent as gevent, coir.http
        from coir.gevent import socket
        def app(environ, start_response):
            gevent.sleep(100)
        def run():
            server = coir.http.Server(app, port=0)
            server.start()
            s = socket.create_connection(("127.0.0.1", server.port))
            s.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
            while not server.counters()["active"]:
                gevent.sleep(0.001)
        for _ in range(3):
            t = threading.Thread(target=run)
            t.start()
            t.join()
        print("fine")
    """
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=60
    )
    assert out.stdout == b"fine\n"
    assert out.returncode == 0


def test_options_are_checked():
    with pytest.raises(TypeError, match="no such option"):
        coir.http.Server(hello, nonsense=1)
    with pytest.raises(ValueError):
        coir.http.Server(hello, max_fields=-1)
    with pytest.raises(TypeError):
        coir.http.Server("app")
    with pytest.raises(OSError, match="127.0.0.1"):
        with _socket.create_server(("127.0.0.1", 0)) as s:
            coir.http.Server(hello, port=s.getsockname()[1]).start()
    with pytest.raises(TypeError):
        _core.HTTPServer(hello, [])


# --- logs and counters


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("common", '] "GET /x?y HTTP/1.1" 200 5'),
        ("combined", '" 200 5 "-" "me"'),
        ("json", '"status"'),
    ],
)
def test_access_log(tmp_path, name, expected):
    path = tmp_path / "log"
    server = Server(
        hello, port=0, access_log=str(path), access_log_format=name
    )
    with server:
        get(server, "/x?y", headers=[("User-Agent", "me")])
        until(path.read_text)
        path.rename(tmp_path / "old")
        server.reopen_log()
        get(server, "/z")
    assert expected in (tmp_path / "old").read_text()
    assert "/z" in path.read_text()


def test_access_log_to_a_function():
    lines = []
    with serving(hello, access_log=lines.append) as server:
        get(server, '/"\\')
        until(lambda: lines)
    assert len(lines) == 1
    assert lines[0].startswith("127.0.0.1 - ")
    assert "\n" not in lines[0]


def test_on_request():
    calls = []
    with serving(hello, on_request=lambda *args: calls.append(args)) as server:
        get(server, "/x")
        until(lambda: calls)
    environ, status, headers, sent, seconds = calls[0]
    assert environ["PATH_INFO"] == "/x"
    assert (status, headers, sent) == ("200 OK", TEXT, 5)
    assert 0 <= seconds < LONG


def test_counters():
    with serving(hello) as server:
        for _ in range(3):
            get(server)
        talk(server, b"nonsense\r\n\r\n")
        until(lambda: server.counters()["connections"] == 0)
        c = server.counters()
    assert c["accepted"] == 4
    assert c["requests"] == 3
    assert c["responses_2xx"] == 3
    assert c["responses_4xx"] == 1
    assert c["bad_requests"] == 1
    assert c["active"] == 0


# --- proxies


@pytest.mark.parametrize(
    ("trusted", "expected"),
    [
        ((), ("127.0.0.1", "http")),
        (("10.0.0.1",), ("127.0.0.1", "http")),
        (("127.0.0.1",), ("9.9.9.9", "https")),
        (("127.0.0.0/8", "9.9.9.9"), ("5.5.5.5", "https")),
        (("*",), ("9.9.9.9", "https")),
    ],
)
def test_trusted_proxies(trusted, expected):
    environ = environ_of(
        "GET / HTTP/1.1\nHost: h\nConnection: close\n"
        "X-Forwarded-For: 1.1.1.1, 5.5.5.5\nX-Forwarded-For: 9.9.9.9:77\n"
        "X-Forwarded-Proto: https\n\n",
        trusted_proxies=trusted,
    )
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == expected
    if trusted and expected[1] == "http":
        assert "HTTP_X_FORWARDED_FOR" not in environ
