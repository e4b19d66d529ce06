"""coir.eventlet's sockets and pipes: what eventlet's own tests leave open."""

import errno
import gc
import os
import socket as std
import struct
import sys
import threading
import time
import weakref

import pytest
from coir import eventlet, gevent
from coir.eventlet import debug, greenio, hubs
from coir.eventlet.green import select, socket, ssl
from coir.gevent import socket as gevent_socket


@pytest.fixture
def stream():
    """Both ends of a TCP connection."""
    listener = eventlet.listen(("127.0.0.1", 0))
    a = eventlet.connect(listener.getsockname())
    b, _ = listener.accept()
    listener.close()
    yield a, b
    a.close()
    b.close()


@pytest.fixture
def pair():
    a, b = socket.socketpair()
    yield a, b
    a.close()
    b.close()


def reset(sock):
    """Close a connection in a way that the peer gets an error."""
    sock.setsockopt(std.SOL_SOCKET, std.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def let_run():
    for _ in range(3):
        eventlet.sleep(0)


# --- data --------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, end",
    [
        (lambda sock: sock.recv(10), b""),
        (lambda sock: sock.recv_into(bytearray(10)), 0),
        (lambda sock: sock.recvfrom(10), b""),
        (lambda sock: sock.recvfrom_into(bytearray(10)), 0),
    ],
)
def test_reset_is_an_end(stream, call, end):
    a, b = stream
    reader = eventlet.spawn(call, a)
    let_run()
    reset(b)
    assert reader.wait() == end


def test_reset_is_an_error_for_who_does_not_wait(stream):
    a, b = stream
    a.setblocking(False)
    reset(b)
    with pytest.raises(ConnectionResetError):
        for _ in range(1000):
            try:
                a.recv(10)
            except BlockingIOError:
                time.sleep(0.001)


def test_who_asks_for_nothing_waits_for_something(stream):
    a, b = stream
    a.settimeout(0.01)
    for call in (
        lambda: a.recv(0),
        lambda: a.recv_into(bytearray()),
        lambda: a.recvfrom(0),
        lambda: a.recvfrom_into(bytearray()),
    ):
        with pytest.raises(TimeoutError, match="timed out"):
            call()
    b.sendall(b"x")
    a.settimeout(10)
    assert a.recv(0) == b""
    assert a.recv(1) == b"x"


def test_reading_waits_for_the_connection():
    listener = eventlet.listen(("127.0.0.1", 0))
    sock = socket.socket()
    sock.settimeout(0.01)
    with pytest.raises(TimeoutError):
        sock.recv(1)
    sock.settimeout(10)
    reader = eventlet.spawn(sock.recv, 1)
    let_run()
    sock.connect(listener.getsockname())
    conn, _ = listener.accept()
    conn.sendall(b"x")
    assert reader.wait() == b"x"


@pytest.mark.parametrize(
    "name, args",
    [
        ("recv", (1,)),
        ("recv_into", (bytearray(1),)),
        ("recvfrom", (1,)),
        ("recvfrom_into", (bytearray(1),)),
    ],
)
def test_reading_does_not_wait_for_the_connection_with_tls(name, args):
    with ssl.wrap_socket(socket.socket()) as sock:
        with eventlet.Timeout(20), pytest.raises(OSError) as info:
            getattr(sock, name)(*args)
        assert info.value.errno == errno.ENOTCONN


def test_only_an_unclosed_socket_with_tls_is_warned_of(pair):
    context = ssl.create_default_context()
    context.check_hostname = False
    a, _ = pair
    kept = [
        socket.socket(),
        context.wrap_socket(a, do_handshake_on_connect=False),
        context.wrap_socket(socket.socket(), do_handshake_on_connect=False),
    ]
    kept[2].close()
    fds = [sock.fileno() for sock in kept[:2]]
    text = repr(kept[1])
    with pytest.warns(ResourceWarning, match="unclosed") as warned:
        kept.clear()
        gc.collect()
    assert [str(w.message) for w in warned] == [f"unclosed {text}"]
    for fd in fds:
        with pytest.raises(OSError):
            os.fstat(fd)


def test_timeout_of_sendall_is_for_each_wait(pair):
    a, b = pair
    a.setsockopt(std.SOL_SOCKET, std.SO_SNDBUF, 4096)
    a.settimeout(0.5)
    data = b"x" * 100_000
    start = time.monotonic()

    def read():
        count = 0
        while count < len(data):
            count += len(b.recv(10_000))
            eventlet.sleep(0.08)

    reader = eventlet.spawn(read)
    a.sendall(data)
    assert time.monotonic() - start > 0.5
    reader.wait()


