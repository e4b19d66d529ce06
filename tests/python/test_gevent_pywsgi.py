"""The WSGI server of coir.gevent: what gevent's own tests do not ask for."""

import array
import errno
import gc
import io
import logging
import os
import random
import socket as native
import subprocess
import sys
import weakref
from wsgiref.validate import validator

import pytest
from coir import gevent
from coir._core import (
    HTTPError,
    HTTPInputError,
    HTTPReader,
    Input,
    http_chunk,
    http_date,
    http_encode_headers,
    http_response,
    http_sendall,
)
from coir.gevent import pywsgi, socket
from coir.gevent.pool import Pool

HERE = ("127.0.0.1", 0)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(autouse=True)
def deadline():
    with gevent.Timeout(60):
        yield


class Lines(list):
    """A log."""

    write = list.append
    writelines = list.extend

    def flush(self):
        pass


@pytest.fixture
def serve():
    """Start servers of an application; they are stopped at the end."""
    servers = []

    def start(app, listener=HERE, start=True, cls=pywsgi.WSGIServer, **kwargs):
        kwargs.setdefault("log", Lines())
        kwargs.setdefault("error_log", Lines())
        server = cls(listener, app, **kwargs)
        servers.append(server)
        if start:
            server.start()
        return server

    yield start
    for server in servers:
        server.stop(timeout=0.1)


def connect(server):
    sock = socket.create_connection(("127.0.0.1", server.server_port))
    sock.settimeout(30)
    return sock


def read_all(sock):
    parts = []
    while True:
        try:
            data = sock.recv(65536)
        except ConnectionResetError:
            break
        if not data:
            break
        parts.append(data)
    return b"".join(parts)


def ask(server, request, end=False):
    """Send it, and read up to the end of the connection."""
    with connect(server) as sock:
        sock.sendall(request)
        if end:
            sock.shutdown(native.SHUT_WR)
        return read_all(sock)


def head_of(answer):
    """The status and the fields of a response, and what follows."""
    head, _, body = answer.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    return (
        line.partition(" ")[2],
        dict(field.split(": ", 1) for field in fields),
        body,
    )


