"""coir.websocket: the codec, connections on any stream, both sides of the
handshake, and the peers' implementations as the other side."""

import contextlib
import gc
import io
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import weakref

import pytest
from coir import _core
from coir.gevent import Timeout, joinall, sleep, spawn
from coir.gevent import socket as green_socket
from coir.gevent.server import StreamServer
from coir.websocket import (
    ConnectionClosed,
    Deflate,
    HandshakeError,
    ProtocolError,
    WebSocket,
    WebSocketCodec,
    WebSocketError,
    accept,
    connect,
    refuse,
    wsgi_app,
)

LONG = 60

deflates = pytest.mark.skipif(
    not _core.WEBSOCKET_DEFLATE, reason="built without zlib"
)


@pytest.fixture(autouse=True)
def not_for_ever():
    with Timeout(120):
        yield


def pair(**options):
    a, b = green_socket.socketpair()
    return (
        WebSocket(a, WebSocketCodec("server", **options)),
        WebSocket(b, WebSocketCodec("client", **options)),
    )


def native_pair():
    a, b = socket.socketpair()
    return WebSocket(a, role="server"), WebSocket(b, role="client")


# --- the codec ---------------------------------------------------------------


def test_codec_of_the_rfc():
    client = WebSocketCodec("client")
    assert client.receive_data(b"\x81\x05Hel") == []
    assert client.receive_data(b"lo\x82\x01\xff\x89\0") == [
        (1, "Hello"),
        (2, b"\xff"),
        (9, b""),
    ]
    assert client.has_due
    assert len(client.due()) == 6
    assert client.due() == b""
    server = WebSocketCodec("server")
    assert server.encode("Hello") == b"\x81\x05Hello"
    assert server.encode(b"Hel", more=True) == b"\x02\x03Hel"
    assert server.ping("x") == b"\x89\x01x"
    assert server.encode(bytearray(b"lo")) == b"\x80\x02lo"
    assert server.encode("ä", text=True) == b"\x81\x02\xc3\xa4"
    assert server.encode(b"ab", text=True) == b"\x81\x02ab"
    assert server.pong() == b"\x8a\0"
    assert server.close(1000, "ok") == b"\x88\x04\x03\xe8ok"
    assert client.receive_data(b"\x88\x04\x03\xe8ok") == [(8, (1000, "ok"))]
    assert (client.close_code, client.close_reason) == (1000, "ok")
    assert client.statistics["messages_received"] == 2
    assert server.statistics["bytes_sent"] == 5 + 5 + 2 + 2


def test_codec_tells_events_before_the_error():
    codec = WebSocketCodec("client")
    assert codec.receive_data(b"\x81\x01a\x83\0") == [(1, "a")]
    with pytest.raises(ProtocolError) as caught:
        codec.receive_data(b"")
    assert caught.value.args[0] == 1002
    assert codec.failed
    assert codec.due()[:1] == b"\x88"


def test_codec_limits_and_arguments():
    codec = WebSocketCodec("client", max_message=10)
    with pytest.raises(ProtocolError) as caught:
        codec.receive_data(b"\x82\x0b")
    assert caught.value.args[0] == 1009
    for bad in (
        {"role": "peer"},
        {"role": 1},
        {"role": "server", "max_message": 0},
        {"role": "server", "max_message": -5},
        {"role": "server", "deflate": (0, 0, 16, 0, 0, 0, 0)},
        {"role": "server", "deflate": (0, 0, 0, 0, 10, 0, 0)},
    ):
        with pytest.raises(ValueError):
            WebSocketCodec(**bad)
    for bad in (
        {"role": "server", "deflate": 5},
        {"role": "server", "deflate": ()},
        {"role": "server", "max_message": "x"},
        {},
    ):
        with pytest.raises(TypeError):
            WebSocketCodec(**bad)
    codec = WebSocketCodec("server", max_message=None, max_fragments=None)
    with pytest.raises(TypeError):
        codec.encode(5)
    with pytest.raises(TypeError):
        codec.receive_data("text")
    with pytest.raises(ProtocolError):
        codec.encode(b"\xff", text=True)
    with pytest.raises(UnicodeEncodeError):
        codec.encode("\ud800")
    with pytest.raises(ValueError):
        codec.ping("x" * 126)
    with pytest.raises(ValueError):
        codec.close(1006)
    with pytest.raises(ValueError):
        codec.close(1000, "x" * 124)
    codec.close(0)
    with pytest.raises(ConnectionClosed):
        codec.encode("late")


