"""coir.http.Server: WSGI by PEP 3333, clients of all kinds, and its end."""

import contextlib
import gc
import http.client
import io
import logging
import os
import resource
import socket as _socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import wsgiref.validate

import coir.gevent as gevent
import coir.http
import pytest
from coir import _core
from coir.gevent import socket
from coir.gevent import ssl as green_ssl
from coir.gevent.event import Event

TEXT = [("Content-Type", "text/plain")]
LONG = 30  # seconds after which something hangs
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
GET_CLOSE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


class Server(coir.http.Server):
    """One that notes what its application failed with."""

    def report(self, environ, exc):
        self.errors.append(exc)


@contextlib.contextmanager
def serving(app, **options):
    server = Server(app, port=0, **options)
    server.errors = []
    server.start()
    try:
        yield server
    finally:
        server.stop(0)


def connect(server):
    s = socket.create_connection(("127.0.0.1", server.port), timeout=LONG)
    s.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
    return s


def read_all(s):
    data = b""
    while True:
        some = s.recv(65536)
        if not some:
            return data
        data += some


def talk(server, data, shut=False):
    """Send bytes, return all that comes until the server closes."""
    with connect(server) as s:
        s.sendall(data)
        if shut:
            s.shutdown(_socket.SHUT_WR)
        return read_all(s)


def response(s, method="GET"):
    r = http.client.HTTPResponse(s, method=method)
    r.begin()
    return r


def get(server, path="/", method="GET", headers=(), body=b"", version="1.1"):
    """One request on a connection of its own: the response, and its body."""
    lines = [f"{method} {path} HTTP/{version}", "Host: a", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    with connect(server) as s:
        s.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        r = response(s, method)
        return r, r.read()


def hello(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"hello"]


def collect(environs):
    def app(environ, start_response):
        environs.append(environ)
        start_response("200 OK", TEXT)
        return [b""]

    return app


# --- environ


def environ_of(head, **options):
    seen = []
    with serving(collect(seen), **options) as server:
        talk(server, head.replace("\n", "\r\n").encode("latin-1"))
    return seen[0]


def test_environ():
    environ = environ_of(
        "GET /a%20b/%C3%A9?x=%20y HTTP/1.1\nHost: h:81\nConnection: close\n"
        "X-One: \xe9\nContent-Type: a/b\n\n"
    )
    port = environ.pop("SERVER_PORT")
    assert port.isdigit()
    assert environ.pop("REMOTE_PORT").isdigit()
    assert environ.pop("wsgi.errors") is sys.stderr
    assert environ.pop("wsgi.input").read is not None
    assert environ == {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a b/\xc3\xa9",
        "QUERY_STRING": "x=%20y",
        "RAW_URI": "/a%20b/%C3%A9?x=%20y",
        "REQUEST_URI": "/a%20b/%C3%A9?x=%20y",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_SOFTWARE": f"coir/{coir.__version__}",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "h:81",
        "HTTP_CONNECTION": "close",
        "HTTP_X_ONE": "\xe9",
        "CONTENT_TYPE": "a/b",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": coir.http.FileWrapper,
        "wsgi.input_terminated": True,
    }
    assert all(type(key) is str for key in environ)


def test_environ_fields():
    """Several are a list, ambiguous ones are left out."""
    environ = environ_of(
        "GET / HTTP/1.1\nHost: h\nConnection: close\n"
        "Accept: a\nAccept: b\nX-A: 1\nx-a: 1\nX-a: 2\n"
        "Cookie: a=1\nCookie: b=2\nX_A: evil\nContent_Length: 7\n"
        "Proxy: evil\nX-Empty:\nX-Empty:\n\n"
    )
    assert environ["HTTP_ACCEPT"] == "a,b"
    assert environ["HTTP_X_A"] == "1,1,2"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["HTTP_X_EMPTY"] == ","
    assert "HTTP_PROXY" not in environ
    assert "CONTENT_LENGTH" not in environ
    assert "HTTP_CONTENT_LENGTH" not in environ


def test_environ_of_many_fields():
    names = [f"X-{i}-{'n' * (i % 70)}" for i in range(80)]
    head = "".join(f"{name}: {i}\n" for i, name in enumerate(names))
    environ = environ_of(
        f"GET / HTTP/1.1\nHost: h\nConnection: close\n{head}\n"
    )
    for i, name in enumerate(names):
        key = "HTTP_" + name.upper().replace("-", "_")
        assert environ[key] == str(i)


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        ("http://other:82/p%41?q", "/pA", "other:82"),
        ("http://other", "/", "other"),
        ("/", "/", "h"),
        ("//x", "//x", "h"),
        ("/%", "/%", "h"),
        ("/" + "%41" * 2000, "/" + "A" * 2000, "h"),
    ],
)
def test_environ_of_targets(target, path, host):
    head = f"GET {target} HTTP/1.1\nHost: h\nConnection: close\n\n"
    environ = environ_of(head)
    assert environ["PATH_INFO"] == path
    assert environ["HTTP_HOST"] == host


def test_environ_of_options_and_old_versions():
    environ = environ_of("OPTIONS * HTTP/1.1\nHost: h\nConnection: close\n\n")
    assert environ["PATH_INFO"] == "*"
    environ = environ_of("BREW / HTTP/1.0\n\n")
    assert environ["REQUEST_METHOD"] == "BREW"
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.0"
    assert "HTTP_HOST" not in environ