def read_response(file):
    """One response that tells its length, of a file."""
    status = file.readline()
    fields = {}
    while (line := file.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode().rstrip().partition(": ")
        fields[name] = value
    return status, fields, file.read(int(fields.get("Content-Length", 0)))


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def echo(environ, start_response):
    data = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [data]


# --- what is refused ---------------------------------------------------------

REFUSED = {
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "both": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "two lengths": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
        b"Content-Length: 6\r\n\r\nhello!",
        400,
    ),
    "signed": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
        400,
    ),
    "negative": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello",
        400,
    ),
    "space before colon": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n",
        400,
    ),
    "unknown coding": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
        400,
    ),
    "folded": (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400),
    "bare lf": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "bare cr": (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
    "nul": (b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400),
    "no colon": (b"GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n", 400),
    "version": (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
    "no version": (b"GET /\r\n\r\n", 400),
    "spaces": (b"GET  /  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "target": (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "fragment": (b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "long line": (
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        414,
    ),
    "long field": (
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
        431,
    ),
    "many fields": (
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 200 + b"\r\n",
        431,
    ),
    "expectation": (
        b"POST / HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\n"
        b"Content-Length: 1\r\n\r\na",
        417,
    ),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_answered_once(serve, name):
    request, status = REFUSED[name]
    calls = []
    server = serve(lambda *args: calls.append(args), start=False)
    server.lenient = ()
    server.start()
    answer = ask(server, request + b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n")
    line, fields, body = head_of(answer)
    assert int(line.split()[0]) == status
    assert fields["Connection"] == "close"
    assert body == b"" and answer.count(b"HTTP/1.1 ") == 1
    assert calls == []
    (logged,) = server.log
    assert f'" {status} - ' in logged and logged.count("\n") == 1
    assert "127.0.0.1" in server.error_log[0]


@pytest.mark.parametrize(
    ("name", "leniency"),
    [
        ("no host", "no-host"),
        ("folded", "folded"),
        ("bare lf", "bare-lf"),
        ("target", "raw-target"),
    ],
)
def test_what_may_be_tolerated(serve, name, leniency):
    server = serve(hello, start=False)
    server.lenient = [leniency]
    server.start()
    answer = ask(server, REFUSED[name][0], end=True)
    assert head_of(answer)[0] == "200 OK"


def test_by_default_only_host_may_miss(serve):
    assert pywsgi.WSGIServer.lenient == ("no-host",)
    server = serve(hello)
    for name, (request, status) in REFUSED.items():
        answer = head_of(ask(server, request, end=True))[0]
        assert int(answer.split()[0]) == (200 if name == "no host" else status)


def test_folded_fields_are_joined(serve):
    seen = []

    def app(environ, start_response):
        seen.append(environ["HTTP_X"])
        return hello(environ, start_response)

    server = serve(app, start=False)
    server.lenient = ("folded",)
    server.start()
    ask(server, b"GET / HTTP/1.0\r\nX: a\r\n\tb\r\n\r\n")
    assert [value.split() for value in seen] == [["a", "b"]]


def test_the_log_shows_a_refused_line_harmlessly(serve):
    server = serve(hello)
    ask(server, b"GET /\x1b[2J\x07 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert '"GET /\\x1b[2J\\x07 HTTP/1.1" 400' in server.log[0]


def test_a_head_that_ends_too_early_is_no_request(serve):
    calls = []
    server = serve(lambda *args: calls.append(args))
    answer = ask(server, GET[:-2], end=True)
    assert head_of(answer)[0] == "400 Bad Request" and calls == []


@pytest.mark.parametrize("request_", [b"", b"\r\n"])
def test_a_client_that_sends_nothing_is_no_error(serve, request_):
    server = serve(hello)
    assert ask(server, request_, end=True) == b""
    assert server.log == server.error_log == []


# --- connections -------------------------------------------------------------


def test_pipelined_requests_are_answered_in_order(serve):
    def app(environ, start_response):
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    server = serve(app)
    requests = b"".join(
        b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % i for i in range(50)
    )
    answer = ask(server, requests, end=True)
    bodies = [
        part.partition(b"\r\n\r\n")[2]
        for part in answer.split(b"HTTP/1.1 200 OK\r\n")[1:]
    ]
    assert bodies == [b"/%d" % i for i in range(50)]


def test_a_client_that_does_not_wait_lets_others_run(serve):
    runs = []

    def tick():
        while True:
            runs.append(served)
            gevent.sleep(0)

    served = 0

    def app(environ, start_response):
        nonlocal served
        served += 1
        return hello(environ, start_response)

    server = serve(app)
    ticker = gevent.spawn(tick)
    ask(server, GET * 300, end=True)
    ticker.kill()
    inside = {run for run in runs if 0 < run < 300}
    assert len(inside) >= 10


def test_a_head_may_come_byte_by_byte(serve):
    server = serve(echo)
    request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    with connect(server) as sock:
        sock.setsockopt(native.IPPROTO_TCP, native.TCP_NODELAY, 1)
        for at in range(len(request)):
            sock.sendall(request[at : at + 1])
            gevent.sleep(0)
        with sock.makefile("rb") as file:
            assert read_response(file)[2] == b"abc"


def test_the_answer_is_sent_at_once(serve):
    sent = []

    class Handler(pywsgi.WSGIHandler):
        def _sendall(self, data):
            sent.append(bytes(data))
            super()._sendall(data)

    server = serve(hello, handler_class=Handler)
    answer = ask(
        server, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    )
    assert sent == [answer]
    option = (native.IPPROTO_TCP, native.TCP_NODELAY)
    seen = []
    server.application = lambda environ, start_response: (
        seen.append(environ["wsgi.input"].rfile._sock.getsockopt(*option)),
        hello(environ, start_response),
    )[1]
    ask(server, GET, end=True)
    assert seen == [1]


def test_http_1_0(serve):
    server = serve(hello)
    status, fields, body = head_of(ask(server, b"GET / HTTP/1.0\r\n\r\n"))
    assert fields["Connection"] == "close" and body == b"hello"
    request = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    answer = ask(server, request * 2, end=True)
    assert answer.count(b"Connection: keep-alive") == 2

    def unknown(environ, start_response):
        start_response("200 OK", [])
        yield b"a"
        yield b"b"

    server.application = unknown
    answer = ask(server, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    status, fields, body = head_of(answer)
    assert fields["Connection"] == "close" and body == b"ab"
    assert "Transfer-Encoding" not in fields


def test_connection_close_is_said(serve):
    def app(environ, start_response):
        start_response("200 OK", [("Connection", "Close")])
        return [b"hello"]

    server = serve(hello)
    request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert head_of(ask(server, request))[1]["Connection"] == "close"
    server.application = app
    assert head_of(ask(server, GET))[1]["Connection"] == "Close"


def test_head_has_no_body(serve):
    def app(environ, start_response):
        if environ["PATH_INFO"] == "/list":
            start_response("200 OK", [])
            return [b"hello"]
        start_response("200 OK", [])
        return iter([b"hello", b"world"])

    server = serve(app)
    with connect(server) as sock:
        with sock.makefile("rb") as file:
            for path in (b"/list", b"/iter"):
                sock.sendall(b"HEAD %s HTTP/1.1\r\nHost: a\r\n\r\n" % path)
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += file.readline()
                says = {b"/list": b"Content-Length: 5", b"/iter": b"chunked"}
                assert says[path] in head
            sock.sendall(GET)
            assert file.readline() == b"HTTP/1.1 200 OK\r\n"


def test_after_101_no_request_is_read(serve):
    def app(environ, start_response):
        assert environ["wsgi.input_terminated"] is False
        write = start_response(
            "101 Switching Protocols",
            [("Upgrade", "echo"), ("Connection", "Upgrade")],
        )
        write(b"")
        data = environ["wsgi.input"].read(5)
        environ["wsgi.input"]._sock.sendall(data.upper())
        return []

    server = serve(app)
    request = (
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
        b"Upgrade: echo\r\n\r\nhello"
    )
    answer = ask(server, request + GET)
    status, fields, body = head_of(answer)
    assert status == "101 Switching Protocols" and body == b"HELLO"
    assert "Content-Length" not in fields
    assert "Transfer-Encoding" not in fields


def test_a_body_is_no_upgraded_stream(serve):
    """Or what an application leaves of it would be the next request."""

    def app(environ, start_response):
        assert environ["wsgi.input_terminated"] is True
        return hello(environ, start_response)

    server = serve(app)
    body = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = ask(
        server,
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
        b"Upgrade: websocket\r\nContent-Length: %d\r\n\r\n%s"
        % (len(body), body),
        end=True,
    )
    assert answer.count(b"HTTP/1.1 200") == 1


def test_ssl(serve, tmp_path):
    cert, key = make_certificate(tmp_path)
    server = serve(echo, keyfile=key, certfile=cert)
    with native.create_connection(("127.0.0.1", server.server_port)):
        pass  # no handshake at all
    script = (
        "import ssl, socket, sys\n"
        "context = ssl._create_unverified_context()\n"
        "sock = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
        "with context.wrap_socket(sock) as s:\n"
        "    s.sendall(b'POST / HTTP/1.1\\r\\nHost: a\\r\\nConnection: close"
        "\\r\\nContent-Length: 200000\\r\\n\\r\\n' + b'x' * 200000)\n"
        "    data = b''\n"
        "    while got := s.recv(65536):\n"
        "        data += got\n"
        "assert data.endswith(b'x' * 200000)\n"
    )
    from coir.gevent.subprocess import run

    done = run([sys.executable, "-c", script, str(server.server_port)])
    assert done.returncode == 0
    assert server.environ["wsgi.url_scheme"] == "https"


def make_certificate(path):
    key, cert = str(path / "key.pem"), str(path / "cert.pem")
    try:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"]
            + ["-keyout", key, "-out", cert, "-days", "2"]
            + ["-subj", "/CN=localhost"],
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no openssl")
    return cert, key


def test_a_silent_client_of_ssl_is_dropped(serve, tmp_path):
    cert, key = make_certificate(tmp_path)
    server = serve(hello, keyfile=key, certfile=cert, start=False, spawn=1)
    server.handshake_timeout = 0.05
    server.start()
    with connect(server) as sock:
        assert read_all(sock) == b""
    assert "the handshake took too long" in server.error_log[0]


def test_unix_socket(serve, tmp_path):
    path = str(tmp_path / "socket")
    listener = native.socket(native.AF_UNIX)
    listener.bind(path)
    listener.listen()
    seen = {}

    def app(environ, start_response):
        seen.update(environ)
        return hello(environ, start_response)

    server = serve(app, listener)
    with socket.socket(native.AF_UNIX) as sock:
        sock.connect(path)
        sock.sendall(GET)
        sock.shutdown(native.SHUT_WR)
        assert read_all(sock).endswith(b"hello")
    assert "REMOTE_ADDR" not in seen and seen["SERVER_NAME"] == ""
    assert server.log[0].startswith("- - - [")


# --- slow clients ------------------------------------------------------------


def test_half_a_head_is_dropped(serve):
    server = serve(hello, start=False)
    server.head_timeout = 0.05
    server.start()
    answer = ask(server, GET[:-2])
    assert head_of(answer)[0] == "408 Request Timeout"


def test_silence_is_dropped(serve):
    server = serve(hello, start=False, spawn=Pool(1))
    server.head_timeout = 0.05
    server.start()
    assert ask(server, b"") == b""
    assert server.log == server.error_log == []
    assert ask(server, GET, end=True).endswith(b"hello")


def test_an_idle_connection_is_dropped(serve):
    server = serve(hello, start=False)
    server.idle_timeout = 0.05
    server.start()
    answer = ask(server, GET)
    assert answer.endswith(b"hello") and len(server.log) == 1


def reading(seen):
    """An application that reads a body, and notes that it took too long."""

    def app(environ, start_response):
        try:
            environ["wsgi.input"].read()
        except TimeoutError as ex:
            seen.append(ex)
        return hello(environ, start_response)

    return app


def test_a_body_that_does_not_come_is_an_error(serve):
    seen = []
    server = serve(reading(seen), start=False)
    server.body_timeout = server.discard_timeout = 0.05
    server.start()
    answer = ask(
        server, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"
    )
    assert len(seen) == 1 and answer.endswith(b"hello")


def test_a_body_that_trickles_is_an_error(serve):
    """A byte now and then is enough for no slot."""
    seen = []
    server = serve(reading(seen), start=False)
    server.body_timeout, server.min_rate = 0.1, 1000
    server.start()
    with connect(server) as sock:
        sock.sendall(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n"
        )
        for _ in range(2000):
            if seen:
                break
            sock.send(b"x")
            gevent.sleep(0.005)
        assert seen
        assert b"hello" in read_all(sock)


def test_clients_that_do_not_read_free_their_slots(serve):
    """Eight of them took a server of eight slots for ever."""

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/":
            return hello(environ, start_response)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"x" * (32 << 20)] * 3

    pool = Pool(8)
    server = serve(app, start=False, spawn=pool)
    server.write_timeout, server.min_rate = 0.1, 1 << 30
    server.start()
    silent = [connect(server) for _ in range(8)]
    for sock in silent:
        sock.sendall(GET.replace(b"/", b"/large", 1))
    assert ask(server, GET, end=True).endswith(b"hello")
    pool.join(30)
    assert pool.free_count() == 8 and server.error_log == []
    assert len(server.log) == 9
    for sock in silent:
        sock.close()


def test_a_client_that_reads_slowly_gets_all(serve):
    """What counts is the rate: a second for each `min_rate` bytes."""
    size = 8 << 20

    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", str(size))])
        return [b"x" * size]

    server = serve(app, start=False)
    server.write_timeout = 0.01
    server.start()
    got = 0
    with connect(server) as sock:
        sock.sendall(GET)
        while got < size:
            data = sock.recv(1 << 16)
            assert data
            got += len(data)
            gevent.sleep(0.0005)


# --- bodies ------------------------------------------------------------------

CHUNKED = (
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"4;a=b\r\nWiki\r\n6\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\n"
    b"X-Trailer: yes\r\n\r\n"
)


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_chunked_bodies(serve, step):
    server = serve(echo)
    with connect(server) as sock:
        for at in range(0, 2 * len(CHUNKED), step):
            sock.sendall((CHUNKED * 2)[at : at + step])
            gevent.sleep(0)
        with sock.makefile("rb") as file:
            for _ in range(2):
                body = read_response(file)[2]
                assert body == b"Wikipedia in \r\n\r\nchunks."


def test_what_an_application_leaves_is_dropped(serve):
    server = serve(hello)
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40000\r\n\r\n"
    answer = ask(server, (post + b"x" * 40000) * 2 + CHUNKED, end=True)
    assert answer.count(b"200 OK") == 3


def test_more_than_a_limit_of_it_closes(serve):
    server = serve(hello, start=False)
    server.max_discard = 1000
    server.start()
    with connect(server) as sock:
        post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n"
        sock.sendall(post)
        assert read_all(sock).count(b"200 OK") == 1


@pytest.mark.parametrize(
    "body",
    [b"xyz\r\n", b"3\r\nabcd\r\n", b"-1\r\n", b"0x3\r\nabc\r\n", b"\r\n\r\n"],
)
def test_a_body_that_is_not_valid(serve, body):
    server = serve(echo)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = ask(server, head + body + b"0\r\n\r\n" + GET)
    assert head_of(answer)[0] == "400 Bad Request"
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_body_that_ends_too_early(serve):
    errors = []

    def app(environ, start_response):
        try:
            environ["wsgi.input"].read()
        except OSError as ex:
            errors.append(str(ex))
        return hello(environ, start_response)

    server = serve(app)
    ask(
        server,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
        end=True,
    )
    ask(server, CHUNKED[:-40], end=True)
    assert errors == [
        "unexpected end of file while reading request at position 3",
        "unexpected end of file while parsing chunked data",
    ]


def test_continue_is_said_when_the_body_is_read(serve):
    server = serve(echo)
    head = (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
        b"Expect: 100-Continue\r\n\r\n"
    )
    with connect(server) as sock, sock.makefile("rb") as file:
        sock.sendall(head)
        assert file.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert file.readline() == b"\r\n"
        sock.sendall(b"hello")
        assert read_response(file)[2] == b"hello"
        server.application = hello
        sock.sendall(head + b"hello")
        assert read_response(file)[0] == b"HTTP/1.1 200 OK\r\n"


def test_continue_is_not_said_after_the_response_began(serve):
    def app(environ, start_response):
        write = start_response("200 OK", [])
        write(b"a")
        return [environ["wsgi.input"].read()]

    server = serve(app)
    answer = ask(
        server,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
        b"Expect: 100-continue\r\n\r\nb",
        end=True,
    )
    assert b"100 Continue" not in answer
    assert answer.endswith(b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n")


def test_large_bodies_both_ways(serve):
    server = serve(echo)
    body = os.urandom(3_000_000)
    with connect(server) as sock:
        sender = gevent.spawn(
            sock.sendall,
            b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body),
        )
        assert read_all(sock).endswith(body)
        sender.get()


def test_lines_of_a_body(serve):
    lines = []

    def app(environ, start_response):
        body = environ["wsgi.input"]
        lines.append(body.readline())
        lines.append(body.readline(2))
        lines.append(body.readlines(3))
        lines.extend(body)
        lines.append(body.read())
        return hello(environ, start_response)

    server = serve(app)
    for head, body in (
        (b"Content-Length: 19", b"one\ntwo\nthree\n\nfour"),
        (b"Transfer-Encoding: chunked", None),
    ):
        if body is None:
            body = b"".join(
                http_chunk(part) for part in (b"o", b"ne\ntw", b"o\nthree\n\n")
            )
            body += http_chunk(b"four") + b"0\r\n\r\n"
        lines.clear()
        ask(
            server,
            b"POST / HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n%s" % (head, body),
            end=True,
        )
        assert lines == [
            b"one\n",
            b"tw",
            [b"o\n", b"three\n"],
            b"\n",
            b"four",
            b"",
        ]


# --- environ -----------------------------------------------------------------


def test_environ(serve):
    seen = {}

    def app(environ, start_response):
        seen.update(environ)
        return hello(environ, start_response)

    server = serve(app, environ={"mine": 1})
    ask(
        server,
        b"GET http://b:80/a%20%c3%a9/%2f;x?q=%20&r HTTP/1.1\r\nHost: a\r\n"
        b"Content-Type: text/plain\r\nX-One: 1\r\nx-one: 2\r\nX_One: 3\r\n"
        b"Cookie: c\r\nCookie: d\r\nX-Latin: \xe9\r\nEmpty:\r\n\r\n",
        end=True,
    )
    for key in ("REMOTE_PORT", "wsgi.input", "wsgi.errors", "SERVER_NAME"):
        assert seen.pop(key) is not None
    assert seen == {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_SOFTWARE": pywsgi.WSGIServer.base_env["SERVER_SOFTWARE"],
        "SCRIPT_NAME": "",
        "SERVER_PORT": str(server.server_port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/a \xc3\xa9//;x",
        "QUERY_STRING": "q=%20&r",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_TYPE": "text/plain",
        "HTTP_HOST": "b:80",
        "HTTP_X_ONE": "1,2",
        "HTTP_COOKIE": "c; d",
        "HTTP_X_LATIN": "\xe9",
        "HTTP_EMPTY": "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "mine": 1,
    }
    assert seen["SERVER_SOFTWARE"].startswith("gevent/")


@pytest.mark.parametrize(
    "request_",
    [
        GET,
        CHUNKED,
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"HEAD /a?b HTTP/1.0\r\n\r\n",
    ],
)
def test_wsgiref_validates_it(serve, request_):
    if request_.startswith(b"OPTIONS"):
        request_ = b"OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n"
    server = serve(validator(hello))
    answer = ask(server, request_, end=True)
    assert head_of(answer)[0] == "200 OK" and server.error_log == []


def test_environ_class(serve):
    kinds = []

    def app(environ, start_response):
        kinds.append((type(environ), repr(environ)))
        return hello(environ, start_response)

    server = serve(app, start=False)
    server.environ_class = pywsgi.SecureEnviron
    server.start()
    ask(server, GET, end=True)
    ((kind, text),) = kinds
    assert kind is pywsgi.SecureEnviron and text.startswith("<pywsgi.Secure")


# --- responses ---------------------------------------------------------------


def test_lists_are_sent_with_their_length(serve):
    def app(environ, start_response):
        start_response("200 OK", [])
        return [b"a", bytearray(b"b"), b"", memoryview(b"c")]

    assert head_of(ask(serve(app), GET, end=True))[1:] == (
        {"Date": http_date().decode(), "Content-Length": "3"},
        b"abc",
    )


@pytest.mark.parametrize("kind", ["one", "two", "iterator", "write"])
def test_views_of_what_is_larger_than_bytes(serve, kind):
    """Lengths are of bytes: else the next response would be misread."""
    items = array.array("I", [1, 2])

    def app(environ, start_response):
        write = start_response("200 OK", [])
        if kind == "iterator":
            return iter([items, memoryview(items)])
        if kind == "write":
            write(items)
        return [memoryview(items), items] if kind == "two" else [items]

    answer = ask(serve(app), GET, end=True)
    _, fields, body = head_of(answer)
    if "Content-Length" in fields:
        assert int(fields["Content-Length"]) == len(body)
    else:
        assert body.startswith(b"8\r\n") and body.endswith(b"\r\n0\r\n\r\n")
    assert body.count(items.tobytes()) == (1 if kind == "one" else 2)


def test_a_raw_target_is_latin1_if_it_is_tolerated(serve):
    seen = []

    def app(environ, start_response):
        seen.append((environ["PATH_INFO"], environ["QUERY_STRING"]))
        return hello(environ, start_response)

    server = serve(app, start=False)
    server.lenient = ("raw-target",)
    server.start()
    target = "/\xe9%C3%A9?\xfc=1".encode()
    ask(server, b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n", end=True)
    assert seen == [("/\xc3\xa9\xc3\xa9", "\xc3\xbc=1")]


def test_no_more_than_content_length_is_sent(serve):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "3")])
        return [b"ab", b"cdef", b"ghi"]

    answer = ask(serve(app), GET + GET)
    assert answer.endswith(b"\r\n\r\nabc") and answer.count(b"200 OK") == 1

    def less(environ, start_response):
        start_response("200 OK", [("Content-Length", "3")])
        return iter([b"a"])

    answer = ask(serve(less), GET + GET)
    assert answer.endswith(b"\r\n\r\na") and answer.count(b"200 OK") == 1


@pytest.mark.parametrize(
    "headers",
    [
        [("X", "a\r\nb")],
        [("X\n", "a")],
        [("X", "a\0b")],
        [("X Y", "a")],
        [("", "a")],
        [("X", 1)],
        [("X", "\u0100")],
        [("X",)],
    ],
)
def test_headers_that_are_not_valid(serve, headers):
    def app(environ, start_response):
        start_response("200 OK", headers)
        return [b"secret"]

    server = serve(app)
    server.loop.handle_error = lambda *args: None
    try:
        answer = ask(server, GET)
    finally:
        del server.loop.handle_error
    assert head_of(answer)[0] == "500 Internal Server Error"
    assert b"secret" not in answer


def test_errors_are_reported_without_secrets(serve):
    reports = []
    server = serve(lambda *args: 1 / 0)
    loop = server.loop
    loop.handle_error = lambda *args: reports.append(args)
    try:
        answer = ask(server, GET[:-2] + b"Cookie: x\r\n\r\n")
    finally:
        del loop.handle_error
    ((context, kind, value, tb),) = reports
    assert kind is ZeroDivisionError and tb is not None
    assert isinstance(context, pywsgi.WSGISecureEnviron)
    assert "HTTP_HOST" in repr(context) and "COOKIE" not in repr(context)
    assert answer.endswith(b"\r\n\r\nInternal Server Error")


def test_a_response_that_is_no_bytes_is_an_error(serve):
    def app(environ, start_response):
        start_response("200 OK", [])
        return ["text"]

    server = serve(app)
    server.loop.handle_error = lambda *args: None
    try:
        answer = ask(server, GET)
    finally:
        del server.loop.handle_error
    assert head_of(answer)[0] == "500 Internal Server Error"


def test_an_application_may_be_replaced_by_its_error(serve):
    def app(environ, start_response):
        start_response("200 OK", [("X", "a")])
        try:
            raise ValueError
        except ValueError:
            start_response("500 Oops", [("Y", "b")], sys.exc_info())
        return [b"oops"]

    status, fields, _ = head_of(ask(serve(app), GET, end=True))
    assert status == "500 Oops" and "X" not in fields and fields["Y"] == "b"


def test_close_of_a_result_is_called_once(serve):
    class Result:
        closed = 0
        fails = False

        def __iter__(self):
            yield b"a"
            if self.fails:
                raise ValueError

        def close(self):
            self.closed += 1

    for fails in (False, True):
        result = Result()
        result.fails = fails

        def app(environ, start_response, result=result):
            start_response("200 OK", [])
            return result

        server = serve(app)
        server.loop.handle_error = lambda *args: None
        try:
            ask(server, GET, end=True)
        finally:
            del server.loop.handle_error
        assert result.closed == 1


def test_a_client_that_goes_away_is_no_error(serve):
    sent = []

    def app(environ, start_response):
        start_response("200 OK", [])
        for _ in range(10_000):
            sent.append(1)
            yield b"x" * 100_000

    reports = []
    server = serve(app)
    server.loop.handle_error = lambda *args: reports.append(args)
    try:
        with connect(server) as sock:
            sock.sendall(GET)
            sock.recv(1000)
            sock.setsockopt(
                native.SOL_SOCKET, native.SO_LINGER, b"\1\0\0\0\0\0\0\0"
            )
        while not server.log:
            gevent.sleep(0.001)
    finally:
        del server.loop.handle_error
    assert reports == [] and len(sent) < 10_000
    assert '"GET / HTTP/1.1" 200 ' in server.log[0]


# --- handlers ----------------------------------------------------------------


@pytest.mark.parametrize("log", [{}, {"log": None}])
def test_the_methods_are_called_in_order(serve, log):
    calls = []
    names = (
        "handle handle_one_request get_environ handle_one_response "
        "run_application start_response process_result write finalize_headers "
        "_sendall log_request format_request"
    ).split()

    def overriding(name):
        base = getattr(pywsgi.WSGIHandler, name)

        def method(self, *args):
            calls.append(name)
            return base(self, *args)

        return method

    cls = type(
        "Handler",
        (pywsgi.WSGIHandler,),
        {name: overriding(name) for name in names},
    )
    request = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    ask(serve(hello, handler_class=cls, **log), request)
    assert calls == names


def test_reading_may_be_overridden(serve):
    seen = []

    class Handler(pywsgi.WSGIHandler):
        def read_requestline(self):
            line = super().read_requestline()
            return line.replace("/old", "/new")

        def read_request(self, raw_requestline):
            assert super().read_request(raw_requestline)
            self.path = self.path.replace("new", "a%20b")
            self.headers["X-More"] = "yes"
            return True

    def app(environ, start_response):
        seen.append(environ)
        return echo(environ, start_response)

    server = serve(app, handler_class=Handler)
    post = b"POST /old?q HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"
    answer = ask(server, post + post, end=True)
    assert answer.count(b"\r\n\r\nab") == 2
    for environ in seen:
        assert environ["PATH_INFO"] == "/a b"
        assert environ["QUERY_STRING"] == "q"
        assert environ["HTTP_X_MORE"] == "yes"
        assert environ["HTTP_HOST"] == "a"
        assert environ["CONTENT_LENGTH"] == "2"


def test_what_is_read_may_be_a_file(serve):
    class Handler(pywsgi.WSGIHandler):
        def __init__(self, sock, address, server):
            super().__init__(sock, address, server, sock.makefile("rb"))

    server = serve(echo, handler_class=Handler)
    post = b"POST /old?q HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"
    answer = ask(server, post + CHUNKED + post, end=True)
    assert answer.count(b"\r\n\r\nab") == 2 and b"Wikipedia" in answer
    answer = ask(server, b"nonsense\r\n\r\n")
    assert head_of(answer)[0] == "400 Bad Request"


def test_attributes_that_handlers_use(serve):
    seen = []

    class Handler(pywsgi.WSGIHandler):
        def log_request(self):
            seen.append(dict(vars(self), headers=self.headers.items()))
            assert self.headers.get("host") == self.headers["HOST"] == "a"
            assert self.headers.getheader("x", "none") == "none"
            assert list(self.headers.headers) == ["Host: a\r\n"]

    ask(serve(hello, handler_class=Handler), GET, end=True)
    (attributes,) = seen
    assert attributes["status"] == b"200 OK"
    assert attributes["code"] == 200
    assert attributes["headers"] == [("Host", "a")]
    assert attributes["requestline"] == "GET / HTTP/1.1"
    assert attributes["command"] == "GET" and attributes["path"] == "/"
    assert attributes["request_version"] == "HTTP/1.1"
    assert attributes["headers_sent"] is True
    assert attributes["response_headers"][0] == (
        b"Content-Type",
        b"text/plain",
    )
    assert attributes["response_length"] > 100
    assert attributes["time_finish"] >= attributes["time_start"] > 0
    assert attributes["client_address"][0] == "127.0.0.1"
    assert attributes["content_length"] is None


def test_a_websocket_handler_takes_the_connection(serve):
    """As gevent-websocket's does it."""

    class Handler(pywsgi.WSGIHandler):
        def run_application(self):
            if self.environ.get("HTTP_UPGRADE") != "websocket":
                return super().run_application()
            self.start_response(
                "101 Switching Protocols", [("Upgrade", "websocket")]
            )
            self.provided_content_length = False
            self.response_use_chunked = False
            self.close_connection = True
            self.provided_date = True
            self.write("")
            while data := self.rfile.read(3):
                self.socket.sendall(data.upper())

    server = serve(hello, handler_class=Handler)
    request = GET.replace(b"\r\n\r\n", b"\r\nUpgrade: websocket\r\n\r\nabcdef")
    answer = ask(server, request, end=True)
    assert answer == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nABCDEF"
    )
    assert ask(server, GET, end=True).endswith(b"hello")


def test_an_application_may_take_the_socket(serve):
    """As simple-websocket does it, without a call of start_response()."""

    def app(environ, start_response):
        sock = environ["wsgi.input"].raw._sock.dup()
        sock.sendall(b"mine")
        sock.close()
        return []

    request = GET.replace(
        b"\r\n\r\n", b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    )
    assert ask(serve(app), request) == b"mine"


def test_after_a_websocket_no_request_is_read(serve):
    request = (
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
        b"Upgrade: %s\r\n\r\n"
    )
    server = serve(hello)
    answer = ask(server, request % b"WebSocket" + GET)
    assert answer.count(b"200 OK") == 1 and b"Connection: close" in answer
    answer = ask(server, request % b"h2c" + GET, end=True)
    assert answer.count(b"200 OK") == 2


def test_logs(serve, caplog):
    logger = logging.getLogger("coir.test")
    with caplog.at_level(logging.INFO, logger="coir.test"):
        server = serve(hello, log=logger, error_log=logger)
        ask(server, GET, end=True)
        ask(server, b"\0\r\n\r\n")
    assert isinstance(server.log, pywsgi.LoggingLogAdapter)
    levels = [record.levelno for record in caplog.records]
    assert levels == [logging.INFO, logging.ERROR, logging.INFO]
    assert '"GET / HTTP/1.1" 200 ' in caplog.messages[0]
    server = serve(hello, log=None, error_log=None)
    assert ask(server, GET, end=True).endswith(b"hello")


def test_nothing_of_a_connection_is_left(serve):
    refs = []

    class Handler(pywsgi.WSGIHandler):
        def __init__(self, *args):
            super().__init__(*args)
            refs.append(weakref.ref(self))
            refs.append(weakref.ref(self.rfile))

    kept = []

    def app(environ, start_response):
        kept.append((environ, start_response))
        refs.append(weakref.ref(environ["wsgi.input"]))
        return echo(environ, start_response)

    server = serve(app, handler_class=Handler)
    ask(server, CHUNKED * 3, end=True)
    kept.clear()
    gevent.sleep(0)
    gc.collect()
    assert len(refs) == 5 and [ref() for ref in refs] == [None] * 5


# --- the types in C ----------------------------------------------------------


class Source:
    """A connection that gives its parts, one each time."""

    def __init__(self, *parts):
        self.parts = list(parts)
        self.timeouts = []
        self.timeout = None

    def recv(self, size):
        if not self.parts:
            return b""
        part = self.parts.pop(0)
        if isinstance(part, BaseException):
            raise part
        return part

    def gettimeout(self):
        return self.timeout

    def settimeout(self, value):
        self.timeout = value
        self.timeouts.append(value)


class Sink(Source):
    """A connection that somebody else made; its client takes nothing."""

    def sendall(self, data):
        self.parts.append((data, self.timeout))
        if self.timeout is not None:
            raise TimeoutError("timed out")


def test_sending_has_a_limit():
    sink = Sink()
    with pytest.raises(BrokenPipeError):
        http_sendall(sink, b"1234", 2, 8)
    assert sink.parts == [(b"1234", 2.5)] and sink.timeouts == [2.5, None]
    # One of its own that is lower stays, and what it raises, too.
    sink.timeout = 1
    with pytest.raises(TimeoutError, match="timed out"):
        http_sendall(sink, b"1234", 2, 0)
    assert sink.parts[1] == (b"1234", 1) and sink.timeout == 1
    sink.timeout = None
    for no_limit in (None, 0):
        http_sendall(sink, b"1234", no_limit, 8)
    assert sink.parts[3] == (b"1234", None)
    with pytest.raises(AttributeError):
        http_sendall(object(), b"", 1, 1)
    with pytest.raises(TypeError):
        http_sendall(sink, None, 1, 1)


@pytest.mark.parametrize("wait", ["read", "send"])
@pytest.mark.parametrize("error", [OSError, ValueError])
def test_a_timeout_that_cannot_be_set_back(monkeypatch, wait, error):
    """What was read or sent counts; only of a closed one it is no wonder."""

    class Stubborn(Sink):
        def settimeout(self, value):
            super().settimeout(value)
            if value is None:
                raise error("no")

        def sendall(self, data):
            self.parts.append(data)

    sink = Stubborn(GET) if wait == "read" else Stubborn()
    unraisable = []
    monkeypatch.setattr(
        sys, "unraisablehook", lambda args: unraisable.append(args.exc_type)
    )
    if wait == "read":
        reader = HTTPReader(sink)
        reader.head_timeout = 9
        assert reader.read_request().method == "GET"
    else:
        http_sendall(sink, b"1234", 2, 0)
        assert sink.parts == [b"1234"]
    assert sink.timeouts[-1] is None
    assert unraisable == ([ValueError] if error is ValueError else [])


def test_a_reader_is_a_file():
    reader = HTTPReader(Source(b"one\ntw", b"o\nthree", b" four\n", b"5"))
    assert reader.readline() == b"one\n"
    assert reader.readline(2) == b"tw"
    assert reader.peek(1) == b"o\nthree"
    assert reader.read(3) == b"o\nt"
    assert reader.read1() == b"hree"
    buffer = bytearray(3)
    assert reader.readinto(buffer) == 3 and bytes(buffer) == b" fo"
    assert reader.buffered == 3 and reader.take_buffered() == b"ur\n"
    assert reader.read() == b"5" and reader.read() == b""
    assert reader.readable() and not reader.closed
    with reader as same:
        assert same is reader
    assert reader.closed and reader._sock is None
    with pytest.raises(ValueError):
        reader.read(1)
    assert list(HTTPReader(Source(b"a\nb\nc"))) == [b"a\n", b"b\n", b"c"]
    assert HTTPReader(Source(b"a\nb\nc")).readlines(2) == [b"a\n"]


def test_a_request():
    rest = b"TP/1.1\r\nHost: h\r\nA: 1\r\na: 2\r\n\r\nX"
    source = Source(b"PURGE /a?b HT", rest)
    reader = HTTPReader(source)
    request = reader.read_request()
    assert request.method == "PURGE" and request.target == "/a?b"
    assert request.version == "HTTP/1.1"
    assert request.requestline == "PURGE /a?b HTTP/1.1"
    assert request.headers == [("Host", "h"), ("A", "1"), ("a", "2")]
    assert request.get("HOST") == "h" and request.get("b") is None
    assert request.get("b", 3) == 3 and request.get_all("A") == ["1", "2"]
    assert request.raw.startswith(b"PURGE") and request.raw.endswith(b"\n\r\n")
    assert request.content_length is None and not request.has_body
    assert request.keep_alive and not request.upgrade
    assert not request.expects_continue and not request.chunked
    assert repr(request) == "<HTTPRequest 'PURGE /a?b HTTP/1.1'>"
    assert reader.take_buffered() == b"X"
    assert reader.read_request() is None
    with pytest.raises(TypeError):
        request.fill_environ([])
    with pytest.raises(TypeError):
        type(request)()


def test_limits_of_a_reader():
    reader = HTTPReader(Source(GET))
    reader.max_fields = 1
    reader.max_line = 40
    assert (reader.max_fields, reader.max_line) == (1, 40)
    assert reader.read_request().get("host") == "a"
    for name, value in (("max_fields", 1001), ("max_line", 2**31)):
        with pytest.raises(ValueError):
            setattr(reader, name, value)
    for value in ("x", -1):
        with pytest.raises((TypeError, OverflowError)):
            reader.max_head = value
    with pytest.raises(TypeError):
        del reader.max_head
    reader = HTTPReader(Source(GET))
    reader.max_line = 10
    with pytest.raises(HTTPError) as caught:
        reader.read_request()
    assert caught.value.status == 414
    assert caught.value.code == "COIR_HTTP_ETARGETLEN"
    assert caught.value.reason == str(caught.value)


def test_limits_of_time_are_set_for_a_while():
    source = Source(GET[:5], GET[5:], GET, TimeoutError(), TimeoutError())
    reader = HTTPReader(source)
    reader.head_timeout = 5
    reader.idle_timeout = 7
    assert reader.read_request() and reader.read_request()
    assert reader.read_request() is None
    assert source.timeout is None
    assert source.timeouts[0] == 5 and 0 < source.timeouts[2] <= 5
    assert source.timeouts[4] == source.timeouts[6] == 7
    source.parts[:0] = [GET[:5]]
    with pytest.raises(HTTPError) as caught:
        reader.read_request()
    assert caught.value.status == 408
    source = Source(GET)
    source.timeout = 3
    reader = HTTPReader(source)
    reader.head_timeout = 5
    assert reader.read_request() and source.timeouts == []


def test_errors_of_sources_are_passed_on():
    for part in (OSError(errno.ECONNRESET, "reset"), KeyError("x")):
        reader = HTTPReader(Source(GET[:4], part))
        with pytest.raises(type(part)):
            reader.read_request()
    for part in ("text", None, 3):
        with pytest.raises(TypeError):
            HTTPReader(Source(part)).read(1)
    with pytest.raises(OSError):
        HTTPReader(Source(b"x" * 100_000)).read(1)
    with pytest.raises(TypeError):
        HTTPReader(object())


def test_next_of_an_input():
    body = Input(io.BytesIO(b"a\nb"), 3)
    assert [body.next(), body.next()] == [b"a\n", b"b"]
    with pytest.raises(StopIteration):
        body.next()


def test_inputs_of_files_read_no_further():
    file = io.BytesIO(b"5\r\nhello\r\n0\r\n\r\nrest")
    body = Input(file, None, chunked_input=True)
    assert body.rfile is file and body.chunked_input
    assert body.chunk_length == -1 and not body.done
    assert body.read(2) == b"he" and body.position == 2
    assert body.chunk_length == 3
    assert body.read() == b"llo" and body.done
    assert file.read() == b"rest"
    file = io.BytesIO(b"one\ntwo\nrest")
    body = Input(file, 8)
    assert body.content_length == 8 and body.readline() == b"one\n"
    assert body.read() == b"two\n" and file.read() == b"rest"
    assert Input(file, None).read() == b"" == Input(file, 0).readline()


def cut(data, rng):
    """The parts of it, of random lengths."""
    parts = []
    while data:
        at = rng.choice((1, 2, 3, 10, 100, 5000))
        parts.append(data[:at])
        data = data[at:]
    return parts


def send_parts(sock, parts):
    for part in parts:
        sock.sendall(part)
        gevent.sleep(0)


def read_at_random(body, rng):
    """All of a body, and what io.BytesIO gives for the same calls."""
    calls = []
    while True:
        name = rng.choice(("read", "readline"))
        size = rng.choice((1, 2, 7, 100, 6000, None))
        data = getattr(body, name)(size)
        calls.append((name, size, data))
        if not data:
            return calls


@pytest.mark.parametrize("kind", ["socket", "file", "green"])
def test_bodies_of_any_kind_in_any_parts(kind):
    rng = random.Random(7)
    for _ in range(60):
        size = rng.choice((0, 1, 50, 3000, 70_000))
        data = bytes(rng.choice(b"ab\n") for _ in range(size))
        if rng.random() < 0.5:
            head = b"Transfer-Encoding: chunked"
            pieces = cut(data, rng)
            sent = b"".join(map(http_chunk, pieces)) + b"0\r\nX: y\r\n\r\n"
        else:
            head = b"Content-Length: %d" % size
            sent = data
        sent = b"POST / HTTP/1.1\r\n%s\r\nHost: a\r\n\r\n%s" % (head, sent)
        closing = []
        if kind == "file":
            source = io.BytesIO(sent + GET)
        elif kind == "socket":
            source = Source(*cut(sent + GET, rng))
        else:
            source, peer = socket.socketpair()
            closing = [source, peer]
            sender = gevent.spawn(send_parts, peer, cut(sent + GET, rng))
        reader = HTTPReader(source)
        body = reader.read_request().input(reader)
        model = io.BytesIO(data)
        for name, limit, got in read_at_random(body, rng):
            assert got == getattr(model, name)(limit)
        assert body.done and body.position == size
        assert reader.read_request().method == "GET"
        if closing:
            sender.get()
        for sock in closing:
            sock.close()


def test_an_error_of_a_body_stays():
    body = Input(io.BytesIO(b"zz\r\n"), None, chunked_input=True)
    for _ in range(2):
        with pytest.raises(HTTPInputError) as caught:
            body.read()
        assert caught.value.code == "COIR_HTTP_ECHUNK"
    assert body._chunked_input_error and body.drain() is False
    body._discard()


def test_a_body_is_read_by_one_at_a_time():
    a, b = socket.socketpair()
    body = Input(HTTPReader(a), 5)
    reader = gevent.spawn(body.read)
    gevent.sleep(0)
    with pytest.raises(RuntimeError):
        body.read()
    assert body.drain() is False
    b.sendall(b"hello")
    assert reader.get() == b"hello"
    a.close(), b.close()


def test_what_others_read_of_a_body_is_gone():
    reader = HTTPReader(Source(b"abcdef", b"ghij"))
    body = Input(reader, 10)
    assert body.read(2) == b"ab"
    assert reader.read(3) == b"cde"
    assert body.read() == b"fghij"


def test_a_greenlet_that_reads_may_be_killed():
    a, b = socket.socketpair()
    reader = HTTPReader(a)
    b.sendall(GET[:7])
    victim = gevent.spawn(reader.read_request)
    gevent.sleep(0)
    victim.kill()
    b.sendall(GET[7:])
    assert reader.read_request().method == "GET"
    a.close(), b.close()


def test_a_reader_may_be_closed_while_it_waits():
    a, b = socket.socketpair()
    reader = HTTPReader(a)
    waiter = gevent.spawn(reader.read, 3)
    gevent.sleep(0)
    reader.close()
    b.sendall(b"abcdef")
    b.close()
    for call in (waiter.get, reader.read):
        with pytest.raises(ValueError):
            call()
    a.close()


def test_parts_of_a_response():
    pairs, length, date, connection = http_encode_headers(
        [
            ("A", "b"),
            ["DATE", "d"],
            ("content-length", "3"),
            ("Connection", "c"),
        ]
    )
    assert pairs[:2] == [(b"A", b"b"), (b"DATE", b"d")]
    assert (length, date, connection) == ("3", "d", "c")
    assert http_encode_headers(()) == ([], None, None, None)
    assert http_response(b"200 OK", pairs[:1], b"xy") == (
        b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nxy"
    )
    assert http_response(b"200 OK", [], bytearray(b"x" * 26), True) == (
        b"HTTP/1.1 200 OK\r\n\r\n1a\r\n" + b"x" * 26 + b"\r\n"
    )
    assert http_chunk(b"ab") == b"2\r\nab\r\n" and http_chunk(b"") == b""
    assert http_date(0) == b"Thu, 01 Jan 1970 00:00:00 GMT"
    assert pywsgi.format_date_time(1e9) == b"Sun, 09 Sep 2001 01:46:40 GMT"
    for args in (
        ("200", [], b""),
        (b"200", (), b""),
        (b"200", [1], b""),
        (b"200", [("a", "b")], b""),
        (b"200", [], "x"),
    ):
        with pytest.raises(TypeError):
            http_response(*args)
    for value in (float("nan"), 1e300):
        with pytest.raises(ValueError):
            http_date(value)


def test_without_memory(serve):
    testcapi = pytest.importorskip("_testcapi")

    def job():
        reader = HTTPReader(Source(CHUNKED[:90], CHUNKED[90:]))
        request = reader.read_request()
        environ = {}
        request.fill_environ(environ)
        body = request.input(reader)
        return [
            environ,
            body.readline(),
            body.read(),
            request.headers,
            http_encode_headers([("A", "b")]),
            http_response(b"200 OK", [(b"a", b"b")], b"x", True),
        ]

    expected = job()
    for n in range(1, 400):
        testcapi.set_nomemory(n, n + 1)
        try:
            got = job()
        except MemoryError:
            continue
        finally:
            testcapi.remove_mem_hooks()
        assert got == expected
    assert job() == expected


def test_types_do_not_leak():
    def job():
        reader = HTTPReader(Source(CHUNKED, GET, b"x\r\n\r\n"))
        body = reader.read_request().input(reader)
        body.read(), body.readlines()
        request = reader.read_request()
        request.fill_environ({}), request.headers, request.get("x", 1)
        try:
            reader.read_request()
        except HTTPError:
            pass
        try:
            http_encode_headers([("a", "\n")])
        except ValueError:
            pass
        http_response(b"200", http_encode_headers([("a", "b")])[0], b"abc")

    job()
    gc.collect()
    before = sys.gettotalrefcount() if debug_build() else len(gc.get_objects())
    for _ in range(200):
        job()
    gc.collect()
    after = sys.gettotalrefcount() if debug_build() else len(gc.get_objects())
    assert after - before < 100


def debug_build():
    return hasattr(sys, "gettotalrefcount")