@deflates
def test_codec_compresses():
    deflate = Deflate()
    a = WebSocketCodec("server", deflate=deflate)
    b = WebSocketCodec("client", deflate=deflate)
    for text in ("x" * 5000, "y", "z" * 200000):
        frame = a.encode(text)
        assert len(frame) < 1000
        assert b.receive_data(frame) == [(1, text)]
    assert a.encode("x" * 5000, compress=False)[4:] == b"x" * 5000
    assert a.compresses


# --- connections -------------------------------------------------------------


@pytest.mark.parametrize("make", [pair, native_pair])
def test_messages_both_ways(make):
    server, client = make()
    sizes = [0, 1, 125, 126, 4096, 65535, 65536, 300000]
    messages = ["ä" * n for n in sizes] + [b"\xff" * n for n in sizes]

    def echo():
        for message in server:
            server.send(message)

    if make is pair:
        other = spawn(echo)
    else:
        other = threading.Thread(target=echo)
        other.start()
    for message in messages:
        client.send(message)
        assert client.recv(timeout=LONG) == message
    client.close()
    other.join()
    assert server.close_code == client.close_code == 1000
    assert server.closed and client.closed
    assert client.recv() is None
    stats = client.statistics
    assert stats["messages_sent"] == stats["messages_received"] == 16
    assert server.statistics["bytes_received"] == stats["bytes_sent"]
    assert server.statistics["wire_received"] == stats["wire_sent"]


def test_parts_are_one_message():
    server, client = pair()
    client.send_parts(iter(["a", "ö", "", "b"]))
    client.send_parts([b"x", bytearray(b"y"), memoryview(b"z")])
    client.send_parts(["one"])
    assert [server.recv() for _ in range(3)] == ["aöb", b"xyz", "one"]
    with pytest.raises(ValueError):
        client.send_parts([])
    with pytest.raises(TypeError):
        client.send_parts(5)
    client.send("still there")
    assert server.recv() == "still there"


def test_parts_that_end_in_an_error_break_the_connection():
    server, client = pair()

    def parts():
        yield "a"
        yield "b"
        raise KeyError("c")

    with pytest.raises(KeyError):
        client.send_parts(parts())
    with pytest.raises(ConnectionClosed):
        client.send("x")


def test_timeouts():
    for server, client in (pair(), native_pair()):
        for timeout in (0, 0.001, 0.01):
            with pytest.raises(TimeoutError):
                server.recv(timeout)
        client.stream.sendall(client.codec.encode("whole")[:5])
        with pytest.raises(TimeoutError):
            server.recv(timeout=0.01)
        assert server.close_code is None
        client.abort()
        assert server.recv(timeout=LONG) is None
        assert server.close_code == 1006
        with pytest.raises(TypeError):
            server.recv("soon")
        with pytest.raises(TypeError):
            server.recv(1, 2)
        with pytest.raises(TypeError):
            server.recv(limit=3)


def test_gevent_timeout_around_recv_is_not_eaten():
    server, _client = pair()
    with pytest.raises(Timeout):
        with Timeout(0.01):
            server.recv(timeout=LONG)


def test_one_receives_at_a_time():
    server, client = pair()
    first = spawn(server.recv)
    while not server._is_receiving:
        spawn(int).join()
    with pytest.raises(RuntimeError):
        server.recv()
    client.send("x")
    assert first.get() == "x"


def test_many_may_send():
    server, client = pair()
    count, each = 10, 20
    sizes = [10, 1000, 70000]

    def send(letter):
        for i in range(each):
            client.send(letter * sizes[i % 3])

    senders = [spawn(send, chr(97 + i)) for i in range(count)]
    server.ping("now and then")
    seen = dict.fromkeys("abcdefghij", 0)
    for _ in range(count * each):
        message = server.recv(timeout=LONG)
        assert message == message[0] * len(message)
        seen[message[0]] += 1
    joinall(senders)
    assert set(seen.values()) == {each}


