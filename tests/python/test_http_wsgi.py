"""What a WSGI application is given by coir.http, and may answer."""

import logging
import sys
import wsgiref.validate

import coir.gevent as gevent
import coir.http
import pytest
from coir.gevent.event import Event
from http_helper import (
    GET,
    GET_CLOSE,
    LONG,
    TEXT,
    collect,
    connect,
    environ_of,
    get,
    hello,
    reset,
    response,
    serving,
    talk,
)

# --- environ


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
        "/bytearrays": [bytearray(b"a")],
        "/views": iter([memoryview(b"a")]),
        "/many": [b"a", bytearray(b"b")] * 100,
    }

    def app(environ, start_response):
        start_response("200 OK", TEXT)
        return results[environ["PATH_INFO"]]

    with serving(app) as server:
        for path in results:
            assert get(server, path)[0].status == 500
        assert [type(e) for e in server.errors] == [TypeError] * 8
        assert [str(e).partition(" must ")[0] for e in server.errors] == (
            ["what an application returns"] * 2
            + ["'NoneType' object is not iterable"]
            + ["an item of the body"] * 5
        )


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