@pytest.mark.parametrize(
    ("path", "info"),
    [("/app", ""), ("/app/x", "/x"), ("/apple", "/apple"), ("/", "/")],
)
def test_script_name(path, info):
    environ = environ_of(
        f"GET {path} HTTP/1.1\nHost: h\nConnection: close\n\n",
        script_name="/app",
    )
    assert environ["SCRIPT_NAME"] == "/app"
    assert environ["PATH_INFO"] == info


def test_environs_are_not_shared():
    seen = []

    def app(environ, start_response):
        environ["mine"] = environ["HTTP_X"]
        return collect(seen)(environ, start_response)

    with serving(app, environ={"own": 1}) as server:
        for i in range(3):
            get(server, headers=[("X", i)])
    assert [e["mine"] for e in seen] == ["0", "1", "2"]
    assert [e["own"] for e in seen] == [1, 1, 1]


# --- PEP 3333


def test_validator():
    """wsgiref.validate finds nothing to complain about."""

    @wsgiref.validate.validator
    def app(environ, start_response):
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0))
        for line in environ["wsgi.input"]:
            raise AssertionError(line)
        environ["wsgi.errors"].flush()
        headers = [*TEXT, ("Content-Length", str(len(body)))]
        start_response("200 OK", headers)
        return [body]

    def with_length(environ, start_response):
        environ.setdefault("CONTENT_LENGTH", "")
        # Its checker knows the three methods of PEP 333 only.
        return app(environ, start_response)

    with serving(with_length) as server:
        for body in b"", b"abc\ndef":
            r, data = get(server, "/p?q", "POST", body=body)
            assert (r.status, data) == (200, body)
        assert server.errors == []


def test_length_is_added_to_a_list():
    def app(environ, start_response):
        start_response("200 OK", TEXT)
        return [b"ab", b"", b"cde"]

    with serving(app) as server:
        r, body = get(server)
        assert r.getheader("Content-Length") == "5"
        assert body == b"abcde"


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_generator(version):
    def app(environ, start_response):
        start_response("200 OK", TEXT)
        for i in range(3):
            yield b"%d" % i
            yield b""

    with serving(app) as server:
        r, body = get(server, version=version)
        assert body == b"012"
        assert (r.getheader("Transfer-Encoding") == "chunked") == (
            version == "1.1"
        )


def test_generator_is_sent_as_it_comes():
    go = Event()

    def app(environ, start_response):
        start_response("200 OK", [*TEXT, ("Content-Length", "4")])
        yield b"ab"
        go.wait()
        yield b"cd"

    with serving(app) as server, connect(server) as s:
        s.sendall(GET)
        data = b""
        while not data.endswith(b"ab"):
            data += s.recv(1000)
        go.set()
        assert s.recv(1000) == b"cd"


def test_generator_calls_start_response_late():
    def app(environ, start_response):
        start_response("200 OK", TEXT)
        yield b"late"

    with serving(app) as server:
        assert get(server)[1] == b"late"


def test_write():
    def app(environ, start_response):
        write = start_response("200 OK", TEXT)
        write(b"one")
        write(b"")
        write(b"two")
        return [b"three"]

    with serving(app) as server:
        assert get(server)[1] == b"onetwothree"


def test_big_list_of_small_items():
    def app(environ, start_response):
        start_response("200 OK", TEXT)
        return [b"%d," % i for i in range(1000)]

    with serving(app) as server:
        assert get(server)[1] == b"".join(b"%d," % i for i in range(1000))


def test_head():
    def app(environ, start_response):
        start_response("200 OK", [*TEXT, ("Content-Length", "5")])
        return [b"hello"] if environ["PATH_INFO"] == "/full" else []

    with serving(app) as server:
        for path in "/full", "/empty":
            r, body = get(server, path, "HEAD")
            assert r.getheader("Content-Length") == "5"
            assert body == b""
        assert server.errors == []


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_status_without_body(status):
    def app(environ, start_response):
        start_response(status, [])
        return []

    with serving(app) as server, connect(server) as s:
        for _ in range(2):
            s.sendall(GET)
            r = response(s)
            assert r.read() == b""
            assert f"{r.status} {r.reason}" == status
            assert r.getheader("Transfer-Encoding") is None


class Result:
    """An iterable with a close()."""

    def __init__(self, items, log, fail=False):
        self.items = iter(items)
        self.log = log
        self.fail = fail

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.items)

    def close(self):
        self.log.append("closed")
        if self.fail:
            raise KeyError("close")


def test_close_is_called():
    log = []

    def app(environ, start_response):
        start_response("200 OK", TEXT)
        return Result([b"a", b"b"], log)

    with serving(app) as server:
        assert get(server)[1] == b"ab"
    assert log == ["closed"]


def test_close_is_called_after_an_error():
    log = []

    def app(environ, start_response):
        start_response("200 OK", TEXT)
        return Result([b"a", 7], log, fail=True)

    with serving(app) as server:
        answer = talk(server, GET)
        assert not answer.endswith(b"0\r\n\r\n")
        errors = server.errors
    assert log == ["closed"]
    assert sorted(map(type, errors), key=str) == [KeyError, TypeError]


