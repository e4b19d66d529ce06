"""Servers of coir.gevent: what gevent's own tests do not ask for."""

import gc
import os
import socket as native
import subprocess
import sys
import weakref

import pytest
from coir import gevent
from coir.gevent import socket
from coir.gevent.backdoor import BackdoorServer
from coir.gevent.baseserver import BaseServer, parse_address
from coir.gevent.event import Event
from coir.gevent.pool import Pool
from coir.gevent.server import DatagramServer, StreamServer

HERE = ("127.0.0.1", 0)


@pytest.fixture(autouse=True)
def deadline():
    with gevent.Timeout(20):
        yield


def echo(sock, _address):
    while data := sock.recv(1024):
        sock.sendall(data)


def connect(server):
    sock = socket.socket(server.family)
    sock.settimeout(10)
    sock.connect((server.server_host, server.server_port))
    return sock


def ask(server, data=b"ping"):
    with connect(server) as sock:
        sock.sendall(data)
        return sock.recv(1024)


class Errors:
    """Takes the errors that a hub reports."""

    def __init__(self, monkeypatch):
        self.seen = []
        monkeypatch.setattr(
            gevent.get_hub(),
            "handle_error",
            lambda context, t, v, tb: self.seen.append(v),
        )


@pytest.fixture
def errors(monkeypatch):
    return Errors(monkeypatch)


@pytest.mark.parametrize("spawn", ["default", gevent.spawn_raw, 3, Pool(3)])
def test_echo(spawn):
    with StreamServer(HERE, echo, spawn=spawn) as server:
        server.start()
        assert ask(server) == b"ping"
        assert ask(server, b"again") == b"again"
    assert server.closed and not hasattr(server, "socket")


def test_handler_in_the_hub():
    def handle(sock, _address):
        assert gevent.getcurrent() is gevent.get_hub()
        sock.send(b"hello")

    with StreamServer(HERE, handle, spawn=None) as server:
        server.start()
        assert ask(server) == b"hello"


def test_connections_are_closed_as_the_server_says_then():
    closed = []

    class Server(StreamServer):
        def do_close(self, sock, *args):
            closed.append("by the class")
            super().do_close(sock, *args)

    def by_hand(sock, *args):
        closed.append("by hand")
        sock.close()

    with Server(HERE, echo) as server:
        server.start()
        assert ask(server) == ask(server) == b"ping"
        server.do_close = by_hand
        assert ask(server) == b"ping"
        del server.do_close
        assert ask(server) == b"ping"
        while len(closed) < 4:
            gevent.sleep(0)
    assert closed == ["by the class"] * 2 + ["by hand", "by the class"]


def test_full_pool_leaves_connections_in_the_kernel():
    go_on = Event()
    handled = []

    def handle(sock, _address):
        handled.append(sock)
        go_on.wait()
        sock.sendall(b"done")

    with StreamServer(HERE, handle, spawn=1) as server:
        server.start()
        first, second = connect(server), connect(server)
        while not server._full_pool:
            gevent.sleep(0)
        assert len(handled) == 1 and server._watcher is None
        go_on.set()
        assert first.recv(10) == b"done"
        assert second.recv(10) == b"done"
        # Nothing is left at the semaphore once there is room.
        first.close()
        second.close()
        server.pool.join()
        while server._full_pool is not None:
            gevent.sleep(0)
        assert ask(server, b"")[:4] == b"done"


def test_stop_kills_what_is_left_in_the_pool():
    ended = []

    def handle(sock, _address):
        try:
            sock.recv(1)
        finally:
            ended.append(sock)

    server = StreamServer(HERE, handle, spawn=2)
    server.start()
    client = connect(server)
    while len(server.pool) == 0:
        gevent.sleep(0)
    server.stop(timeout=0)
    assert len(ended) == 1
    assert client.recv(1) == b""
    client.close()