def test_many_threads_may_send():
    server, client = native_pair()
    count, each = 4, 50

    def send(letter):
        for i in range(each):
            client.send(letter * (1 + 7 * i))

    threads = [
        threading.Thread(target=send, args=("abcd"[i],)) for i in range(count)
    ]
    for thread in threads:
        thread.start()
    for _ in range(count * each):
        message = server.recv(timeout=LONG)
        assert message == message[0] * len(message)
    for thread in threads:
        thread.join()


def test_pings_are_answered_and_awaited():
    server, client = pair()
    receiver = spawn(lambda: [*server])
    listener = spawn(client.recv)
    client.ping("a", timeout=LONG)
    client.ping(timeout=LONG)
    with pytest.raises(ValueError):
        client.ping("x" * 126)
    client.pong("unasked")
    client.close()
    assert receiver.get() == []
    assert listener.get() is None
    with pytest.raises(ConnectionClosed):
        client.ping("late", timeout=LONG)
    server, client = pair()
    with pytest.raises(TimeoutError):
        client.ping("nobody", timeout=0.01)


def test_ping_ends_with_the_connection():
    server, client = pair()
    listener = spawn(client.recv)
    ping = spawn(client.ping, "x", timeout=LONG)
    while not client._pongs:
        spawn(int).join()
    server.abort()
    with pytest.raises(ConnectionClosed):
        ping.get()
    assert listener.get() is None


# --- the end -----------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4999, 0])
def test_close_codes(code):
    server, client = pair()
    reason = "bye" if code else ""
    closer = spawn(server.close, code, reason)
    assert client.recv() is None
    closer.join()
    assert client.close_code == server.close_code == (code or 1005)
    assert client.close_reason == reason
    for end in (server, client):
        with pytest.raises(ConnectionClosed):
            end.send("x")
        end.close()
        assert end.stream.fileno() == -1


def test_close_while_another_receives():
    server, client = pair()
    receivers = [spawn(server.recv), spawn(client.recv)]
    while not client._is_receiving:
        spawn(int).join()
    client.close(1001, "leaving")
    assert [r.get() for r in receivers] == [None, None]
    assert server.close_code == 1001
    assert server.close_reason == "leaving"


def test_receiving_while_another_closes():
    server, client = pair()
    closer = spawn(client.close)
    while not client._is_closing:
        spawn(int).join()
    others = [spawn(client.recv), spawn(list, client), spawn(client.recv, 9)]
    while len(client._enders) < 3:
        spawn(int).join()
    assert server.recv() is None
    closer.join()
    assert [other.get() for other in others] == [None, [], None]


def test_both_close_at_once():
    server, client = pair()
    joinall([spawn(server.close, 1000), spawn(client.close, 1001)])
    assert server.close_code == 1001
    assert client.close_code == 1000


def test_close_drops_what_comes_and_does_not_wait_for_ever():
    server, client = pair()
    for _ in range(10):
        client.send("dropped")
    server.close(timeout=0.01)
    assert server.close_code == 1006
    assert server.stream.fileno() == -1
    server, client = native_pair()
    server.close(timeout=0.01)
    assert server.close_code == 1006


def test_close_with_a_bad_code_changes_nothing():
    server, client = pair()
    for code in (1, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65536):
        with pytest.raises(ValueError):
            server.close(code)
    with pytest.raises(ValueError):
        server.close(1000, "x" * 124)
    server.send("x")
    assert client.recv() == "x"


def test_context_manager_closes():
    server, client = pair()
    reader = spawn(client.recv)
    with server:
        pass
    assert reader.get() is None
    assert client.close_code == 1000
    server, client = pair()
    reader = spawn(client.recv)
    with pytest.raises(KeyError):
        with server:
            raise KeyError
    reader.join()
    assert client.close_code == 1011


def test_lost_connection():
    server, client = pair()
    client.stream.close()
    assert server.recv() is None
    assert server.close_code == 1006
    with pytest.raises(ConnectionClosed) as caught:
        server.send("x")
    assert isinstance(caught.value, ConnectionError)
    assert isinstance(caught.value, WebSocketError)