def test_error_of_close_is_reported():
    def app(environ, start_response):
        start_response("200 OK", TEXT)
        return Result([b"a"], [], fail=True)

    with serving(app) as server:
        assert get(server)[1] == b"a"
        assert [type(e) for e in server.errors] == [KeyError]


def test_close_is_called_when_the_client_is_gone():
    log = []
    done = Event()

    class Endless(Result):
        def close(self):
            super().close()
            done.set()

    def app(environ, start_response):
        start_response("200 OK", TEXT)
        return Endless(iter(lambda: b"x" * 65536, None), log)

    with serving(app) as server:
        with connect(server) as s:
            s.sendall(GET)
            s.recv(1000)
            reset(s)
        assert done.wait(LONG)
        assert server.errors == []
    assert log == ["closed"]


def reset(s):
    """Close with RST."""
    s.setsockopt(
        _socket.SOL_SOCKET, _socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    s.close()


def test_exc_info_before_the_head():
    def app(environ, start_response):
        start_response("200 OK", [("X-First", "1")])
        try:
            raise KeyError("x")
        except KeyError:
            start_response("500 Oh", [("X-Second", "2")], sys.exc_info())
        return [b"sorry"]

    with serving(app) as server:
        r, body = get(server)
        assert (r.status, r.reason, body) == (500, "Oh", b"sorry")
        assert r.getheader("X-First") is None
        assert r.getheader("X-Second") == "2"


def test_exc_info_after_the_head():
    caught = []

    def app(environ, start_response):
        write = start_response("200 OK", TEXT)
        write(b"some")
        try:
            raise KeyError("x")
        except KeyError as exc:
            try:
                start_response("500 Oh", [], sys.exc_info())
            except KeyError as again:
                caught.append(again is exc)
                raise

    with serving(app) as server:
        answer = talk(server, GET)
        assert b"some" in answer
        assert not answer.endswith(b"0\r\n\r\n")
        assert [type(e) for e in server.errors] == [KeyError]
    assert caught == [True]


def test_start_response_twice():
    def app(environ, start_response):
        start_response("200 OK", [])
        start_response("200 OK", [])

    with serving(app) as server:
        assert get(server)[0].status == 500
        assert [type(e) for e in server.errors] == [AssertionError]


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ((), TypeError),
        (("200 OK",), TypeError),
        (("200 OK", [], None, 1), TypeError),
        ((b"200 OK", []), TypeError),
        ((200, []), TypeError),
        (("OK", []), ValueError),
        (("99 OK", []), ValueError),
        (("2000 OK", []), ValueError),
        (("200 O\r\nK", []), ValueError),
        (("200 O\nX: y", []), ValueError),
        (("200 \u20ac", []), ValueError),
        (("200 OK", {}), TypeError),
        (("200 OK", [("A",)]), ValueError),
        (("200 OK", ["AB"]), TypeError),
        (("200 OK", [("A", 1)]), TypeError),
        (("200 OK", [("A", b"1")]), TypeError),
        (("200 OK", [("A", "\u20ac")]), ValueError),
        (("200 OK", [("A", "x\r\nB: y")]), ValueError),
        (("200 OK", [("A", "x\ny")]), ValueError),
        (("200 OK", [("A", "x\0y")]), ValueError),
        (("200 OK", [("A b", "x")]), ValueError),
        (("200 OK", [("A:", "x")]), ValueError),
        (("200 OK", [("", "x")]), ValueError),
        (("200 OK", [("Transfer-Encoding", "chunked")]), ValueError),
        (("200 OK", [("Keep-Alive", "1")]), ValueError),
        (("200 OK", [("Upgrade", "x")]), ValueError),
        (("200 OK", [("Content-Length", "x")]), ValueError),
        (("200 OK", [("Content-Length", "-1")]), ValueError),
        (
            ("200 OK", [("Content-Length", "1"), ("Content-Length", "2")]),
            ValueError,
        ),
    ],
)
def test_start_response_refuses(args, error):
    """What is wrong is raised where it is; a right one may follow."""
    raised = []

    def app(environ, start_response):
        try:
            start_response(*args)
        except Exception as exc:
            raised.append(type(exc))
        start_response("200 OK", TEXT)
        return [b"fine"]

    with serving(app) as server:
        r, body = get(server)
        assert body == b"fine"
    assert raised == [error]


def test_what_an_application_returns():
    results = {
        "/str": "text",
        "/bytes": b"bytes",
        "/none": None,
        "/strs": ["a"],
        "/ints": (i for i in [1]),
    }

    def app(environ, start_response):
        start_response("200 OK", TEXT)
        return results[environ["PATH_INFO"]]

    with serving(app) as server:
        for path in results:
            assert get(server, path)[0].status == 500
        assert [type(e) for e in server.errors] == [TypeError] * 5


def test_without_start_response():
    with serving(lambda environ, start_response: [b"x"]) as server:
        assert get(server)[0].status == 500
        assert [type(e) for e in server.errors] == [RuntimeError]


@pytest.mark.parametrize("kind", ["list", "generator", "write"])
@pytest.mark.parametrize("length", [4, 6])
def test_content_length_that_is_wrong(kind, length):
    def app(environ, start_response):
        write = start_response(
            "200 OK", [*TEXT, ("Content-Length", str(length))]
        )
        if kind == "write":
            write(b"hello")
            return []
        return [b"hello"] if kind == "list" else (x for x in [b"he", b"llo"])

    with serving(app) as server:
        answer = talk(server, GET_CLOSE)
        head, _, body = answer.partition(b"\r\n\r\n")
        # Never more than was announced, and never as if it was complete.
        assert b" 500 " in head or len(body) < length
        assert [type(e) for e in server.errors] == [ValueError]


