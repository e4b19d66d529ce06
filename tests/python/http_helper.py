"""What the tests of coir.http share: a server, and clients of it."""

import contextlib
import http.client
import socket as _socket
import struct
import time

import coir.gevent as gevent
import coir.http
from coir.gevent import socket

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


def reset(s):
    """Close with RST."""
    s.setsockopt(
        _socket.SOL_SOCKET, _socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    s.close()


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


def until(condition):
    """Let others run until it is true."""
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline, "it never became true"
        gevent.sleep(0.001)


def environ_of(head, **options):
    seen = []
    with serving(collect(seen), **options) as server:
        talk(server, head.replace("\n", "\r\n").encode("latin-1"))
    return seen[0]


def wrapped(open_it, headers=(), block=8192):
    def app(environ, start_response):
        start_response("200 OK", [*TEXT, *headers])
        return environ["wsgi.file_wrapper"](open_it(), block)

    return app


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