def test_reset_connection_ends_as_a_lost_one():
    listener = green_socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    client = green_socket.create_connection(listener.getsockname())
    stream, _ = listener.accept()
    listener.close()
    server = WebSocket(stream)
    client.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    client.close()
    assert server.recv() is None
    assert server.close_code == 1006


def test_interrupted_send_breaks_the_connection():
    server, client = pair(max_message=None)
    sender = spawn(client.send, b"x" * 50_000_000)
    while not server.stream.recv(10):
        pass
    sender.kill()
    with pytest.raises(ConnectionClosed):
        client.send("x")
    client.close()
    assert client.close_code == 1006


@pytest.mark.parametrize(
    "frame, code",
    [
        (b"\x81\x01x", 1002),
        (b"\xf1\x80\0\0\0\0", 1002),
        (b"\x83\x80\0\0\0\0", 1002),
        (b"\x80\x80\0\0\0\0", 1002),
        (b"\x09\x80\0\0\0\0", 1002),
        (b"\x89\xfe\0\x7e\0\0\0\0", 1002),
        (b"\x88\x81\0\0\0\0x", 1002),
        (b"\x88\x82\0\0\0\0\x03\xed", 1002),
        (b"\x88\x83\0\0\0\0\x03\xe8\xff", 1007),
        (b"\x81\x81\0\0\0\0\xff", 1007),
        (b"\x01\x82\0\0\0\0\xc0\x80", 1007),
        (b"\x82\xff\0\0\0\0\x10\0\0\0\0\0\0\0", 1009),
    ],
)
def test_bad_peers_are_told(frame, code):
    server, client = pair()
    client.stream.sendall(frame)
    reader = spawn(client.recv)
    with pytest.raises(ProtocolError) as caught:
        server.recv()
    assert caught.value.args[0] == code
    assert reader.get() is None
    assert client.close_code == server.close_code == code
    assert client.close_reason == caught.value.args[1]
    assert server.recv() is None


# --- streams -----------------------------------------------------------------


class OnlyRecv:
    """What is least: recv() and sendall()."""

    def __init__(self, data):
        self.input = io.BytesIO(data)
        self.output = b""

    def recv(self, size):
        return self.input.read(size)

    def sendall(self, data):
        self.output += data


def test_stream_without_recv_into():
    frames = WebSocketCodec("client").encode("x" * 10000)
    stream = OnlyRecv(frames[3:])
    ws = WebSocket(stream, initial=frames[:3])
    assert ws.recv() == "x" * 10000
    assert ws.recv() is None
    ws = WebSocket(stream)
    ws.send("x" * 70000)
    assert stream.output == b"\x81\x7f" + struct.pack("!Q", 70000) + (
        b"x" * 70000
    )


def test_stream_that_keeps_the_buffer():
    class Keeper(OnlyRecv):
        kept = None

        def recv_into(self, buffer):
            self.kept = memoryview(buffer)
            return self.input.readinto(buffer)

    codec = WebSocketCodec("client")
    messages = ["a", "b" * 5000, "c", "d" * 300000, "e"]
    ws = WebSocket(Keeper(b"".join(map(codec.encode, messages))))
    assert list(ws) == messages


@pytest.mark.parametrize("result", [-1, 1 << 40, None, "x"])
def test_stream_that_lies(result):
    class Liar(OnlyRecv):
        def recv_into(self, buffer):
            return result

    ws = WebSocket(Liar(b""))
    with pytest.raises((TypeError, ValueError)):
        ws.recv()


def test_stream_that_fails():
    class Failing(OnlyRecv):
        def recv_into(self, buffer):
            raise KeyError("recv")

        def sendall(self, data):
            raise KeyError("sendall")

    ws = WebSocket(Failing(b""))
    with pytest.raises(KeyError):
        ws.recv()
    with pytest.raises(KeyError):
        ws.send("x")
    with pytest.raises(ConnectionClosed):
        ws.send("x")
    with pytest.raises(AttributeError):
        WebSocket(object())


def test_stream_that_can_only_receive():
    class Deaf:
        def recv(self, size):
            return b""

    with pytest.raises(AttributeError, match="sendall"):
        WebSocket(Deaf())