def test_connection_close_is_heeded():
    def app(environ, start_response):
        start_response("200 OK", [*TEXT, ("Connection", "close")])
        return [b"bye"]

    with serving(app) as server:
        answer = talk(server, GET)
        assert b"connection: close" in answer.lower()
        assert answer.endswith(b"bye")


# --- errors


def test_error_of_the_application(caplog):
    def app(environ, start_response):
        raise KeyError("secret")

    server = coir.http.Server(app, port=0)
    with server, caplog.at_level(logging.ERROR, "coir.http"):
        r, body = get(server, "/path?token=hidden")
    assert r.status == 500
    assert b"secret" not in body and b"Traceback" not in body
    (record,) = caplog.records
    assert "/path" in record.getMessage()
    assert "hidden" not in record.getMessage()
    assert record.exc_info[0] is KeyError


def test_error_in_the_midst_of_a_body():
    def app(environ, start_response):
        start_response("200 OK", TEXT)
        yield b"some"
        raise KeyError

    with serving(app) as server:
        answer = talk(server, GET)
        assert b"some" in answer
        assert not answer.endswith(b"0\r\n\r\n")
        assert [type(e) for e in server.errors] == [KeyError]


def test_error_before_the_first_byte():
    """The head was not sent yet, so it can be another one."""

    def app(environ, start_response):
        start_response("200 OK", [("X-Lost", "1")])
        yield b""
        raise KeyError

    with serving(app) as server:
        r, _ = get(server)
        assert r.status == 500
        assert r.getheader("X-Lost") is None


def test_keep_alive_after_an_error():
    def app(environ, start_response):
        if environ["PATH_INFO"] == "/bad":
            raise KeyError
        return hello(environ, start_response)

    with serving(app) as server, connect(server) as s:
        for path, status in (b"/bad", 500), (b"/", 200):
            s.sendall(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path)
            r = response(s)
            r.read()
            assert r.status == status


def test_killed_request_is_no_error():
    greenlets = []

    def app(environ, start_response):
        greenlets.append(gevent.getcurrent())
        gevent.sleep(LONG)

    with serving(app) as server:
        with connect(server) as s:
            s.sendall(GET)
            while not greenlets:
                gevent.sleep(0.001)
            gevent.kill(greenlets[0])
            assert response(s).status == 503
        assert server.errors == []


def test_timeout_around_reading():
    """gevent's Timeout ends the wait for a body; an answer may follow."""

    def app(environ, start_response):
        try:
            with gevent.Timeout(0.01):
                environ["wsgi.input"].read()
        except gevent.Timeout:
            start_response("408 Slow", TEXT)
            return [b"too slow"]

    with serving(app) as server, connect(server) as s:
        s.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
        r = response(s)
        assert (r.status, r.read()) == (408, b"too slow")
        assert server.errors == []


def test_request_timeout():
    caught = []

    def app(environ, start_response):
        try:
            gevent.sleep(LONG)
        except coir.http.RequestTimeout as exc:
            caught.append(exc)
            raise

    with serving(app, request_timeout=0.05) as server:
        assert get(server)[0].status == 503
        assert server.counters()["request_timeouts"] == 1
        assert server.errors == []
    assert len(caught) == 1


# --- bodies of requests


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", TEXT)
    return [body]


def post(body, length=None, headers=""):
    length = len(body) if length is None else length
    return (
        f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n"
        f"{headers}\r\n"
    ).encode() + body


CHUNKED = (
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
    b"Connection: close\r\n\r\n"
)


def inputs(read, body=b"one\ntwo\n\nlast", head=None):
    """What `read` gives of a request with this body."""
    results = []

    def app(environ, start_response):
        results.append(read(environ["wsgi.input"]))
        return hello(environ, start_response)

    with serving(app) as server:
        talk(server, head or post(body, headers="Connection: close\r\n"))
        assert server.errors == []
    return results[0]


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (lambda f: f.read(), b"one\ntwo\n\nlast"),
        (lambda f: f.read(-1), b"one\ntwo\n\nlast"),
        (lambda f: f.read(None), b"one\ntwo\n\nlast"),
        (lambda f: f.read(1000), b"one\ntwo\n\nlast"),
        (
            lambda f: [f.read(5), f.read(0), f.read()],
            [b"one\nt", b"", b"wo\n\nlast"],
        ),
        (
            lambda f: [f.read(), f.read(), f.readline(), list(f)],
            [b"one\ntwo\n\nlast", b"", b"", []],
        ),
        (list, [b"one\n", b"two\n", b"\n", b"last"]),
        (lambda f: f.readlines(), [b"one\n", b"two\n", b"\n", b"last"]),
        (lambda f: f.readlines(5), [b"one\n", b"two\n"]),
        (
            lambda f: [f.readline(2), f.readline(2), f.readline()],
            [b"on", b"e\n", b"two\n"],
        ),
        (
            lambda f: [f.readline(), f.read(3), f.readline(), f.read()],
            [b"one\n", b"two", b"\n", b"\nlast"],
        ),
        (lambda f: f.readline(0), b""),
        (lambda f: io.TextIOWrapper(f).read(), "one\ntwo\n\nlast"),
    ],
)
def test_input(read, expected):
    assert inputs(read) == expected