def test_stopped_from_a_handler():
    def handle(sock, _address):
        server.close()
        sock.sendall(b"bye")

    server = StreamServer(HERE, handle)
    server.start()
    waits = gevent.spawn(server.serve_forever)
    assert ask(server) == b"bye"
    waits.join()
    assert server.closed


def test_pause_after_an_error_is_doubled(errors):
    class Failing(StreamServer):
        min_delay = 0.001
        max_delay = 0.003

        def do_read(self):
            delays.append(self.delay)
            raise OSError(24, "too many")

    delays = []
    with Failing(HERE, echo) as server:
        server.start()
        client = connect(server)
        while len(delays) < 4:
            gevent.sleep(0)
        assert delays == [0.001, 0.002, 0.003, 0.003]
        assert server.started and len(errors.seen) == 4
        client.close()


def test_listener_that_was_closed_by_others_is_given_up(errors, capfd):
    listener = socket.socket()
    listener.bind(HERE)
    listener.listen()
    server = StreamServer(listener, echo)
    server.start()
    client = native.create_connection(listener.getsockname())
    number = listener.detach()
    server._do_read()
    assert server.closed
    assert errors.seen[0].errno == 9
    assert "failed with" in capfd.readouterr().err
    os.close(number)
    client.close()


def test_blocking_listener_of_the_standard_library():
    listener = native.create_server(HERE)
    listener.settimeout(5)
    with StreamServer(listener, echo) as server:
        server.start()
        assert ask(server) == b"ping"
        assert ask(server) == b"ping"
    assert listener.fileno() == -1


def test_unix_socket(tmp_path):
    path = str(tmp_path / "s")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    with StreamServer(listener, echo) as server:
        server.start()
        assert server.server_host is None and server.server_port is None
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(b"ping")
            assert client.recv(10) == b"ping"


def test_datagrams_are_whole_and_answered():
    def handle(data, address):
        server.sendto(b"%d" % len(data), address)

    with DatagramServer(HERE, handle) as server:
        server.start()
        client = socket.socket(type=socket.SOCK_DGRAM)
        client.connect(server.address)
        client.send(b"x" * 20000)
        assert client.recv(100) == b"20000"
        client.close()


def make_certificate(path):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"]
        + ["-keyout", path / "key", "-out", path / "cert"]
        + ["-days", "1", "-subj", "/CN=localhost"],
        check=True,
        capture_output=True,
    )
    return str(path / "cert"), str(path / "key")


@pytest.mark.parametrize("by_context", [False, True])
def test_tls(tmp_path, by_context):
    try:
        certfile, keyfile = make_certificate(tmp_path)
    except FileNotFoundError:
        pytest.skip("there is no openssl command")
    from coir.gevent import ssl

    if by_context:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certfile, keyfile)
        args = {"ssl_context": context}
    else:
        args = {"certfile": certfile, "keyfile": keyfile}
    with StreamServer(HERE, echo, **args) as server:
        assert server.ssl_enabled
        server.start()
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.load_verify_locations(certfile)
        trusting.check_hostname = False
        with trusting.wrap_socket(connect(server)) as sock:
            sock.sendall(b"ping")
            assert sock.recv(10) == b"ping"


def test_tls_without_its_files_is_refused_at_once(tmp_path):
    with pytest.raises(FileNotFoundError):
        StreamServer(HERE, echo, certfile=str(tmp_path / "none"))
    with pytest.raises(ValueError):
        StreamServer(HERE, echo, keyfile=str(tmp_path / "none"))
    with pytest.raises(AttributeError):
        StreamServer(HERE, echo, ssl_context=None)


@pytest.mark.parametrize(
    ("address", "result"),
    [
        (("127.0.0.1", 80), (native.AF_INET, ("127.0.0.1", 80))),
        (("::1", 80), (native.AF_INET6, ("::1", 80))),
        ("localhost:80", (native.AF_INET, ("localhost", 80))),
        ("[::1]:80", (native.AF_INET6, ("::1", 80))),
        ("::1:80", (native.AF_INET6, ("::1", 80))),
        (":80", (native.AF_INET, ("", 80))),
        ("*:80", (native.AF_INET, ("", 80))),
    ],
)
def test_addresses(address, result):
    assert parse_address(address) == result