def test_base_needs_init():
    base = _core.WebSocketBase.__new__(_core.WebSocketBase)
    for call in (base.recv, lambda: base.send("x"), lambda: next(base)):
        with pytest.raises(RuntimeError):
            call()
    assert base.close_code is None
    server, _client = pair()
    with pytest.raises(RuntimeError):
        server.__init__(server.stream)


def test_nothing_leaks():
    def one():
        server, client = pair(
            deflate=Deflate() if _core.WEBSOCKET_DEFLATE else None
        )
        client.send("x" * 1000)
        server.recv()
        server.me = server
        refs = [weakref.ref(server), weakref.ref(client)]
        client.abort()
        server.recv()
        return refs

    refs = one()
    gc.collect()
    assert [ref() for ref in refs] == [None, None]
    growth = []
    for _ in range(5):
        before = sys.getallocatedblocks()
        for _ in range(100):
            one()
        gc.collect()
        growth.append(sys.getallocatedblocks() - before)
    # What grows somewhere else, a JIT's code for instance, is no leak: that
    # is one block for each pair at least.
    assert min(growth) < 100, growth


# --- the handshake -----------------------------------------------------------


KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def environ_of(**more):
    environ = {
        "REQUEST_METHOD": "GET",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_UPGRADE": "websocket",
        "HTTP_CONNECTION": "keep-alive, Upgrade",
        "HTTP_SEC_WEBSOCKET_KEY": KEY,
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
    }
    environ.update(more)
    return {key: value for key, value in environ.items() if value is not None}


@pytest.mark.parametrize(
    "more, status",
    [
        ({"REQUEST_METHOD": "POST"}, 405),
        ({"SERVER_PROTOCOL": "HTTP/1.0"}, 400),
        ({"HTTP_UPGRADE": None}, 426),
        ({"HTTP_CONNECTION": "close"}, 426),
        ({"HTTP_SEC_WEBSOCKET_KEY": "short"}, 400),
        ({"HTTP_SEC_WEBSOCKET_VERSION": "8"}, 426),
        ({"HTTP_SEC_WEBSOCKET_EXTENSIONS": "a b"}, 400),
        ({"HTTP_ORIGIN": "https://evil"}, 403),
        ({"HTTP_ORIGIN": "https://good"}, 501),
    ],
)
def test_requests_that_are_refused(more, status):
    with pytest.raises(HandshakeError) as caught:
        accept(environ_of(**more), origins=["https://good"]) if (
            status in (403, 501)
        ) else accept(environ_of(**more))
    assert caught.value.args[0] == status
    started = []
    body = refuse(lambda *args: started.append(args), caught.value)
    assert body == [caught.value.args[1].encode() + b"\n"]
    assert started[0][0].startswith(f"{status} ")
    headers = dict(started[0][1])
    assert ("Sec-WebSocket-Version" in headers) == (status == 426)


def test_origins_by_function():
    seen = []

    def check(origin, environ):
        seen.append((origin, environ["REQUEST_METHOD"]))
        return False

    with pytest.raises(HandshakeError):
        accept(environ_of(), origins=check)
    assert seen == [(None, "GET")]


def test_headers_cannot_be_split():
    shake = _core.WebSocketHandshake("client")
    for bad in ("a\r\nb", "a\nb", "a\0b"):
        with pytest.raises(ValueError):
            shake.request("host", "/", [("X", bad)])
        with pytest.raises(ValueError):
            shake.response([(bad, "x")])
    for host, target in (("a\r\n", "/"), ("a", "/ x"), ("a", "/\r\n")):
        with pytest.raises(ValueError):
            shake.request(host, target)
    with pytest.raises(TypeError):
        shake.request("host", "/", ["X"])
    with pytest.raises(TypeError):
        shake.request("host", "/", [("X", 1)])
    for protocols in (["a b"], [""], ["a\r\n"]):
        with pytest.raises(ValueError):
            _core.WebSocketHandshake("client", protocols=protocols)
    with pytest.raises(TypeError):
        _core.WebSocketHandshake("client", protocols=[1])
    with pytest.raises(ValueError):
        _core.WebSocketHandshake("peer")