def test_input_of_a_request_without_a_body():
    read = inputs(
        lambda f: [f.read(), f.readline(), list(f), f.read(5)], head=GET_CLOSE
    )
    assert read == [b"", b"", [], b""]


def test_chunked_input():
    head = CHUNKED + b"3\r\nab\n\r\n2;x=y\r\ncd\r\n0\r\nX: y\r\n\r\n"
    assert inputs(list, head=head) == [b"ab\n", b"cd"]


def test_readinto():
    def read(f):
        buf = bytearray(4)
        return f.readinto(buf), bytes(buf), f.read1(), f.readinto(buf)

    assert inputs(read, b"abcdef") == (4, b"abcd", b"ef", 0)


def test_long_lines():
    body = b"x" * 100_000 + b"\n" + b"y" * 20_000
    assert inputs(list, body) == [b"x" * 100_000 + b"\n", b"y" * 20_000]


@pytest.mark.parametrize("size", [1, 10_000, 3_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_both_ways(size, chunked):
    body = os.urandom(size)
    with serving(echo) as server, connect(server) as s:
        for _ in range(2):
            if chunked:
                s.sendall(CHUNKED.replace(b"Connection: close\r\n", b""))
                sender = gevent.spawn(send_chunks, s, body)
            else:
                sender = gevent.spawn(s.sendall, post(body))
            r = response(s)
            assert r.read() == body
            sender.get()


def send_chunks(s, body):
    for i in range(0, len(body), 50_000):
        chunk = body[i : i + 50_000]
        s.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
    s.sendall(b"0\r\n\r\n")


def test_continue():
    def app(environ, start_response):
        waiting.set()
        go.wait()
        return echo(environ, start_response)

    waiting, go = Event(), Event()
    with serving(app) as server, connect(server) as s:
        s.sendall(post(b"", 5, "Expect: 100-continue\r\n"))
        assert waiting.wait(LONG)
        s.setblocking(False)
        with pytest.raises(BlockingIOError):
            s.recv(100)
        s.settimeout(LONG)
        go.set()
        assert s.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        s.sendall(b"hello")
        assert response(s).read() == b"hello"


def test_no_continue_for_who_does_not_read():
    with serving(hello) as server:
        head = post(b"", 5, "Expect: 100-continue\r\n")
        assert talk(server, head).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("head", "error"),
    [
        (post(b"abc", 10), coir.http.ClientDisconnected),
        (CHUNKED + b"5\r\nab", coir.http.ClientDisconnected),
        (CHUNKED + b"5\r\nabcdeX\r\n", coir.http.BodyError),
        (CHUNKED + b"zz\r\n", coir.http.BodyError),
    ],
)
def test_body_that_is_not_complete(head, error):
    """It is an error for who reads it, again and again; not a report."""
    raised = []

    def app(environ, start_response):
        for _ in range(2):
            try:
                environ["wsgi.input"].read()
            except coir.http.RequestError as exc:
                raised.append(type(exc))
        return echo(environ, start_response)

    with serving(app) as server:
        answer = talk(server, head, shut=True)
        assert b" 200 " not in answer
        assert server.errors == []
    assert raised == [error, error]
    assert issubclass(error, OSError)


def test_max_body():
    with serving(echo, max_body=100) as server:
        head = post(b"x" * 101, headers="Connection: close\r\n")
        assert b" 413 " in talk(server, head)
        chunked = CHUNKED + b"65\r\n" + b"x" * 101 + b"\r\n0\r\n\r\n"
        assert b" 413 " in talk(server, chunked)
        assert server.errors == []


def test_slow_body_is_ended():
    raised = []

    def app(environ, start_response):
        try:
            environ["wsgi.input"].read()
        except OSError as exc:
            raised.append(type(exc))
            raise

    with serving(app, rate_grace=0.05) as server:
        talk(server, post(b"abc", 10))
        assert server.errors == []
    assert raised == [coir.http.ClientTimeout]


def test_unread_body_does_not_become_a_request():
    with serving(hello) as server, connect(server) as s:
        for _ in range(3):
            s.sendall(post(GET))
            assert response(s).read() == b"hello"
        s.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert response(s).read() == b"hello"
        assert s.recv(100) == b""
        assert server.counters()["requests"] == 4


def test_pipelining():
    """In order, each in a context of its own."""
    import contextvars

    seen = contextvars.ContextVar("seen", default=0)

    def app(environ, start_response):
        assert seen.get() == 0
        seen.set(1)
        gevent.sleep(0)
        start_response("200 OK", TEXT)
        return [environ["PATH_INFO"].encode()]

    with serving(app) as server, connect(server) as s:
        s.sendall(
            b"".join(
                b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % i for i in range(50)
            )
        )
        with s.makefile("rb") as file:
            for i in range(50):
                length = None
                for line in iter(file.readline, b"\r\n"):
                    if line.startswith(b"Content-Length:"):
                        length = int(line[15:])
                assert file.read(length) == b"/%d" % i
        assert server.errors == []


def test_input_of_a_request_that_is_over():
    kept = []

    def app(environ, start_response):
        kept.append((environ["wsgi.input"], start_response))
        return hello(environ, start_response)

    with serving(app) as server:
        get(server)
        file, start_response = kept[0]
        with pytest.raises(ValueError):
            file.read()
        with pytest.raises(ValueError):
            start_response("200 OK", [])


def test_input_in_another_thread():
    raised = []

    def read(file):
        try:
            file.read()
        except RuntimeError as exc:
            raised.append(exc)

    def app(environ, start_response):
        thread = threading.Thread(target=read, args=[environ["wsgi.input"]])
        thread.start()
        thread.join()
        return hello(environ, start_response)

    with serving(app) as server:
        talk(server, post(b"abc", headers="Connection: close\r\n"))
    assert len(raised) == 1


# --- files


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 2000)
    return path