def test_connect_tells_of_refusal():
    with eventlet.listen(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    with pytest.raises(ConnectionRefusedError):
        eventlet.connect(address)
    sock = socket.socket()
    assert sock.connect_ex(address) == errno.ECONNREFUSED


def test_closing_ends_the_waits_of_others(stream):
    a, _ = stream
    reader = eventlet.spawn(a.recv, 1)
    let_run()
    a.close()
    with pytest.raises(hubs.IOClosed) as info:
        reader.wait()
    assert info.value.errno == errno.EBADF


# --- who may wait ------------------------------------------------------------


@pytest.mark.parametrize(
    "call", [lambda sock: sock.recv(1), lambda sock: sock.recvfrom(1)]
)
def test_second_reader_is_told(pair, call):
    a, b = pair
    first = eventlet.spawn(a.recv, 1)
    let_run()
    with pytest.raises(RuntimeError, match="Second simultaneous read"):
        call(a)
    b.send(b"x")
    assert first.wait() == b"x"


def test_second_reader_that_need_not_wait_is_none(pair):
    a, b = pair
    first = eventlet.spawn(a.recv, 1)
    let_run()
    b.send(b"xy")
    assert a.recv(1) == b"x"
    assert first.wait() == b"y"


def test_second_acceptor_is_told():
    listener = eventlet.listen(("127.0.0.1", 0))
    first = eventlet.spawn(listener.accept)
    let_run()
    with pytest.raises(RuntimeError, match="Second simultaneous read"):
        listener.accept()
    first.kill()


def test_many_readers_if_that_is_meant(pair):
    a, b = pair
    debug.hub_prevent_multiple_readers(False)
    try:
        readers = [eventlet.spawn(a.recv, 1) for _ in range(5)]
        let_run()
        b.send(b"abcde")
        assert b"".join(r.wait() for r in readers) == b"abcde"
    finally:
        debug.hub_prevent_multiple_readers(True)


def test_reader_and_writer_at_once(pair):
    a, b = pair
    reader = eventlet.spawn(a.recv, 1)
    let_run()
    a.sendall(b"y")
    b.send(b"x")
    assert (reader.wait(), b.recv(1)) == (b"x", b"y")


def test_switched_to_while_it_waits(pair):
    a, b = pair
    reader = eventlet.spawn(a.recv, 1)
    let_run()
    hubs.get_hub().schedule_call_global(0, reader.switch)
    eventlet.sleep(0.01)
    b.send(b"x")
    assert reader.wait() == b"x"


# --- one descriptor, two objects ---------------------------------------------


def test_wraps_a_socket():
    plain, other = std.socketpair()
    plain.settimeout(5)
    with greenio.GreenSocket(plain) as green:
        assert green.fd is plain
        assert green.fileno() == plain.fileno()
        assert green.gettimeout() == 5
        assert not os.get_blocking(plain.fileno())
        other.send(b"x")
        assert green.recv(1) == b"x"
    assert plain.fileno() == -1
    with pytest.raises(OSError):
        green.recv(1)
    other.close()


def test_wrapped_socket_that_is_closed():
    plain, other = std.socketpair()
    green = greenio.GreenSocket(plain)
    plain.close()
    with std.socketpair()[0]:  # its number may be that of the closed one
        with pytest.raises(OSError) as info:
            green.recv(1)
        assert info.value.errno == errno.EBADF
    other.close()


def test_wrapper_that_goes_closes_what_it_wraps():
    plain, other = std.socketpair()
    greenio.GreenSocket(plain)
    gc.collect()
    assert plain.fileno() == -1
    other.close()


def test_wrapper_that_is_detached():
    plain, other = std.socketpair()
    green = greenio.GreenSocket(plain)
    number = green.detach()
    assert plain.fileno() == green.fileno() == -1
    os.close(number)
    other.close()


def test_wraps_what_has_a_descriptor():
    class Listener:
        extra = "extra"

        def __init__(self):
            self.sock = std.create_server(("127.0.0.1", 0))

        def __getattr__(self, name):
            return getattr(self.sock, name)

    listener = Listener()
    green = greenio.GreenSocket(listener)
    assert green.extra == "extra"
    client = eventlet.connect(listener.getsockname())
    conn, _ = green.accept()
    client.sendall(b"x")
    assert conn.recv(1) == b"x"
    green.close()
    assert listener.sock.fileno() == -1


def test_wraps_a_closed_one():
    plain = std.socket()
    plain.close()
    green = greenio.GreenSocket(plain)
    assert green.fileno() == -1
    assert green.fd is plain
    green.close()


def test_fd_is_a_plain_socket(pair):
    a, b = pair
    plain = a.fd
    assert plain is a.fd
    assert isinstance(plain, greenio.base._original_socket)
    assert plain.fileno() == a.fileno()
    with pytest.raises(BlockingIOError):
        plain.recv(1)
    b.send(b"x")
    assert plain.recv(1) == b"x"
    again = greenio.GreenSocket(plain)
    b.send(b"y")
    assert again.recv(1) == b"y"
    again.close()
    assert a.fileno() == plain.fileno() == -1


def test_fd_of_a_closed_one(pair):
    a, _ = pair
    plain = a.fd
    a.close()
    assert plain.fileno() == -1
    assert socket.socket().fd.fileno() >= 0
    closed = socket.socket()
    closed.close()
    assert closed.fd.fileno() == -1


def test_fd_does_not_keep_it():
    a, b = socket.socketpair()
    plain = a.fd
    ref = weakref.ref(a)
    del a
    gc.collect()
    assert ref() is None
    assert plain.fileno() == -1
    b.close()


def test_views_do_not_leak():
    def once():
        a, b = socket.socketpair()
        plain = a.fd
        green = greenio.GreenSocket(b)
        del a, b, plain, green

    for _ in range(10):
        once()
    gc.collect()
    before = len(gc.get_objects()), len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        once()
    gc.collect()
    after = len(gc.get_objects()), len(os.listdir("/proc/self/fd"))
    assert after[0] - before[0] < 50
    assert after[1] == before[1]


def test_classes_that_are_derived():
    class Mine(greenio.GreenSocket):
        pass

    listener = Mine()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    client = eventlet.connect(listener.getsockname())
    conn, _ = listener.accept()
    assert type(conn) is Mine
    client.sendall(b"x")
    assert conn.recv(1) == b"x"
    assert type(conn.dup()) is Mine
    for sock in (listener, client, conn):
        sock.close()


def test_attributes_of_its_own(pair):
    a, b = pair
    a.anything = 1
    a.send = lambda data: 0
    assert a.send(b"x") == 0
    assert not a.act_non_blocking
    a.act_non_blocking = True
    assert a.gettimeout() == 0
    with pytest.raises(BlockingIOError):
        a.recv(1)
    a.act_non_blocking = False
    assert a.gettimeout() is None
    a.settimeout(socket._GLOBAL_DEFAULT_TIMEOUT)
    assert a.gettimeout() is None
    with pytest.raises(AttributeError):
        b.nothing  # noqa: B018


# --- beside others -----------------------------------------------------------


def test_beside_gevent_in_one_thread():
    """A server of each, and a client of the other."""

    def serve(listener):
        conn, _ = listener.accept()
        with conn:
            while data := conn.recv(100):
                conn.sendall(data.upper())

    def ask(sock, data):
        with sock:
            sock.sendall(data)
            return sock.recv(100)

    ours = eventlet.listen(("127.0.0.1", 0))
    theirs = gevent_socket.socket()
    theirs.bind(("127.0.0.1", 0))
    theirs.listen()
    green = eventlet.spawn(serve, ours)
    glet = gevent.spawn(serve, theirs)
    asked = gevent.spawn(
        ask, gevent_socket.create_connection(ours.getsockname()), b"a"
    )
    assert ask(eventlet.connect(theirs.getsockname()), b"b") == b"B"
    assert asked.get() == b"A"
    green.wait()
    glet.join()
    assert type(theirs.accept.__self__) is gevent_socket.socket
    # What is particular to eventlet's is not to gevent's.
    a, b = gevent_socket.socketpair()
    first = gevent.spawn(a.recv, 1)
    second = gevent.spawn(a.recv, 1)
    gevent.sleep(0)
    b.send(b"xy")
    assert first.get() + second.get() == b"xy"


def test_socket_of_gevent_is_wrapped():
    a, b = gevent_socket.socketpair()
    green = greenio.GreenSocket(a)
    b.send(b"x")
    assert green.recv(1) == b"x"
    green.close()
    assert a.fileno() == -1
    b.close()


def test_in_a_native_thread(pair):
    a, b = pair
    got = []

    def work():
        got.append(b.recv(1))
        b.sendall(b"y")

    thread = threading.Thread(target=work)
    thread.start()
    a.sendall(b"x")
    assert a.recv(1) == b"y"
    thread.join()
    assert got == [b"x"]


# --- select ------------------------------------------------------------------


def test_select_gives_all_that_are_ready(pair):
    a, b = pair
    assert select.select([a], [], [], 0) == ([], [], [])
    start = time.monotonic()
    assert select.select([a], [], [], 0.02) == ([], [], [])
    assert time.monotonic() - start >= 0.02
    waiting = eventlet.spawn(select.select, [a], [], [])
    let_run()
    b.send(b"x")
    assert waiting.wait() == ([a], [], [])
    assert select.select([a], [a, b], []) == ([a], [a, b], [])


def test_select_wants_numbers():
    with pytest.raises(TypeError):
        select.select([object()], [], [], 0)
    with pytest.raises(TypeError):
        select.select([], [], [], "x")
    with pytest.raises(OSError):
        fd = os.dup(0)
        os.close(fd)
        select.select([fd], [], [], 0)


# --- pipes -------------------------------------------------------------------


def test_pipes():
    r, w = os.pipe()
    with greenio.GreenPipe(r, "rb") as rf, greenio.GreenPipe(w, "wb") as wf:
        reader = eventlet.spawn(rf.read, 300_000)
        let_run()
        wf.write(b"x" * 300_000)
        wf.flush()
        assert reader.wait() == b"x" * 300_000
    with pytest.raises(ValueError):
        rf.read(1)


def test_pipe_of_a_file(tmp_path):
    file = open(tmp_path / "a", "w+")
    green = greenio.GreenPipe(file, "w+")
    assert file.closed
    green.write("äöü\n")
    green.seek(0)
    assert green.read() == "äöü\n"
    green.close()
    green.close()
    with pytest.raises(ValueError, match="unbuffered"):
        greenio.GreenPipe(tmp_path / "a", "r", 0)


def test_raw_file_that_is_closed():
    r, w = os.pipe()
    green = greenio.GreenPipe(r, "rb", 0)
    reader = eventlet.spawn(green.read, 1)
    let_run()
    green.close()
    with pytest.raises((ValueError, OSError)):
        reader.wait()
    with pytest.raises(ValueError, match="closed"):
        green.read(1)
    os.close(w)


@pytest.mark.skipif(sys.platform != "linux", reason="counts in /proc")
def test_serve_stops():
    listener = eventlet.listen(("127.0.0.1", 0))

    def handle(sock, address):
        if sock.recv(1) == b"q":
            raise eventlet.StopServe
        sock.sendall(b"y")

    server = eventlet.spawn(eventlet.serve, listener, handle)
    with eventlet.connect(listener.getsockname()) as sock:
        sock.sendall(b"x")
        assert sock.recv(10) == b"y"
        assert sock.recv(10) == b""
    with eventlet.connect(listener.getsockname()) as sock:
        sock.sendall(b"q")
        assert server.wait() is None
    listener.close()


def test_serve_passes_errors_on():
    listener = eventlet.listen(("127.0.0.1", 0))

    def handle(sock, address):
        raise KeyError("x")

    server = eventlet.spawn(eventlet.serve, listener, handle)
    eventlet.connect(listener.getsockname()).close()
    with pytest.raises(KeyError):
        server.wait()
    listener.close()


# --- failures ----------------------------------------------------------------


def test_accepting_that_fails_closes_the_connection(monkeypatch):
    class Mine(greenio.GreenSocket):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            if isinstance(args[0], greenio.GreenSocket):
                raise KeyError("adopted")

    for cls in (greenio.GreenSocket, Mine):
        listener = cls(std.AF_INET)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with eventlet.connect(listener.getsockname()) as client:
            with monkeypatch.context() as patch:
                if cls is not Mine:
                    patch.setattr(hubs, "notify_opened", lambda fd: 1 / 0)
                with pytest.raises((KeyError, ZeroDivisionError)):
                    listener.accept()
            gc.collect()
            assert client.recv(1) == b""
        listener.close()


def test_views_are_of_the_same_descriptor(pair):
    a, b = pair
    other = greenio.base._original_socket()
    for view in (b, other, None):
        with pytest.raises(TypeError):
            a._set_view(view)
    other.close()
    with pytest.raises(TypeError):
        a._share()
    with pytest.raises(OSError):
        greenio.GreenSocket()._share(None, 10**6, 2, 1, 0, True)


def test_hooks_are_for_a_class():
    from coir._core import set_socket_hooks

    with pytest.raises(TypeError, match="whose"):
        set_socket_hooks(lenient=True)
    with pytest.raises(TypeError):
        set_socket_hooks(accepted=int, lenient=True)