@pytest.mark.parametrize("address", [80, "80", ("", 80)])
def test_addresses_of_all_interfaces(address):
    family, where = parse_address(address)
    assert where == ("", 80)
    assert family in (native.AF_INET, native.AF_INET6)


@pytest.mark.parametrize("address", ["", "a:b", "/tmp/s"])
def test_no_address(address):
    with pytest.raises(ValueError, match="Failed to parse address"):
        parse_address(address)


def test_wrong_arguments():
    with pytest.raises(TypeError, match="handle"):
        StreamServer(HERE)
    with pytest.raises(TypeError):
        parse_address(None)
    listener = socket.socket()
    with pytest.raises(TypeError, match="backlog"):
        StreamServer(listener, echo, backlog=5)
    assert listener.fileno() >= 0  # it was not taken
    listener.close()

    class None_(BaseServer):
        max_accept = 0

    with pytest.raises(ValueError, match="max_accept"):
        None_(HERE, echo)


def test_address_in_use_names_it():
    with StreamServer(HERE, echo) as server:
        server.start()
        other = StreamServer(server.address, echo)
        with pytest.raises(OSError, match="127.0.0.1"):
            other.start()


def test_server_is_freed_once_closed():
    server = StreamServer(HERE, echo, spawn=2)
    server.start()
    ask(server)
    server.stop()
    gone = weakref.ref(server)
    del server
    gevent.sleep(0)
    gc.collect()
    assert gone() is None


def test_repr():
    server = StreamServer(HERE, echo)
    assert str(server).startswith("<StreamServer address=127.0.0.1:0 handle=")
    server.start()
    assert f"fileno={server.socket.fileno()} " in repr(server)
    server.close()
    assert "handle" not in repr(server)


# The backdoor


def read_prompt(sock):
    data = b""
    while not data.endswith(b">>> "):
        got = sock.recv(1024)
        assert got, data
        data += got
    return data.decode()


def test_backdoor_prints_to_its_own_connection_only(capsys):
    before = sys.stdout, sys.stdin, sys.stderr
    with BackdoorServer(HERE, locals={"gevent": gevent}) as server:
        server.start()
        first, second = connect(server), connect(server)
        read_prompt(first), read_prompt(second)
        first.sendall(b"x = 1; gevent.sleep(0); print('one', x)\n")
        second.sendall(b"print('two', 'x' in dir())\n")
        assert read_prompt(first) == "one 1\n>>> "
        assert read_prompt(second) == "two False\n>>> "
        print("outside")
        first.sendall(b"1 / 0\n")
        assert "ZeroDivisionError" in read_prompt(first)
        first.sendall(b"quit()\n")
        assert first.recv(100) == b""
        second.close()
        first.close()
    assert capsys.readouterr().out == "outside\n"
    assert (sys.stdout, sys.stdin, sys.stderr) == before


def test_backdoor_in_use_does_not_spoil_the_end_of_the_program():
    """Python flushes the standard streams when greenlets are gone already."""
    code = """if 1:
        from coir import gevent
        from coir.gevent import socket
        from coir.gevent.backdoor import BackdoorServer
        server = BackdoorServer(("127.0.0.1", 0), banner="hello")
        server.start()
        sock = socket.create_connection(server.address)
        assert sock.recv(5) == b"hello"
        print("the end", end="")
        """
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, b"the end"), done.stderr


def test_backdoor_leaves_a_later_stdout_alone(monkeypatch):
    with BackdoorServer(HERE) as server:
        server.start()
        sock = connect(server)
        read_prompt(sock)
        with monkeypatch.context() as patch:
            mine = object()
            patch.setattr(sys, "stdout", mine)
            sock.close()
            while len(server.pool):
                gevent.sleep(0)
            assert sys.stdout is mine
        sys.stdout = sys.stdout._before