class Upgrading:
    """A minimal server: one request a connection, the upgrade by the key
    `coir.upgrade` or by a socket in `wsgi.input`."""

    def __init__(self, app, how="gunicorn.socket"):
        self.app = app
        self.how = how
        self.errors = []
        self.server = StreamServer(("127.0.0.1", 0), self.handle)
        self.server.start()
        self.url = f"ws://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.server.stop(0)

    def handle(self, sock, _address):
        reader = sock.makefile("rb")
        method, target, _ = reader.readline().decode().split()
        environ = {"REQUEST_METHOD": method, "PATH_INFO": target}
        while (line := reader.readline().decode().rstrip()) != "":
            name, _, value = line.partition(":")
            key = "HTTP_" + name.upper().replace("-", "_")
            environ[key] = value.strip()
        if self.how == "eventlet.input":
            source = type("Input", (), {"get_socket": lambda self: sock})
            environ["eventlet.input"] = source()
            environ["SERVER_PROTOCOL"] = "HTTP/1.0"
        elif self.how == "wsgi.input":
            environ["wsgi.input"] = reader
        else:
            environ[self.how] = sock
        if self.how == "coir.upgrade":

            def upgrade(status, headers):
                lines = [f"HTTP/1.1 {status}"]
                lines += [f"{name}: {value}" for name, value in headers]
                sock.sendall("\r\n".join([*lines, "", ""]).encode())
                return sock

            environ["coir.upgrade"] = upgrade

        def start_response(status, headers):
            sock.sendall(f"HTTP/1.1 {status}\r\n\r\n".encode())

        try:
            for part in self.app(environ, start_response):
                sock.sendall(part)
        except Exception as exc:
            self.errors.append(exc)
        reader.close()
        sock.close()


def echo(ws):
    for message in ws:
        ws.send(message)


@pytest.mark.parametrize(
    "how",
    [
        "eventlet.input",
        "gunicorn.socket",
        "werkzeug.socket",
        "wsgi.input",
        "coir.upgrade",
    ],
)
def test_connect_and_accept(how):
    app = wsgi_app(echo, protocols=["b", "c"], headers=[("X-Extra", "1")])
    with Upgrading(app, how) as server:
        with connect(
            server.url + "/path?q",
            protocols=["a", "c", "b"],
            headers=[("X-Mine", "2")],
            origin="https://here",
        ) as ws:
            assert ws.protocol == "c"
            assert ("X-Extra", "1") in ws.headers
            ws.send("hello" * 100)
            assert ws.recv(timeout=LONG) == "hello" * 100
            assert ws.codec.compresses == bool(_core.WEBSOCKET_DEFLATE)
        assert ws.close_code == 1000
        assert not server.errors


def http_server(app):
    import coir.http

    server = coir.http.Server(app, port=0)
    server.start()
    return server, f"ws://127.0.0.1:{server.port}/"


def pywsgi_server(app):
    from coir.gevent import pywsgi

    server = pywsgi.WSGIServer(("127.0.0.1", 0), app, log=None)
    server.start()
    return server, f"ws://127.0.0.1:{server.server_port}/"


@pytest.mark.parametrize("make", [http_server, pywsgi_server])
def test_under_our_servers(make):
    ends = []

    def serve(ws):
        echo(ws)
        ends.append(ws.close_code)

    server, url = make(wsgi_app(serve))
    for _ in range(2):
        with connect(url) as ws:
            for message in MESSAGES:
                ws.send(message)
                assert ws.recv(timeout=LONG) == message
        while not ends:
            sleep(0.001)
        assert ends.pop() == ws.close_code == 1000
    ws = connect(url)
    ws.abort()
    while not ends:
        sleep(0.001)
    assert ends == [1006]
    with pytest.raises(HandshakeError) as caught:
        connect(url, headers=[("Sec-WebSocket-Version", "8")])
    assert caught.value.args[0] in (400, 426)
    server.stop()


def test_server_that_stops_says_so():
    server, url = http_server(wsgi_app(echo))
    sockets = [connect(url) for _ in range(3)]
    stopper = spawn(server.stop, LONG)
    for ws in sockets:
        assert ws.recv(timeout=LONG) is None
        assert ws.close_code == 1001
    stopper.join()