def wrapped(open_it, headers=(), block=8192):
    def app(environ, start_response):
        start_response("200 OK", [*TEXT, *headers])
        return environ["wsgi.file_wrapper"](open_it(), block)

    return app


def test_file_wrapper(file):
    opened = []

    def open_it():
        opened.append(open(file, "rb"))
        return opened[-1]

    with serving(wrapped(open_it)) as server, connect(server) as s:
        for _ in range(2):
            s.sendall(GET)
            r = response(s)
            assert r.getheader("Content-Length") == "512000"
            assert r.read() == file.read_bytes()
        s.sendall(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        r = response(s, "HEAD")
        assert r.getheader("Content-Length") == "512000"
        s.sendall(GET)
        assert len(response(s).read()) == 512_000
    assert all(f.closed for f in opened)


@pytest.mark.parametrize("buffering", [0, -1])
def test_part_of_a_file(file, buffering):
    def open_it():
        f = open(file, "rb", buffering=buffering)
        f.read(10)
        return f

    part = wrapped(open_it, [("Content-Length", "1000")])
    with serving(part) as server, connect(server) as s:
        for _ in range(2):
            s.sendall(GET)
            assert response(s).read() == file.read_bytes()[10:1010]


def test_file_that_is_shorter_than_announced(file):
    app = wrapped(lambda: open(file, "rb"), [("Content-Length", "600000")])
    with serving(app) as server:
        head, _, body = talk(server, GET_CLOSE).partition(b"\r\n\r\n")
        assert b" 500 " in head or len(body) < 600_000
        assert [type(e) for e in server.errors] == [ValueError]


@pytest.mark.parametrize("kind", ["memory", "gzip", "pipe", "minimal"])
def test_what_is_no_plain_file(kind, file):
    import gzip

    def open_it():
        if kind == "memory":
            return io.BytesIO(b"data" * 5000)
        if kind == "gzip":
            with gzip.open(file, "wb") as f:
                f.write(b"data" * 5000)
            return gzip.open(file)
        if kind == "minimal":
            return Minimal(b"data" * 5000)
        reader, writer = os.pipe()
        os.write(writer, b"data" * 5000)
        os.close(writer)
        return open(reader, "rb")

    with serving(wrapped(open_it)) as server:
        assert get(server)[1] == b"data" * 5000
        assert server.errors == []


class Minimal:
    def __init__(self, data):
        self.read = io.BytesIO(data).read


def test_file_wrapper_in_iteration(file):
    with open(file, "rb") as f:
        blocks = list(coir.http.FileWrapper(f, 1000))
    assert b"".join(blocks) == file.read_bytes()
    assert len(blocks[0]) == 1000


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


def until(condition):
    """Let others run until it is true."""
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline, "it never became true"
        gevent.sleep(0.001)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/3.0\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
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
        thread.join()


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
            return

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


# --- upgraded connections

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
    b"Upgrade: echo\r\n\r\n"
)
SWITCHING = ("101 Switching Protocols", [("Upgrade", "echo")])


def upgraded(handle):
    def app(environ, start_response):
        handle(environ["coir.upgrade"](*SWITCHING))
        return [b"ignored"]

    return app


def skip_head(s):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += s.recv(1)
    return head


def test_upgrade():
    kept = []

    def handle(stream):
        kept.append(stream)
        while data := stream.recv(100):
            stream.sendall(data.upper())
        stream.sendall(b"bye")

    with serving(upgraded(handle)) as server, connect(server) as s:
        s.sendall(UPGRADE + b"early")
        head = skip_head(s)
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"connection: upgrade" in head.lower()
        assert s.recv(100) == b"EARLY"
        s.sendall(b"more")
        assert s.recv(100) == b"MORE"
        s.shutdown(_socket.SHUT_WR)
        assert read_all(s) == b"bye"
        assert server.errors == []
    assert kept[0].closed
    with pytest.raises(OSError):
        kept[0].recv(1)


def test_upgraded_stream_is_like_a_socket():
    def handle(stream):
        assert stream.getpeername()[0] == "127.0.0.1"
        assert stream.fileno() > 0
        assert stream.gettimeout() is None
        stream.settimeout(0.01)
        assert stream.gettimeout() == 0.01
        with pytest.raises(TimeoutError):
            stream.recv(10)
        stream.settimeout(None)
        buf = bytearray(3)
        assert stream.send(b"go") == 2
        assert stream.recv_into(buf) == 3
        assert stream.recv_into(memoryview(buf), 1) == 1
        assert bytes(buf) == b"dbc"
        stream.close()
        assert stream.closed
        with pytest.raises(OSError):
            stream.sendall(b"x")

    with serving(upgraded(handle)) as server, connect(server) as s:
        s.sendall(UPGRADE)
        skip_head(s)
        assert s.recv(10) == b"go"
        s.sendall(b"abcd")
        assert read_all(s) == b""
        assert server.errors == []


