"""Bodies of requests, files, and upgraded connections of coir.http."""

import io
import os
import socket as _socket
import threading

import coir.gevent as gevent
import coir.http
import pytest
from coir.gevent.event import Event
from http_helper import (
    CHUNKED,
    GET,
    GET_CLOSE,
    LONG,
    TEXT,
    UPGRADE,
    collect,
    connect,
    echo,
    get,
    hello,
    post,
    read_all,
    response,
    serving,
    skip_head,
    talk,
    until,
    upgraded,
    wrapped,
)

# --- bodies of requests


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


# --- upgraded connections


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