def test_killed_handler_says_that_it_goes_away():
    server, client = pair()

    def handle():
        with server:
            server.recv()

    handler = spawn(handle)
    while not server._is_receiving:
        spawn(int).join()
    handler.kill()
    assert client.recv(timeout=LONG) is None
    assert client.close_code == 1001


def test_handler_that_fails_closes_with_1011():
    def fail(ws):
        raise KeyError("handler")

    with Upgrading(wsgi_app(fail)) as server:
        ws = connect(server.url)
        assert ws.recv(timeout=LONG) is None
        assert ws.close_code == 1011
        while not server.errors:
            spawn(int).join()
        assert isinstance(server.errors[0], KeyError)


def test_connect_is_refused():
    with Upgrading(wsgi_app(echo, origins=["https://good"])) as server:
        with pytest.raises(HandshakeError) as caught:
            connect(server.url)
        assert caught.value.args[0] == 403
        connect(server.url, origin="https://good").close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 101 x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 101 x\r\nbroken\r\n\r\n",
        b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        b"HTTP/1.1 101 " + b"x" * 70000,
    ],
)
def test_servers_that_answer_badly(answer):
    a, b = green_socket.socketpair()

    def serve():
        a.recv(10000)
        with contextlib.suppress(OSError):
            a.sendall(answer)
            a.shutdown(socket.SHUT_WR)

    spawn(serve)
    with pytest.raises(HandshakeError):
        connect("ws://x/", sock=b)
    assert b.fileno() == -1


def test_connect_in_time_and_from_urls():
    a, b = green_socket.socketpair()
    with pytest.raises(TimeoutError):
        connect("ws://x/", sock=b, timeout=0.01)
    a, b = socket.socketpair()
    with pytest.raises(TimeoutError):
        connect("ws://x/", sock=b, timeout=0.01)
    for url in ("http://x/", "ws:///x", "ws://x/#y", "x"):
        with pytest.raises(ValueError):
            connect(url)
    requests = []

    def request_of(url):
        a, b = green_socket.socketpair()
        spawn(lambda: (requests.append(a.recv(10000)), a.close()))
        with pytest.raises(HandshakeError):
            connect(url, sock=b)
        return requests[-1].decode()

    assert "GET /a?b=c HTTP/1.1\r\nHost: h:81\r\n" in request_of(
        "ws://h:81/a?b=c"
    )
    assert "GET / HTTP/1.1\r\nHost: [::1]\r\n" in request_of("wss://[::1]:443")
    assert "\r\nAuthorization: Basic dTpwQA==\r\n" in request_of(
        "ws://u:p%40@h"
    )


def test_tls(tmp_path):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    try:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"]
            + ["-keyout", str(key), "-out", str(cert), "-days", "2"]
            + ["-subj", "/CN=localhost"]
            + ["-addext", "subjectAltName=DNS:localhost"],
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no openssl to make a certificate with")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server = Upgrading(wsgi_app(echo))
    server.server.stop(0)
    tls = StreamServer(
        ("127.0.0.1", 0),
        server.handle,
        keyfile=str(key),
        certfile=str(cert),
    )
    tls.start()
    url = f"wss://127.0.0.1:{tls.server_port}/"
    with pytest.raises(OSError):
        connect(url, server_hostname="localhost")
    trusting = ssl.create_default_context(cafile=str(cert))
    with connect(url, server_hostname="localhost", ssl_context=trusting) as ws:
        for size in (1, 1000, 100000):
            ws.send("x" * size)
            assert ws.recv(timeout=LONG) == "x" * size
        with pytest.raises(TimeoutError):
            ws.recv(timeout=0.01)
    tls.stop(0)
    assert ws.close_code == 1000


def test_a_failed_handshake_of_tls_closes_at_once():
    listener = green_socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()

    def serve():
        with listener, listener.accept()[0] as peer:
            peer.recv(10000)
            peer.sendall(b"no TLS\r\n" * 100)
            peer.settimeout(LONG)
            try:
                while peer.recv(10000):
                    pass
            except ConnectionResetError:
                pass
            return "closed"

    server = spawn(serve)
    with pytest.raises(OSError) as held:
        connect(f"wss://127.0.0.1:{listener.getsockname()[1]}/")
    assert server.get() == "closed"
    assert held.value is not None


