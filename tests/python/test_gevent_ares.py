"""coir.gevent's resolver on c-ares, against a server of this file's own."""

import gc
import os
import socket as native
import struct
import sys

import coir.gevent as gevent
import pytest
from coir.gevent import _config, event, queue, socket

cares = pytest.importorskip(
    "coir.gevent.resolver.cares", exc_type=ImportError
)
from coir.gevent.resolver.ares import Resolver  # noqa: E402

A, CNAME, PTR, AAAA = 1, 5, 12, 28


def name_at(packet, at):
    labels = []
    while packet[at]:
        labels.append(packet[at + 1 : at + 1 + packet[at]])
        at += 1 + packet[at]
    return b".".join(labels).decode().lower(), at + 1


def packed_name(name):
    return b"".join(
        bytes([len(part)]) + part.encode() for part in name.split(".")
    ) + b"\0"


class Server:
    """Answers from `records`, {(name, type): [data]}; 'silent.*' it does
    not. What is not there does not exist."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.records = {}
        self.asked = []
        self.held = None  # questions kept unanswered, if it is a list
        self.greenlet = gevent.spawn(self.run)

    def run(self):
        while True:
            packet, peer = self.socket.recvfrom(4096)
            if self.held is not None:
                self.held.append((packet, peer))
            else:
                self.reply(packet, peer)

    def reply(self, packet, peer):
        name, end = name_at(packet, 12)
        kind = struct.unpack_from(">H", packet, end)[0]
        self.asked.append((name, kind))
        if name.startswith("silent."):
            return
        found = self.records.get((name, kind), [])
        alias = self.records.get((name, CNAME), [])
        known = {n for n, _ in self.records}
        answers = b""
        if alias and kind != PTR:
            target = name_at(alias[0], 0)[0]
            answers += self.answer(name, CNAME, alias[0])
            found = self.records.get((target, kind), [])
            answers += b"".join(
                self.answer(target, kind, data) for data in found
            )
        else:
            answers += b"".join(
                self.answer(name, kind, data) for data in found
            )
        count = len(found) + len(alias)
        flags = 0x8180 | (0 if name in known else 3)
        head = packet[:2] + struct.pack(">HHHHH", flags, 1, count, 0, 0)
        self.socket.sendto(head + packet[12 : end + 4] + answers, peer)

    @staticmethod
    def answer(name, kind, data):
        return (
            packed_name(name)
            + struct.pack(">HHIH", kind, 1, 60, len(data))
            + data
        )

    def address(self, name, address):
        family = native.AF_INET6 if ":" in address else native.AF_INET
        kind = AAAA if ":" in address else A
        data = native.inet_pton(family, address)
        self.records.setdefault((name, kind), []).append(data)

    def close(self):
        self.greenlet.kill()
        self.socket.close()


@pytest.fixture
def server():
    server = Server()
    server.address("both.test.example", "192.0.2.7")
    server.address("both.test.example", "2001:db8::7")
    server.address("two.test.example", "192.0.2.1")
    server.address("two.test.example", "192.0.2.2")
    server.records["other.test.example", CNAME] = [
        packed_name("two.test.example")
    ]
    server.records["7.2.0.192.in-addr.arpa", PTR] = [
        packed_name("both.test.example")
    ]
    yield server
    server.close()


@pytest.fixture
def resolver(server):
    resolver = Resolver(
        servers=["127.0.0.1"], udp_port=server.port, timeout=20, tries=1
    )
    yield resolver
    resolver.close()


def test_getaddrinfo(resolver):
    found = resolver.getaddrinfo(
        "both.test.example", 80, 0, socket.SOCK_STREAM
    )
    assert sorted(found) == [
        (native.AF_INET, native.SOCK_STREAM, 6, "", ("192.0.2.7", 80)),
        (
            native.AF_INET6,
            native.SOCK_STREAM,
            6,
            "",
            ("2001:db8::7", 80, 0, 0),
        ),
    ]


def test_getaddrinfo_has_types_and_services_as_libc(resolver):
    like = native.getaddrinfo("192.0.2.7", "http", native.AF_INET)
    found = resolver.getaddrinfo("both.test.example", "http", native.AF_INET)
    assert found == like


def test_getaddrinfo_knows_the_canonical_name(resolver):
    found = resolver.getaddrinfo(
        "other.test.example", 80, 2, 1, 0, native.AI_CANONNAME
    )
    assert [entry[3] for entry in found] == ["two.test.example", ""]
    found = resolver.getaddrinfo(
        "two.test.example", 80, 2, 1, 0, native.AI_CANONNAME
    )
    assert found[0][3] == "two.test.example"


def test_no_such_name(resolver):
    with pytest.raises(socket.gaierror) as error:
        resolver.getaddrinfo("no.test.example", 80)
    assert error.value.args[0] == native.EAI_NONAME
    with pytest.raises(socket.gaierror) as error:
        resolver.gethostbyname("no.test.example")
    assert error.value.args[0] == native.EAI_NONAME
    with pytest.raises(socket.herror) as error:
        resolver.gethostbyaddr("192.0.2.99")
    assert error.value.args == (1, "Unknown host")


def test_no_such_service_or_family(resolver, server):
    with pytest.raises(socket.gaierror) as error:
        resolver.getaddrinfo("both.test.example", "no such service")
    assert error.value.args[0] == native.EAI_SERVICE
    with pytest.raises(socket.gaierror) as error:
        resolver.getaddrinfo("both.test.example", 80, native.AF_UNIX)
    assert error.value.args[0] == native.EAI_FAMILY
    assert server.asked == []


def test_gethostbyname(resolver):
    assert resolver.gethostbyname("both.test.example") == "192.0.2.7"
    name, aliases, addresses = resolver.gethostbyname_ex("other.test.example")
    assert name == "two.test.example"
    assert aliases == ["other.test.example"]
    assert sorted(addresses) == ["192.0.2.1", "192.0.2.2"]


def test_gethostbyaddr_and_getnameinfo(resolver):
    assert resolver.gethostbyaddr("192.0.2.7")[0] == "both.test.example"
    assert resolver.gethostbyaddr("both.test.example")[2] == ["192.0.2.7"]
    assert resolver.getnameinfo(("192.0.2.7", 80), 0) == (
        "both.test.example",
        "http",
    )
    assert resolver.getnameinfo(
        ("192.0.2.7", 80), native.NI_NUMERICSERV
    ) == ("both.test.example", "80")


def test_what_needs_no_server(resolver, server):
    for args in [("127.0.0.1", 80), ("::1", 80), (None, 80)]:
        assert resolver.getaddrinfo(*args) == native.getaddrinfo(*args)
    assert resolver.gethostbyname("") == "0.0.0.0"
    assert resolver.gethostbyname("127.0.0.1") == "127.0.0.1"
    assert resolver.getnameinfo(("192.0.2.7", 80), 3) == ("192.0.2.7", "80")
    assert server.asked == []


@pytest.mark.parametrize(
    ("sockaddr", "flags", "error"),
    [
        ("text", 0, TypeError),
        (("127.0.0.1", 80), "text", TypeError),
        (("127.0.0.1", "80"), 0, TypeError),
        ((None, 80), 0, TypeError),
        (("192.0.2.7", 80, 0), 0, OSError),
        (("2001:db8::7", 80, 0x100000), 0, OverflowError),
        (("two.test.example", 80), 0, OSError),
    ],
)
def test_getnameinfo_refuses(resolver, sockaddr, flags, error):
    with pytest.raises(error):
        resolver.getnameinfo(sockaddr, flags)


def test_many_look_ups_are_in_progress_at_once(resolver, server):
    server.held = []
    jobs = [
        gevent.spawn(resolver.gethostbyname, f"n{i}.test.example")
        for i in range(50)
    ]
    for i in range(50):
        server.address(f"n{i}.test.example", f"192.0.2.{i}")
    with gevent.Timeout(60):
        while len(server.held) < 50:
            gevent.sleep(0.001)
    held, server.held = server.held, None
    for packet, peer in reversed(held):
        server.reply(packet, peer)
    gevent.joinall(jobs, raise_error=True)
    assert [job.value for job in jobs] == [f"192.0.2.{i}" for i in range(50)]
    assert resolver.cares.watched == []


def test_timeout_has_its_name(server):
    resolver = Resolver(
        servers=["127.0.0.1"], udp_port=server.port, timeout=0.01, tries=1
    )
    with pytest.raises(socket.herror, match="ARES_ETIMEOUT"):
        resolver.gethostbyname("silent.test.example")
    with pytest.raises(socket.gaierror, match="ARES_ETIMEOUT"):
        resolver.getaddrinfo("silent.test.example", 80)
    resolver.close()


def test_close_ends_what_is_in_progress(resolver):
    job = gevent.spawn(resolver.gethostbyname, "silent.test.example")
    with gevent.Timeout(60):
        while not resolver.cares.watched:
            gevent.sleep(0)
    resolver.close()
    resolver.close()
    with pytest.raises(socket.herror, match="ARES_EDESTRUCTION"):
        job.get()
    with pytest.raises(socket.gaierror, match="closed"):
        resolver.gethostbyname("two.test.example")


def test_who_gives_up_leaves_it_to_itself(resolver, server):
    with gevent.Timeout(0.01, False):
        resolver.gethostbyname("silent.test.example")
    assert resolver.gethostbyname("both.test.example") == "192.0.2.7"


def test_callback_that_destroys_its_channel(server):
    channel = cares.channel(
        gevent.get_hub().loop, servers="127.0.0.1", udp_port=server.port
    )
    seen = queue.Queue()

    def callback(result):
        channel.destroy()
        seen.put(result)

    for name in (b"both.test.example", b"silent.test.example"):
        channel.gethostbyname(callback, name)
    first, second = seen.get(timeout=60), seen.get(timeout=60)
    assert first.successful() and first.get()[-1] == ["192.0.2.7"]
    assert first.value.family == native.AF_INET
    assert not second.successful()
    with pytest.raises(socket.herror):
        second.get()
    with pytest.raises(socket.gaierror, match="destroyed"):
        channel.getaddrinfo(seen.put, b"both.test.example", None)
    with pytest.raises(socket.gaierror, match="destroyed"):
        channel.set_servers("127.0.0.1")


def test_channel_checks_its_arguments():
    loop = gevent.get_hub().loop
    for kwargs in (
        {"servers": ["no address"]},
        {"servers": "127.0.0.1,none"},
        {"flags": "text"},
        {"tries": "text"},
    ):
        with pytest.raises(ValueError):
            cares.channel(loop, **kwargs)
    with pytest.raises(TypeError):
        cares.channel(None)
    channel = cares.channel(loop, servers=[b"127.0.0.1"], timeout="2")
    with pytest.raises(cares.InvalidIP):
        channel.gethostbyaddr(print, b"none")
    with pytest.raises(cares.InvalidIP):
        channel.getnameinfo(print, ("none", 80), 0)
    with pytest.raises(TypeError):
        channel.gethostbyname(None, b"name")
    with pytest.raises(TypeError):
        channel.gethostbyname(print, "name")
    channel.destroy()
    channel = cares.AresChannel(loop)
    with pytest.raises(ValueError):
        channel.__init__(loop)  # once only
    with pytest.raises(TypeError):
        channel.gethostbyaddr(print, "text")
    with pytest.raises(ValueError):
        channel.gethostbyaddr(print, b"12345")
    with pytest.raises(TypeError):
        channel.gethostbyname(None, b"name")
    channel.destroy()


def test_channel_that_was_not_initialized():
    channel = cares.AresChannel.__new__(cares.AresChannel)
    assert channel.loop is None and channel.destroyed
    with pytest.raises(socket.gaierror, match="destroyed"):
        channel.gethostbyname(print, b"name")
    channel.destroy()


def test_loop_that_is_destroyed_first():
    hub = gevent.hub.Hub(loop=gevent.get_hub().loop.__class__())
    channel = cares.channel(hub.loop)
    loop = hub.loop
    loop.destroy()
    with pytest.raises(socket.gaierror, match="destroyed"):
        channel.gethostbyname(print, b"name")
    with pytest.raises(ValueError, match="destroyed"):
        cares.channel(loop)


def test_settings_of_the_environment(monkeypatch, server):
    monkeypatch.setenv("GEVENT_RESOLVER", "ares")
    monkeypatch.setenv("GEVENT_RESOLVER_NAMESERVERS", "127.0.0.1")
    monkeypatch.setenv("GEVENTARES_UDP_PORT", str(server.port))
    config = _config.Config()
    assert config.resolver is Resolver
    monkeypatch.setattr("coir.gevent.resolver.ares.config", config)
    resolver = Resolver()
    assert resolver.gethostbyname("both.test.example") == "192.0.2.7"
    resolver.close()


def test_resolver_that_was_not_closed_says_so(server):
    resolver = Resolver(servers=["127.0.0.1"], udp_port=server.port)
    with pytest.warns(ResourceWarning, match="not closed"):
        del resolver
        gc.collect()


def test_channel_without_references_answers(server):
    seen = event.AsyncResult()
    channel = cares.channel(
        gevent.get_hub().loop, servers="127.0.0.1", udp_port=server.port
    )
    channel.gethostbyname(seen, b"both.test.example")
    del channel
    gc.collect()
    assert seen.get(timeout=60)[0] == "both.test.example"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork()")
def test_child_of_a_fork_asks_by_itself(resolver, server):
    job = gevent.spawn(resolver.gethostbyname, "both.test.example")
    server.held = []
    with gevent.Timeout(60):
        while not server.held:
            gevent.sleep(0.001)
    channel = resolver.cares
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            # The parent's server answers, from its own thread.
            result = resolver.gethostbyname("two.test.example")
            if result.startswith("192.0.2.") and resolver.cares is channel:
                code = 0
        finally:
            os._exit(code)
    with gevent.Timeout(60):
        while len(server.held) < 2:
            gevent.sleep(0.001)
        held, server.held = server.held, None
        for packet, peer in held:
            server.reply(packet, peer)
        assert job.get() == "192.0.2.7"
        assert gevent.os.waitpid(pid, 0)[1] == 0


def test_nothing_leaks(server):
    loop = gevent.get_hub().loop
    resolver = Resolver(servers=["127.0.0.1"], udp_port=server.port)

    def once():
        channel = cares.channel(
            loop, servers="127.0.0.1", udp_port=server.port
        )
        channel.gethostbyname(lambda result: None, b"silent.test.example")
        channel.destroy()
        resolver.gethostbyname("both.test.example")
        resolver.getnameinfo(("192.0.2.7", 80), 0)
        for name in ("no.test.example", "both.test.example"):
            try:
                resolver.getaddrinfo(name, 80)
            except OSError:
                pass
        server.asked.clear()
        gevent.sleep(0)

    for _ in range(50):
        once()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(1000):
        once()
    gc.collect()
    assert sys.getallocatedblocks() - before < 1000
    resolver.close()