def test_upgraded_stream_both_ways_at_once():
    def handle(stream):
        def send():
            for _ in range(100):
                stream.sendall(b"x" * 10_000)
                gevent.sleep(0)

        sender = gevent.spawn(send)
        assert stream.recv(10) == b"stop"
        sender.get()

    with serving(upgraded(handle)) as server, connect(server) as s:
        s.sendall(UPGRADE)
        skip_head(s)
        got = 0
        while got < 1_000_000:
            got += len(s.recv(65536))
        s.sendall(b"stop")
        assert read_all(s) == b""
        assert server.errors == []


def test_request_ends_while_another_greenlet_reads():
    raised = []

    def handle(stream):
        def read():
            try:
                stream.recv(10)
            except BaseException as exc:
                raised.append(type(exc))

        gevent.spawn(read)
        gevent.sleep(0.001)

    with serving(upgraded(handle)) as server, connect(server) as s:
        s.sendall(UPGRADE)
        skip_head(s)
        assert read_all(s) == b""
        until(lambda: raised)
        assert server.errors == []


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "nonsense"])
def test_upgrade_by_another_status(status):
    def app(environ, start_response):
        with pytest.raises(ValueError):
            environ["coir.upgrade"](status, [])
        return hello(environ, start_response)

    with serving(app) as server:
        assert b"hello" in talk(
            server, UPGRADE.replace(b"Upgrade\r\n", b"Upgrade, close\r\n", 1)
        )
        assert server.errors == []


def test_upgrade_is_for_who_asked():
    seen = []
    with serving(collect(seen)) as server:
        get(server)
    assert "coir.upgrade" not in seen[0]


# --- TLS


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A self-signed certificate with its key, in one file."""
    path = tmp_path_factory.mktemp("tls") / "cert.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 "
        "-nodes -days 2 -subj /CN=localhost -addext "
        "subjectAltName=DNS:localhost,IP:127.0.0.1"
    )
    try:
        subprocess.run(
            [*command.split(), "-keyout", path, "-out", f"{path}.crt"],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("no openssl program")
    with open(path, "ab") as file, open(f"{path}.crt", "rb") as crt:
        file.write(crt.read())
    return str(path)


@contextlib.contextmanager
def tls(app, certificate, **options):
    """A server, and what makes a TLS connection to it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(["http/1.1"])

    def connect_tls(**kwargs):
        context = green_ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(certificate)
        context.set_alpn_protocols(["h2", "http/1.1"])
        if "version" in kwargs:
            context.maximum_version = kwargs["version"]
        return context.wrap_socket(connect(server), server_hostname="localhost")

    with serving(app, ssl_context=context, **options) as server:
        yield server, connect_tls


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_tls(certificate, version):
    seen = []

    def app(environ, start_response):
        seen.append(environ)
        return echo(environ, start_response)

    with tls(app, certificate) as (server, connect_tls):
        with connect_tls(version=ssl.TLSVersion[version]) as s:
            assert s.selected_alpn_protocol() == "http/1.1"
            for size in 0, 10, 100_000, 3_000_000:
                body = os.urandom(size)
                sender = gevent.spawn(s.sendall, post(body))
                assert response(s).read() == body
                sender.get()
        assert server.errors == []
        assert server.urls[0].startswith("https://")
    assert seen[0]["wsgi.url_scheme"] == "https"
    assert seen[0]["HTTPS"] == "on"
    assert seen[0]["coir.ssl_object"].selected_alpn_protocol() == "http/1.1"


def test_tls_pipelining_and_close(certificate):
    with tls(hello, certificate) as (server, connect_tls):
        with connect_tls() as s:
            s.sendall(GET * 9 + GET_CLOSE)
            data = read_all(s)
            assert data.count(b"hello") == 10


def test_tls_file(certificate, file):
    app = wrapped(lambda: open(file, "rb"))
    with tls(app, certificate) as (server, connect_tls), connect_tls() as s:
        for _ in range(2):
            s.sendall(GET)
            assert response(s).read() == file.read_bytes()


def test_tls_silence_and_nonsense(certificate):
    """Who does not shake hands holds nobody up, and does not stay."""
    with tls(hello, certificate, handshake_timeout=0.1) as (server, connect_tls):
        with contextlib.ExitStack() as stack:
            silent = [stack.enter_context(connect(server)) for _ in range(50)]
            half = stack.enter_context(connect(server))
            half.sendall(b"\x16\x03\x01\x02\x00\x01")
            plain = stack.enter_context(connect(server))
            plain.sendall(GET)
            with connect_tls() as s:
                s.sendall(GET)
                assert response(s).read() == b"hello"
            read_all(plain)
            for s in [*silent, half]:
                with contextlib.suppress(ConnectionResetError):
                    assert read_all(s) == b""
        counters = server.counters()
        assert counters["handshake_timeouts"] == 51
        assert counters["handshake_errors"] == 1
        assert counters["requests"] == 1


