"""coir.eventlet.websocket: handlers, both generations of the protocol."""

import struct
import sys
import types

import pytest
from coir import _core, eventlet
from coir.eventlet import websocket
from coir.eventlet.green import socket

KEY = "d9MXuOzlVQ0h+qRllvSCIg=="
ACCEPT = b"Sec-WebSocket-Accept: ywSyWXCPNsDxLrQdQrn5RFNRfBU="

deflates = pytest.mark.skipif(
    not _core.WEBSOCKET_DEFLATE, reason="built without zlib"
)


@pytest.fixture(autouse=True)
def server(monkeypatch):
    """What the module uses of the WSGI server: that it is told."""
    module = types.ModuleType("coir.eventlet.wsgi")
    module.WSGI_LOCAL = types.SimpleNamespace(already_handled=False)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with eventlet.Timeout(60):
        yield module


class Input:
    def __init__(self, sock, rest=b""):
        self.sock = sock
        self.rest = rest
        self.content_length = None

    def get_socket(self):
        return self.sock

    def read(self, size):
        assert size == self.content_length
        return self.rest[:size]


def environ_of(sock, **more):
    source = Input(sock, more.pop("rest", b""))
    return {
        "HTTP_CONNECTION": "keep-alive, Upgrade",
        "HTTP_UPGRADE": "WebSocket",
        "HTTP_HOST": "here",
        "HTTP_ORIGIN": "http://here",
        "SCRIPT_NAME": "/app",
        "PATH_INFO": "/echo",
        "QUERY_STRING": "a=b",
        "wsgi.url_scheme": "http",
        "wsgi.input": source,
        "eventlet.input": source,
        **more,
    }


def modern(sock, **more):
    more = {
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
        "HTTP_SEC_WEBSOCKET_KEY": KEY,
        **more,
    }
    return environ_of(sock, **more)


def start(app, make=modern, **more):
    """Call an application in a green thread; the client's socket, what
    start_response() was called with, and the green thread."""
    a, b = socket.socketpair()
    started = []
    thread = eventlet.spawn(
        app, make(a, **more), lambda *args: started.append(args)
    )
    return b, started, thread


def head_of(sock):
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        data += sock.recv(1)
    return data


def echo(ws):
    while (message := ws.wait()) is not None:
        ws.send(message)


def test_echo_and_the_end(server):
    idle = []
    sock, started, thread = start(
        websocket.WebSocketWSGI(echo),
        **{"eventlet.set_idle": lambda: idle.append(1)},
    )
    assert ACCEPT in head_of(sock)
    assert idle == [1]
    ws = websocket.RFC6455WebSocket(sock, {}, client=True)
    for message in ("", "text", b"binary", "ä" * 70000, b"x" * 100000):
        ws.send(message)
        assert ws.wait() == message
    ws.send("a", final=False)
    ws.send("x", control_code=9)
    ws.send("b", continuation=True, final=False)
    ws.send("c", continuation=True)
    assert ws.wait() == "abc"
    ws.close()
    assert thread.wait() == []
    assert started == []
    assert server.WSGI_LOCAL.already_handled


def test_handler_that_returns_closes():
    def hello(ws):
        assert (ws.path, ws.origin, ws.version) == ("/echo", "http://here", 13)
        ws.send("hello")

    sock, _, thread = start(websocket.WebSocketWSGI(hello))
    head_of(sock)
    ws = websocket.RFC6455WebSocket(sock, {}, client=True)
    assert ws.wait() == "hello"
    assert ws.wait() is None
    assert ws._remote_close_data == b""
    thread.wait()


@pytest.mark.parametrize("error", [OSError(32, "gone"), KeyError("x")])
def test_handler_that_fails(error):
    def fail(ws):
        raise error

    sock, _, thread = start(websocket.WebSocketWSGI(fail))
    if isinstance(error, OSError):
        assert thread.wait() == []
    else:
        with pytest.raises(KeyError):
            thread.wait()


@pytest.mark.parametrize(
    "more, status",
    [
        ({"HTTP_UPGRADE": "h2c"}, "400"),
        ({"HTTP_CONNECTION": "close"}, "400"),
        ({"HTTP_SEC_WEBSOCKET_VERSION": "7"}, "426"),
        ({"HTTP_ORIGIN": "http://evil"}, "403"),
    ],
)
def test_refused(more, status):
    app = websocket.WebSocketWSGI.configured(
        echo, origin_checker=lambda host, origin: origin == f"http://{host}"
    )
    _, started, thread = start(app, **more)
    assert thread.wait() in ([], [b""])
    assert started[0][0].startswith(status)
    assert ("Connection", "close") in started[0][1]


def test_configured():
    @websocket.WebSocketWSGI.configured(supported_protocols=["b", "c"])
    def app(ws):
        ws.send(ws.protocol)

    sock, _, thread = start(app, HTTP_SEC_WEBSOCKET_PROTOCOL="a, c, b")
    assert b"\r\nSec-WebSocket-Protocol: c\r\n" in head_of(sock)
    assert websocket.RFC6455WebSocket(sock, {}, client=True).wait() == "c"
    thread.wait()
    _, started, thread = start(app, environ_of)
    thread.wait()
    assert started[0][0] == "400 Bad Request"