# --- the peers of the registry -----------------------------------------------


def in_thread(function):
    """Run it in a thread of its own; a callable that joins and returns what
    it did."""
    box = []

    def run():
        try:
            box.append((function(), None))
        except BaseException as exc:
            box.append((None, exc))

    thread = threading.Thread(target=run)
    thread.start()

    def join():
        while thread.is_alive():
            sleep(0.005)
        result, exc = box[0]
        if exc is not None:
            raise exc
        return result

    return join


MESSAGES = [
    "",
    "a",
    "ä€𐍈" * 100,
    b"",
    bytes(range(256)) * 10,
    "x" * 125,
    "x" * 126,
    "x" * 65535,
    "x" * 65536,
    os.urandom(200000),
]


@pytest.mark.parametrize("deflate", [False, True])
def test_websockets_client(deflate):
    client = pytest.importorskip("websockets.sync.client")
    compression = "deflate" if deflate else None

    def talk():
        with client.connect(server.url, compression=compression) as ws:
            for message in MESSAGES:
                ws.send(message)
                assert ws.recv() == message
            ws.send(["frag", "", "ments"])
            assert ws.recv() == "fragments"
            assert ws.ping().wait(LONG)
            ws.send("close")
            with pytest.raises(Exception) as caught:
                ws.recv()
            return caught.value.rcvd.code, caught.value.rcvd.reason

    def serve(ws):
        for message in ws:
            if message == "close":
                ws.close(4321, "asked for")
                break
            ws.send(message)

    with Upgrading(wsgi_app(serve, deflate=deflate)) as server:
        assert in_thread(talk)() == (4321, "asked for")
        assert not server.errors


@pytest.mark.parametrize("deflate", [False, True])
def test_websockets_server(deflate):
    module = pytest.importorskip("websockets.sync.server")

    def handle(ws):
        for message in ws:
            if message == "parts":
                ws.send(["a", "", "b"])
            elif message == "ping":
                assert ws.ping().wait(LONG)
            else:
                ws.send(message)

    with module.serve(
        handle,
        "127.0.0.1",
        0,
        compression="deflate" if deflate else None,
        subprotocols=["p"],
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.socket.getsockname()[1]
        with connect(
            f"ws://127.0.0.1:{port}/", deflate=deflate, protocols=["q", "p"]
        ) as ws:
            assert ws.protocol == "p"
            assert ws.codec.compresses == (
                deflate and bool(_core.WEBSOCKET_DEFLATE)
            )
            for message in MESSAGES:
                ws.send(message)
                assert ws.recv(timeout=LONG) == message
            ws.send("parts")
            assert ws.recv(timeout=LONG) == "ab"
            ws.send("ping")
            ws.send("after")
            assert ws.recv(timeout=LONG) == "after"
            ws.send_parts(["one", "two"])
            assert ws.recv(timeout=LONG) == "onetwo"
        assert ws.close_code == 1000
        server.shutdown()
        thread.join()


def test_websocket_client_package():
    package = pytest.importorskip("websocket")

    def talk():
        ws = package.create_connection(
            server.url, timeout=LONG, subprotocols=["p"]
        )
        assert ws.getsubprotocol() == "p"
        for message in MESSAGES:
            if isinstance(message, str):
                ws.send(message)
            else:
                ws.send_binary(message)
            assert ws.recv() == message
        ws.ping("x")
        opcode, _ = ws.recv_data(control_frame=True)
        assert opcode == package.ABNF.OPCODE_PONG
        ws.send_frame(package.ABNF.create_frame("a", 1, 0))
        ws.send_frame(package.ABNF.create_frame("b", 0, 1))
        assert ws.recv() == "ab"
        ws.close(status=3000, reason=b"done")

    codes = []

    def serve(ws):
        echo(ws)
        codes.append((ws.close_code, ws.close_reason))

    with Upgrading(wsgi_app(serve, protocols=["p"])) as server:
        in_thread(talk)()
        while not codes:
            spawn(int).join()
        assert codes == [(3000, "done")]