def test_tls_upgrade(certificate):
    def handle(stream):
        while data := stream.recv(100_000):
            stream.sendall(data.upper())

    with tls(upgraded(handle), certificate) as (server, connect_tls):
        with connect_tls() as s:
            s.sendall(UPGRADE)
            skip_head(s)
            for size in 1, 50_000:
                s.sendall(b"x" * size)
                got = b""
                while len(got) < size:
                    got += s.recv(100_000)
                assert got == b"X" * size
        assert server.errors == []


def test_tls_reset_at_every_stage(certificate):
    with tls(echo, certificate) as (server, connect_tls):
        for data in b"", GET[:10], post(b"abc", 10), GET * 20:
            s = connect_tls()
            s.sendall(data)
            reset(s)
        with connect_tls() as s:
            s.sendall(GET)
            assert response(s).status == 200
        until(lambda: server.counters()["connections"] == 0)
        assert server.errors == []


# --- nothing is left

LEAKS = """
import gc, json, os, resource, sys, tempfile
import coir.gevent as gevent, coir.http
from coir.gevent import socket
from coir.gevent import ssl as green_ssl

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
name = sys.argv[1]
file = tempfile.TemporaryFile()
file.write(b"x" * 10_000)
file.flush()

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/error":
        raise KeyError
    if path == "/twice":
        start_response("200 OK", [("A", "b")])
        start_response("200 OK", [("A", "b")])
    if path == "/refused":
        start_response("200 OK", [("A", "b\\n")])
    if path == "/kept":
        environ["self"] = environ
        environ["start"] = start_response
    if path == "/killed":
        raise gevent.GreenletExit
    if path == "/upgrade":
        stream = environ["coir.upgrade"]("101 S", [("Upgrade", "x")])
        stream.sendall(stream.recv(10))
        return []
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/file":
        file.seek(0)
        return environ["wsgi.file_wrapper"](file.raw if 0 else Kept(file))
    if path == "/sendfile":
        return environ["wsgi.file_wrapper"](open("/etc/hostname", "rb"))
    if path == "/write":
        write(b"x" * 10)
    if path == "/generator":
        return (b"%d" % i for i in range(5))
    if path == "/input":
        f = environ["wsgi.input"]
        return [f.readline(), f.read(2), *f]
    return [b"hello"]

class Kept:
    def __init__(self, file):
        self.read = file.read

class Server(coir.http.Server):
    def report(self, environ, exc):
        pass

heads = {
    "input": b"POST /input HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 9\\r\\n"
             b"\\r\\nab\\ncd\\nef\\n",
    "half": b"POST /input HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 9\\r\\n"
            b"Connection: close\\r\\n\\r\\nab\\ncd",
    "bad": b"GET / HTTP/1.1\\r\\n\\r\\n",
    "fields": b"GET / HTTP/1.1\\r\\nHost: a\\r\\nX-%d: a\\r\\nX-%d: b\\r\\n\\r\\n",
    "upgrade": b"GET /upgrade HTTP/1.1\\r\\nHost: a\\r\\nConnection: upgrade\\r\\n"
               b"Upgrade: x\\r\\n\\r\\nhello",
}
head = heads.get(
    name, b"GET /%s HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n" % name.encode()
)
closes = name in ("half", "bad", "upgrade")
server = Server(app, port=0, access_log=lambda line: None)
server.start()
conn = None

def once(i):
    global conn
    if conn is None:
        conn = socket.create_connection(("127.0.0.1", server.port))
    conn.sendall(head % (i, i) if b"%d" in head else head)
    if name == "half":
        conn.shutdown(1)
    got = b""
    while True:
        some = conn.recv(65536)
        got += some
        if not some:
            conn.close()
            conn = None
            return
        body = got.partition(b"\\r\\n\\r\\n")[2]
        if closes:
            continue
        lower = got.lower()
        if b"chunked" in lower and got.endswith(b"0\\r\\n\\r\\n"):
            return
        at = lower.find(b"content-length: ")
        if at >= 0 and b"\\r\\n\\r\\n" in got:
            if len(body) >= int(lower[at + 16:].split(b"\\r")[0]):
                return

def count():
    gevent.sleep(0)
    gc.collect()
    with open("/proc/self/statm") as f:
        pages = int(f.read().split()[1])
    return sys.getallocatedblocks(), len(os.listdir("/proc/self/fd")), pages

times = int(sys.argv[2])
for i in range(600):
    once(i)
before = count()
for i in range(times):
    once(i)
after = count()
print(json.dumps([b - a for a, b in zip(before, after)]))
server.stop(1)
"""


@pytest.mark.parametrize(
    "name",
    [
        "hello", "error", "twice", "refused", "kept", "killed", "write",
        "generator", "file", "sendfile", "input", "half", "bad", "fields",
        "upgrade",
    ],
)  # fmt: skip
def test_nothing_leaks(name):
    times = 20_000 if name == "hello" else 1500
    out = subprocess.run(
        [sys.executable, "-c", LEAKS, name, str(times)],
        capture_output=True,
        timeout=300,
        text=True,
    )
    assert out.returncode == 0, out.stderr
    import json

    blocks, fds, pages = json.loads(out.stdout)
    assert abs(blocks) < 100
    assert fds <= 0
    assert pages * 4096 < times * 100 + 2_000_000