@deflates
@pytest.mark.parametrize(
    "offer, answer",
    [
        ("permessage-deflate", b"permessage-deflate"),
        ("x, PerMessage-Deflate;", b"permessage-deflate"),
        (
            "permessage-deflate; client_max_window_bits=7,"
            "permessage-deflate; server_max_window_bits = 9",
            b"permessage-deflate; server_max_window_bits=9",
        ),
        (
            "permessage-deflate; server_max_window_bits;"
            'client_max_window_bits="10"; server_no_context_takeover',
            b"permessage-deflate; server_no_context_takeover;"
            b" server_max_window_bits=15; client_max_window_bits=10",
        ),
        ("permessage-deflate; client_max_window_bits=x", None),
    ],
)
def test_compression(offer, answer):
    sock, _, thread = start(
        websocket.WebSocketWSGI(echo), HTTP_SEC_WEBSOCKET_EXTENSIONS=offer
    )
    head = head_of(sock)
    config = websocket._agree(offer)
    if answer is None:
        assert b"Extensions" not in head
    else:
        assert b"Sec-WebSocket-Extensions: " + answer + b"\r\n" in head
    ws = websocket.RFC6455WebSocket(sock, {}, client=True, extensions=config)
    for message in ("hello" * 50, b"x" * 100000, "hello" * 50):
        ws.send(message)
        assert ws.wait() == message
    ws.close()
    thread.wait()


def test_limits():
    app = websocket.WebSocketWSGI(echo, max_frame_length=1000)
    sock, _, thread = start(app)
    head_of(sock)
    ws = websocket.RFC6455WebSocket(sock, {}, client=True)
    ws.send(b"x" * 1000)
    assert ws.wait() == b"x" * 1000
    for _ in range(5):
        ws.send(b"x" * 1000, final=False)
    ws.send(b"", continuation=True)
    assert len(ws.wait()) == 5000
    ws.send(b"x" * 1001)
    assert ws.wait() is None
    assert ws._remote_close_data == (
        b"\x03\xf1Incoming frame of 1001 bytes is above length limit of 1000"
        b" bytes."
    )
    thread.wait()


@deflates
def test_limit_of_what_is_unpacked():
    offer = "permessage-deflate"
    app = websocket.WebSocketWSGI(echo, max_frame_length=1000)
    sock, _, thread = start(app, HTTP_SEC_WEBSOCKET_EXTENSIONS=offer)
    head_of(sock)
    ws = websocket.RFC6455WebSocket(
        sock, {}, client=True, extensions=websocket._agree(offer)
    )
    ws.send(b"x" * 1000)
    assert ws.wait() == b"x" * 1000
    ws.send(b"x" * 1001)
    assert ws.wait() is None
    assert ws._remote_close_data[:2] == struct.pack("!H", 1009)
    thread.wait()


@pytest.mark.parametrize(
    "bad, code",
    [
        (b"\x07\xff", 1002),
        (b"\x81\x01x", 1002),
        (b"\x81\x81\0\0\0\0\xff", 1007),
    ],
)
def test_bad_peers(bad, code):
    sock, _, thread = start(websocket.WebSocketWSGI(echo))
    head_of(sock)
    sock.sendall(bad)
    ws = websocket.RFC6455WebSocket(sock, {}, client=True)
    assert ws.wait() is None
    assert ws._remote_close_data[:2] == struct.pack("!H", code)
    assert thread.wait() == []


def test_frames_that_cannot_be_sent():
    ws = websocket.RFC6455WebSocket(None, {})
    for wrong in (
        {"control_code": 3},
        {"control_code": 9, "final": False},
        {"control_code": 9, "continuation": True},
    ):
        with pytest.raises(websocket.ProtocolError):
            ws._pack_message("", **wrong)
    with pytest.raises(websocket.ProtocolError):
        ws._pack_message("x" * 126, control_code=9)


# --- the predecessors --------------------------------------------------------


def test_hixie_76():
    more = {
        "HTTP_SEC_WEBSOCKET_KEY1": "4 @1  46546xW%0l 1 5",
        "HTTP_SEC_WEBSOCKET_KEY2": "12998 5 Y3 1  .P00",
        "HTTP_SEC_WEBSOCKET_PROTOCOL": "sample",
        "rest": b"^n:ds[4U",
    }
    sock, _, thread = start(websocket.WebSocketWSGI(echo), environ_of, **more)
    head = head_of(sock)
    assert head.startswith(b"HTTP/1.1 101 WebSocket Protocol Handshake\r\n")
    for line in (
        b"Sec-WebSocket-Origin: http://here",
        b"Sec-WebSocket-Protocol: sample",
        b"Sec-WebSocket-Location: ws://here/app/echo?a=b",
    ):
        assert b"\r\n" + line + b"\r\n" in head
    assert sock.recv(16) == b"8jKS'y:G*Co,Wxa-"
    sock.sendall(b"\x00hel")
    sock.sendall(b"lo\xff\x00two\xff")
    replies = b""
    while len(replies) < 12:
        replies += sock.recv(100)
    assert replies == b"\x00hello\xff\x00two\xff"
    sock.sendall(b"\xff\x00")
    assert thread.wait() == []
    for key in ("", "123", " x "):
        _, started, thread = start(
            websocket.WebSocketWSGI(echo),
            environ_of,
            **{**more, "HTTP_SEC_WEBSOCKET_KEY1": key},
        )
        thread.wait()
        assert started[0][0] == "400 Bad Request"


def test_hixie_75():
    sock, _, thread = start(
        websocket.WebSocketWSGI(lambda ws: ws.send(10)),
        environ_of,
        **{"wsgi.url_scheme": "https"},
    )
    head = head_of(sock)
    assert head.startswith(b"HTTP/1.1 101 Web Socket Protocol Handshake\r\n")
    assert b"\r\nWebSocket-Location: wss://here/app/echo?a=b\r\n" in head
    assert sock.recv(100) == b"\x0010\xff"
    thread.wait()


def test_old_frames_that_are_no_frames():
    a, b = socket.socketpair()
    ws = websocket.WebSocket(a, {"HTTP_HOST": "x"})
    b.sendall(b"\x05")
    with pytest.raises(ValueError):
        ws.wait()
    ws.close()
    assert b.recv(10) == b"\xff\x00"
