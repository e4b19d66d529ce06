"""coir.gevent.socket and select: what gevent's own tests leave open."""

import errno
import gc
import os
import select as kernel
import socket as std
import sys
import threading
import weakref

import pytest
from coir import gevent
from coir.gevent import select, selectors, socket
from coir.gevent.event import Event
from coir.gevent.exceptions import InvalidSwitchError
from coir.gevent.socket import ConnectionInterrupted


class Stop(BaseException):
    pass


@pytest.fixture
def pair():
    a, b = socket.socketpair()
    yield a, b
    a.close()
    b.close()


@pytest.fixture
def stream():
    """Both ends of a TCP connection."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        a = socket.create_connection(listener.getsockname())
        b, _ = listener.accept()
    yield a, b
    a.close()
    b.close()


def let_run():
    """Let everybody run until they wait."""
    for _ in range(3):
        gevent.sleep(0)


def fill(sock):
    """Send until no more goes out, and none will."""
    sock.setblocking(False)
    sent = True
    while sent:
        sent = False
        try:
            while sock.send(b"x" * 65536):
                sent = True
        except BlockingIOError:
            gevent.sleep(0.02)  # the kernel makes room as it passes data on
    sock.setblocking(True)


# --- transfers ---------------------------------------------------------------


def test_is_the_interpreters_own_type(pair):
    assert isinstance(pair[0], type(pair[0]).__mro__[2])
    assert type(pair[0]).__mro__[2].__module__ == "_socket"


@pytest.mark.parametrize("size", [1, 1000, 4096, 65536, 65537, 1 << 20])
def test_all_sizes_pass(stream, size):
    a, b = stream
    data = os.urandom(1 << 20)
    sender = gevent.spawn(a.sendall, data)
    got = bytearray()
    while len(got) < len(data):
        got += b.recv(size if size > 1 or len(got) > 100 else 1 << 20)
    assert got == data
    sender.get()


def test_short_read_is_followed_by_the_end(stream):
    # Data and the end come as one event: the second read must not wait for
    # another one.
    a, b = stream
    reader = gevent.spawn(lambda: (b.recv(10), b.recv(100), b.recv(100)))
    let_run()
    a.sendall(b"1234567890" + b"short")
    a.close()
    assert reader.get(timeout=5) == (b"1234567890", b"short", b"")


def test_short_reads_in_a_row(stream):
    a, b = stream
    for i in range(50):
        reader = gevent.spawn(b.recv, 100)
        let_run()
        a.sendall(b"%d" % i)
        assert reader.get(timeout=5) == b"%d" % i
        # And where the data is there first.
        a.sendall(b"+%d" % i)
        assert b.recv(100) == b"+%d" % i


def test_urgent_data_does_not_stall_the_stream(stream):
    a, b = stream
    reader = gevent.spawn(lambda: b.recv(100) + b.recv(100))
    let_run()
    a.send(b"before")
    a.send(b"!", socket.MSG_OOB)
    a.send(b"after")
    assert reader.get(timeout=5) == b"beforeafter"


def test_peek_does_not_count_as_read(stream):
    a, b = stream
    a.sendall(b"data")
    assert b.recv(100, socket.MSG_PEEK) == b"data"
    assert b.recv(100) == b"data"


def test_arguments_are_checked(pair):
    a, _ = pair
    with pytest.raises(ValueError):
        a.recv(-1)
    with pytest.raises(TypeError):
        a.recv("1")
    with pytest.raises(TypeError):
        a.sendall("text")
    with pytest.raises(TypeError):
        a.send()
    with pytest.raises(TypeError):
        a.send(b"", nonsense=1)
    with pytest.raises(ValueError):
        a.recv_into(bytearray(1), 2)
    with pytest.raises(OverflowError):
        a.recv(1, 1 << 40)


def test_sendmsg_takes_an_iterator_when_it_has_to_wait(pair):
    a, b = pair
    fill(a)
    sender = gevent.spawn(a.sendmsg, iter([b"1", b"2"]))
    let_run()
    assert not sender.ready()
    while not sender.ready():
        b.recv(1 << 20)
        gevent.sleep(0)
    assert sender.get() == 2


# --- timeouts ----------------------------------------------------------------


def test_timeouts(pair):
    a, b = pair
    a.settimeout(0.001)
    with pytest.raises(TimeoutError, match="timed out"):
        a.recv(1)
    with pytest.raises(TimeoutError):
        a.recvfrom(1)
    a.settimeout(0)
    with pytest.raises(BlockingIOError):
        a.recv(1)
    a.settimeout(None)
    fill(a)
    with pytest.raises(TimeoutError):
        a.send(b"x", 0, 0.001)
    with pytest.raises(TimeoutError):
        a.send(b"x", timeout=0.001)
    with pytest.raises(BlockingIOError):
        a.send(b"x", timeout=0)
    for bad in ("1", -1, float("nan")):
        with pytest.raises((TypeError, ValueError)):
            a.settimeout(bad)


@pytest.mark.parametrize("seconds", [0.0, 5e-324, 0.1, 1e10, float("inf")])
def test_a_timeout_is_given_back_as_it_was_set(pair, seconds):
    a, _ = pair
    a.settimeout(seconds)
    assert a.gettimeout() == a.timeout == seconds
    assert a.getblocking() == (seconds > 0)
    if seconds < 0.1:
        error = TimeoutError if seconds > 0 else BlockingIOError
        with pytest.raises(error):
            a.recv(1)
    a.settimeout(None)
    assert a.gettimeout() is None
    assert a.getblocking()


def test_sendall_times_out_as_a_whole(stream):
    a, b = stream
    fill(a)
    a.settimeout(0.05)

    def drip():
        while True:
            b.recv(1 << 14)
            gevent.sleep(0.01)

    reader = gevent.spawn(drip)
    with pytest.raises(TimeoutError):
        a.sendall(b"x" * (64 << 20))
    reader.kill()


def test_an_interrupted_sendall_leaves_the_stream_torn(stream):
    a, _ = stream
    sender = gevent.spawn(a.sendall, b"x" * (64 << 20))
    let_run()
    sender.kill()
    for send in (a.send, a.sendall, lambda data: a.sendmsg([data])):
        with pytest.raises(ConnectionInterrupted):
            send(b"more")
    a.resume()
    fill(a)  # sends


def test_a_sendall_that_sent_nothing_tears_nothing(stream):
    a, b = stream
    fill(a)
    sender = gevent.spawn(a.sendall, b"x")
    let_run()
    sender.kill()
    with pytest.raises(TimeoutError):
        a.send(b"x", timeout=0.001)


# --- several who wait --------------------------------------------------------


def test_readers_are_served_in_turn(pair):
    a, b = pair
    got = []

    def read(i):
        got.append((i, b.recv(1)))

    readers = [gevent.spawn(read, i) for i in range(4)]
    let_run()
    for i in range(4):
        a.send(b"%d" % i)
    gevent.joinall(readers, timeout=5)
    assert got == [(i, b"%d" % i) for i in range(4)]


def test_one_event_serves_all_for_whom_there_is_something(stream):
    a, b = stream
    readers = [gevent.spawn(b.recv, 2) for _ in range(3)]
    let_run()
    a.sendall(b"112233")
    gevent.joinall(readers, timeout=5)
    assert [r.value for r in readers] == [b"11", b"22", b"33"]


def test_who_has_the_turn_and_is_killed_passes_it_on(pair):
    a, b = pair
    first = gevent.spawn(b.recv, 10)
    second = gevent.spawn(b.recv, 10)
    let_run()
    loop = gevent.get_hub().loop
    # Called after the socket's event, in the same turn of the loop: `first`
    # has been woken and is ready, but did not run.
    watcher = loop.check(priority=loop.MINPRI)

    def kill():
        if kernel.select([b], [], [], 0)[0]:
            watcher.stop()
            first.throw(Stop)

    watcher.start(kill)
    a.send(b"data")
    assert second.get(timeout=5) == b"data"
    assert isinstance(first.exception, Stop)
    watcher.close()


def test_a_timeout_in_line_keeps_the_others(pair):
    a, b = pair
    b.settimeout(0.01)
    first = gevent.spawn(b.recv, 1)
    let_run()
    b.settimeout(None)
    second = gevent.spawn(b.recv, 1)
    first.join(5)
    assert isinstance(first.exception, TimeoutError)
    a.send(b"x")
    assert second.get(timeout=5) == b"x"


def test_acceptors_share_a_listener():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        acceptors = [gevent.spawn(listener.accept) for _ in range(3)]
        let_run()
        clients = [
            socket.create_connection(listener.getsockname()) for _ in range(3)
        ]
        gevent.joinall(acceptors, timeout=5)
        accepted = [g.value[0] for g in acceptors]
        assert all(type(s) is socket.socket for s in accepted)
        for s in clients + accepted:
            s.close()


def test_a_foreign_switch_is_refused(pair):
    _, b = pair
    reader = gevent.spawn(b.recv, 1)
    let_run()
    gevent.get_hub().loop.run_callback(reader.switch, "nonsense")
    reader.join(5)
    assert isinstance(reader.exception, InvalidSwitchError)


# --- closing -----------------------------------------------------------------


def test_closing_ends_all_waits(stream):
    a, _ = stream
    fill(a)
    waits = [gevent.spawn(a.recv, 1) for _ in range(2)]
    waits += [gevent.spawn(a.sendall, b"x") for _ in range(2)]
    let_run()
    a.close()
    gevent.joinall(waits, timeout=5)
    for g in waits:
        assert isinstance(g.exception, socket.cancel_wait_ex)
        assert g.exception.errno == errno.EBADF


def test_a_number_that_is_closed_behind_our_back_is_found(pair):
    a, _ = pair
    reader = gevent.spawn(a.recv, 1)
    let_run()
    os.close(a.fileno())
    reader.join(5)
    assert reader.exception.errno == errno.EBADF
    assert a.fileno() == -1


def test_numbers_are_used_again(stream):
    # A new file under the number of one that was waited for.
    for _ in range(20):
        a, b = socket.socketpair()
        reader = gevent.spawn(a.recv, 10)
        let_run()
        b.send(b"x")
        assert reader.get(timeout=5) == b"x"
        a.close()
        b.close()


def test_detach_ends_waits_and_keeps_the_descriptor(pair):
    a, b = pair
    reader = gevent.spawn(a.recv, 1)
    let_run()
    fd = a.detach()
    reader.join(5)
    assert isinstance(reader.exception, OSError)
    again = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=fd)
    b.send(b"x")
    assert again.recv(1) == b"x"
    again.close()


def test_shutdown_ends_the_stream_for_who_reads(stream):
    a, _ = stream
    reader = gevent.spawn(a.recv, 1)
    let_run()
    a.shutdown(socket.SHUT_RD)
    assert reader.get(timeout=5) == b""


def test_files_keep_the_connection(pair):
    a, b = pair
    file = a.makefile("rwb")
    a.close()
    assert a.fileno() != -1
    file.write(b"x\n")
    file.flush()
    assert b.recv(10) == b"x\n"
    file.close()
    assert a.fileno() == -1


def test_an_unclosed_socket_is_warned_of():
    sock = socket.socket()
    fd = sock.fileno()
    with pytest.warns(ResourceWarning, match="unclosed"):
        del sock
        gc.collect()
    with pytest.raises(OSError):
        os.fstat(fd)


# --- connecting --------------------------------------------------------------


def test_connect_says_what_happened():
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        address = busy.getsockname()
        with socket.socket() as sock:
            with pytest.raises(ConnectionRefusedError):
                sock.connect(address)
        with socket.socket() as sock:
            assert sock.connect_ex(address) == errno.ECONNREFUSED
            # A second attempt on the same socket, after an event of the first.
            busy.listen()
            sock.connect(address)
            assert sock.connect_ex(address) == errno.EISCONN


def test_connect_by_name_is_looked_up():
    asked = []

    class Resolver:
        def getaddrinfo(self, *args):
            asked.append(args)
            return std.getaddrinfo("127.0.0.1", *args[1:])

        def close(self):
            pass

    hub = gevent.get_hub()
    with socket.socket() as listener, socket.socket() as sock:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        hub.resolver = Resolver()
        try:
            sock.connect(("name.invalid", port))
        finally:
            del hub.resolver
        assert sock.getpeername() == ("127.0.0.1", port)
    assert asked[0][:2] == ("name.invalid", port)


def test_unix_connect_waits_for_room(tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(5)]
        connects = [gevent.spawn(c.connect, path) for c in clients]
        let_run()
        assert not all(g.ready() for g in connects)
        accepted = [listener.accept()[0] for _ in clients]
        gevent.joinall(connects, timeout=5, raise_error=True)
        for s in clients + accepted:
            s.close()


def test_addresses_of_peers(tmp_path):
    families = [(socket.AF_INET, ("127.0.0.1", 0))]
    if socket.has_ipv6:
        families.append((socket.AF_INET6, ("::1", 0)))
    families.append((socket.AF_UNIX, str(tmp_path / "s")))
    for family, address in families:
        with socket.socket(family) as listener, socket.socket(family) as c:
            try:
                listener.bind(address)
            except OSError:
                continue  # no IPv6 here
            listener.listen()
            c.connect(listener.getsockname())
            accepted, peer = listener.accept()
            with accepted:
                assert peer == accepted.getpeername() == c.getsockname()
                assert accepted.family == family


# --- threads and loops -------------------------------------------------------


def in_thread(func):
    """Run it in a thread of its own, with a hub of its own."""
    result = []

    def run():
        try:
            result.append(func())
        finally:
            hub = gevent.hub.get_hub_if_exists()
            if hub is not None:
                hub.destroy(destroy_loop=True)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, result


def test_a_socket_is_used_by_two_threads(pair):
    a, b = pair
    a.settimeout(5)
    b.settimeout(5)

    def echo():
        got = b.recv(10)
        while got != b"end":
            b.sendall(got)
            got = b.recv(10)
        return "done"

    a.settimeout(None)
    a.send(b"first")
    assert b.recv(10) == b"first"
    waits = gevent.spawn(b.recv, 1)  # its edge is this thread's
    let_run()
    waits.kill()
    thread, result = in_thread(echo)
    for i in range(50):
        a.sendall(b"%d" % i)
        assert a.recv(10) == b"%d" % i
    a.sendall(b"end")
    while thread.is_alive():
        gevent.sleep(0.001)
    assert result == ["done"]


def test_closing_ends_waits_in_other_threads(pair):
    a, _ = pair
    waits = threading.Event()

    def read():
        # Called by that thread's hub, which runs once recv() waits.
        gevent.get_hub().loop.run_callback(waits.set)
        try:
            a.recv(1)
        except OSError as exc:
            return exc.errno

    thread, result = in_thread(read)
    assert waits.wait(5)
    a.close()
    while thread.is_alive():
        gevent.sleep(0.001)
    assert result == [errno.EBADF]


def test_a_socket_outlives_the_loop_of_its_first_wait(pair):
    a, b = pair

    def time_out():
        a.settimeout(0.001)
        with pytest.raises(TimeoutError):
            a.recv(1)

    thread, _ = in_thread(time_out)
    while thread.is_alive():
        gevent.sleep(0.001)
    a.settimeout(5)
    reader = gevent.spawn(a.recv, 1)
    let_run()
    b.send(b"x")
    assert reader.get(timeout=5) == b"x"


def test_without_ref_it_does_not_keep_the_hub_running(pair):
    a, _ = pair
    a.ref = False
    reader = gevent.spawn(a.recv, 1)
    assert gevent.wait(timeout=5)
    assert not reader.ready()
    reader.kill()


def test_a_child_does_not_wait_for_who_had_the_turn(pair):
    a, b = pair
    reader = gevent.spawn(b.recv, 1)
    let_run()
    hub = gevent.get_hub()
    main = gevent.getcurrent()
    watcher = hub.loop.check(priority=hub.loop.MINPRI)

    def go_on():
        if kernel.select([b], [], [], 0)[0]:
            watcher.stop()
            main.switch()  # before the reader, which was woken, runs

    watcher.start(go_on)
    a.send(b"12")
    hub.switch()
    watcher.close()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            b.settimeout(2)
            if b.recv(2) == b"12":
                status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    reader.kill()


# --- memory ------------------------------------------------------------------


def test_sockets_are_freed():
    refs = []
    for _ in range(3):
        a, b = socket.socketpair()
        reader = gevent.spawn(a.recv, 1)
        let_run()
        b.send(b"x")
        reader.get(timeout=5)
        refs += [weakref.ref(a), weakref.ref(b)]
        a.close()
        b.close()
        del reader
    del a, b
    gevent.sleep(0)
    gc.collect()
    assert [ref() for ref in refs] == [None] * 6


def test_waiting_does_not_leak(pair):
    a, b = pair

    def turns(count):
        for _ in range(count):
            reader = gevent.spawn(a.recv, 100)
            let_run()
            b.send(b"x")
            reader.get()
            a.settimeout(0)
            with pytest.raises(BlockingIOError):
                a.recv(1)
            a.settimeout(None)

    turns(50)
    growth = []
    for _ in range(3):
        gc.collect()
        before = sys.getallocatedblocks()
        turns(200)
        gc.collect()
        growth.append(sys.getallocatedblocks() - before)
    assert min(growth) < 200, growth


# --- select ------------------------------------------------------------------


def test_select_beyond_1024(pair):
    import resource

    a, b = pair
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[0] < 1100:
        pytest.skip("the limit of descriptors is too low")
    fd = os.dup(a.fileno())
    high = 1050
    os.dup2(fd, high)
    os.close(fd)
    try:
        b.send(b"x")
        assert select.select([high], [], [], 5) == ([high], [], [])
    finally:
        os.close(high)


@pytest.mark.parametrize("how", ["select", "poll"])
def test_what_another_watcher_took_counts_as_ready(pair, how):
    # The descriptor of a ZeroMQ socket: its own watcher empties it.
    def wait():
        if how == "select":
            return select.select([pair[0]], [], [], 30)
        poll = select.poll()
        poll.register(pair[0], select.POLLIN)
        return poll.poll(30000)

    mine = std.socket(fileno=os.dup(pair[0].fileno()))
    taken = []
    with mine:
        mine.setblocking(False)
        watcher = gevent.get_hub().loop.io(pair[0].fileno(), 1)
        watcher.start(lambda: taken.append(mine.recv(10)))
        waits = gevent.spawn(wait)
        let_run()
        pair[1].send(b"x")
        got = waits.get(timeout=20)
        watcher.stop()
        watcher.close()
    assert taken == [b"x"]
    assert got == (
        ([pair[0]], [], [])
        if how == "select"
        else [(pair[0].fileno(), select.POLLIN)]
    )


def test_select_tells_of_all_lists(pair):
    a, b = pair
    assert select.select([a, a], [a], []) == ([], [a], [])
    b.send(b"x")
    assert select.select([a, a], [a], []) == ([a, a], [a], [])
    with pytest.raises(OSError) as info:
        os.close(fd := os.dup(a.fileno()))
        select.select([fd], [], [], 1)
    assert info.value.errno == errno.EBADF
    with pytest.raises(ValueError):
        select.select([], [], [], -1)


@pytest.mark.parametrize("what", ["select", "poll", "epoll", "selector"])
def test_waits_are_green(pair, what):
    a, b = pair
    ticked = Event()

    def wait():
        if what == "select":
            return select.select([a], [], [])[0]
        if what == "selector":
            with selectors.DefaultSelector() as s:
                s.register(a, selectors.EVENT_READ)
                return s.select()
        p = getattr(select, what)()
        p.register(a.fileno(), select.POLLIN)
        return p.poll()

    waiter = gevent.spawn(wait)
    gevent.spawn(ticked.set)
    assert ticked.wait(5)
    let_run()
    assert not waiter.ready()
    b.send(b"x")
    assert waiter.get(timeout=5)


def test_epoll_is_the_kernels(pair):
    a, b = pair
    with select.epoll() as e:
        e.register(a, select.EPOLLIN | select.EPOLLET)
        assert e.poll(0) == []
        assert e.poll(0.001) == []
        b.send(b"x")
        assert e.poll() == [(a.fileno(), select.EPOLLIN)]
        assert e.poll(0) == []
        e.unregister(a)
        assert not e.closed
    assert e.closed


def test_a_selector_sees_what_is_registered_meanwhile(pair):
    a, b = pair
    with selectors.DefaultSelector() as s:
        waiter = gevent.spawn(s.select)
        let_run()
        s.register(a, selectors.EVENT_READ, "data")
        b.send(b"x")
        [(key, events)] = waiter.get(timeout=5)
        assert (key.data, events) == ("data", selectors.EVENT_READ)


def test_files_on_a_disk_are_always_ready_in_a_selector(pair, tmp_path):
    """The kernel's epoll refuses them; who reads a redirected stdin is not
    to know."""
    a, b = pair
    with selectors.DefaultSelector() as s, open(tmp_path / "f", "w+") as file:
        key = s.register(file, selectors.EVENT_READ)
        assert s.select() == s.select(0) == [(key, selectors.EVENT_READ)]
        other = s.register(a, selectors.EVENT_READ)
        b.send(b"x")
        assert s.select() == [
            (other, selectors.EVENT_READ),
            (key, selectors.EVENT_READ),
        ]
        s.unregister(a)
        key = s.modify(file, selectors.EVENT_WRITE)
        assert s.select() == [(key, selectors.EVENT_WRITE)]
        s.unregister(file)
        assert s.select(0) == []
        with pytest.raises(KeyError):
            s.unregister(file)


def test_wait_read_and_write(pair):
    a, b = pair
    with pytest.raises(TimeoutError):
        socket.wait_read(a.fileno(), timeout=0.001)
    with pytest.raises(KeyError):
        socket.wait_read(a.fileno(), 0.001, KeyError())
    socket.wait_write(a.fileno(), timeout=5)
    socket.wait_readwrite(a.fileno(), timeout=5)
    b.send(b"x")
    socket.wait_read(a.fileno(), timeout=5)
    with pytest.raises(OSError):
        socket.wait_read(-1)


# --- names -------------------------------------------------------------------


class NoPool:
    _threadpool = None

    @property
    def threadpool(self):
        raise AssertionError("the pool was used")


def test_what_is_at_hand_needs_no_thread(tmp_path, monkeypatch):
    from coir.gevent.resolver import thread

    resolver = thread.Resolver(NoPool())
    found = resolver.getaddrinfo("127.0.0.1", 80, 0, socket.SOCK_STREAM)
    assert found[0][4] == ("127.0.0.1", 80)
    assert resolver.gethostbyname("10.1.2.3") == "10.1.2.3"
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n")
    resolver._hosts.fname = str(hosts)
    for first in (True, False):
        resolver._files_first = first
        assert resolver._is_at_hand("LocalHost", socket.AF_INET) is first
        # libc would go on to DNS.
        assert not resolver._is_at_hand("localhost", socket.AF_INET6)
        assert not resolver._is_at_hand("other", socket.AF_UNSPEC)
    for call in (
        lambda: resolver.getaddrinfo("other.invalid", 80),
        lambda: resolver.gethostbyname("other.invalid"),
        lambda: resolver.getaddrinfo("127.0.0.1", "http"),
    ):
        with pytest.raises(AssertionError, match="the pool was used"):
            call()


def test_errors_of_look_ups_are_the_callers_only(capfd):
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("name.invalid", 80)
    assert capfd.readouterr().err == ""


def test_hosts_file(tmp_path):
    from coir.gevent.resolver._hostsfile import HostsFile

    path = tmp_path / "hosts"
    path.write_text(
        "127.0.0.1 LocalHost one # two\n"
        "\n"
        "::1\tlocalhost six\n"
        "nonsense line\n"
        "10.0.0.1\n"
        "10.0.0.2 one\n"
    )
    hosts = HostsFile(str(path))
    hosts.reload()
    assert hosts.v4 == {"localhost": "127.0.0.1", "one": "127.0.0.1"}
    assert hosts.v6 == {"localhost": "::1", "six": "::1"}
    assert hosts.aliases == {"one": "localhost", "six": "localhost"}
    assert hosts.reverse["127.0.0.1"] == "localhost"
    assert len(list(hosts.iter_all_host_addr_pairs())) == 4
    path.write_text("1.2.3.4 other\n")
    hosts.reload()
    assert hosts.v4 == {"other": "1.2.3.4"}
    path.unlink()
    hosts.reload()
    assert hosts.v4 == {}


# --- TLS ---------------------------------------------------------------------


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    import shutil
    import subprocess

    if shutil.which("openssl") is None:
        pytest.skip("needs the program openssl")
    path = tmp_path_factory.mktemp("tls")
    subprocess.run(
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost "
        "-keyout key -out cert".split(),
        cwd=path,
        check=True,
        capture_output=True,
    )
    return str(path / "cert"), str(path / "key")


def tls_pair(certificate, pair):
    from coir.gevent import ssl

    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*certificate)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    accept = gevent.spawn(server.wrap_socket, pair[0], server_side=True)
    connect = gevent.spawn(client.wrap_socket, pair[1])
    gevent.joinall([accept, connect], timeout=10, raise_error=True)
    return accept.value, connect.value


@pytest.mark.filterwarnings("ignore:ssl.PROTOCOL_TLS")
def test_tls_sockets_can_be_made_with_a_context(certificate, pair):
    # As clients do that were written for gevent, geventhttpclient for one.
    from coir.gevent import ssl

    context = ssl.create_default_context(cafile=certificate[0])
    context.check_hostname = False
    accept = gevent.spawn(
        ssl.SSLSocket,
        pair[0],
        keyfile=certificate[1],
        certfile=certificate[0],
        server_side=True,
    )
    with ssl.SSLSocket(
        pair[1], _context=context, server_hostname="localhost"
    ) as client:
        assert type(client) is ssl.SSLSocket
        assert client.getpeercert()["subject"]
        assert pair[1].fileno() == -1
        with accept.get(timeout=30) as server:
            server.sendall(b"hello")
            assert client.recv(10) == b"hello"


@pytest.mark.filterwarnings("ignore:ssl.PROTOCOL_TLS")
def test_tls_sockets_can_be_made_before_they_connect(certificate):
    from coir.gevent import ssl

    with ssl.SSLSocket(ca_certs=certificate[0]) as sock:
        assert sock.type == socket.SOCK_STREAM
        assert sock.context.verify_mode == ssl.CERT_NONE
        assert sock.version() is None
    with socket.socket() as plain, pytest.raises(TypeError, match="public"):
        ssl.SSLSocket(plain)


def test_tls(certificate, pair):
    a, b = tls_pair(certificate, pair)
    data = os.urandom(1 << 20)
    sender = gevent.spawn(a.sendall, data)
    got = bytearray()
    while len(got) < len(data):
        got += b.recv(1 << 16)
    assert got == data
    sender.get()
    a.settimeout(0.001)
    with pytest.raises(TimeoutError, match="read"):
        a.recv(1)
    a.settimeout(0)
    from coir.gevent import ssl

    with pytest.raises(ssl.SSLWantReadError):
        a.recv(1)
    a.settimeout(5)
    unwraps = [gevent.spawn(s.unwrap) for s in (a, b)]
    gevent.joinall(unwraps, timeout=5, raise_error=True)
    a.sendall(b"clear")
    assert b.recv(10) == b"clear"
    a.close()
    b.close()


def test_closing_ends_waits_for_tls(certificate, pair):
    a, b = tls_pair(certificate, pair)
    reader = gevent.spawn(a.recv, 1)
    let_run()
    a.close()
    reader.join(5)
    assert reader.exception.errno == errno.EBADF
    b.close()


class CountingResolver:
    """Knows one name, and notes that it was asked."""

    def __init__(self):
        self.asked = []

    def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):
        gevent.sleep(0.001)
        self.asked.append(host)
        return std.getaddrinfo("127.0.0.1", port, family, type, proto, flags)


@pytest.fixture
def resolver():
    hub = gevent.get_hub()
    hub.resolver = CountingResolver()
    yield hub.resolver
    del hub.resolver


@pytest.mark.parametrize("how", ["sendto", "sendto_flags", "sendmsg"])
def test_datagram_to_a_name_lets_others_run(resolver, how):
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as to,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        to.bind(("127.0.0.1", 0))
        resolver.asked.clear()
        address = ("a.name.example", to.getsockname()[1])
        ran = []
        gevent.spawn(ran.append, 1)
        if how == "sendto":
            assert sock.sendto(b"data", address) == 4
        elif how == "sendto_flags":
            assert sock.sendto(b"data", 0, address) == 4
        else:
            assert sock.sendmsg([b"da", b"ta"], [], 0, address) == 4
        assert ran == [1]
        assert to.recv(10) == b"data"
    assert resolver.asked == ["a.name.example"]


def test_datagram_to_no_name_needs_no_look_up(resolver):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        resolver.asked.clear()
        port = sock.getsockname()[1]
        sock.sendto(b"1", ("127.0.0.1", port))
        sock.sendto(b"2", ("", port))
        with pytest.raises(OSError):
            sock.sendto(b"3", ("<broadcast>", port))  # it is not allowed to
        for args in [(b"",), (b"", None), (b"", ("127.0.0.1",)), ()]:
            with pytest.raises(TypeError):
                sock.sendto(*args)
        assert sock.recv(10) == b"1"
    assert resolver.asked == []


@pytest.mark.parametrize("method", ["recv", "recv_into"])
def test_waitall_waits_for_all(stream, method):
    a, b = stream

    def receive(n):
        if method == "recv":
            return b.recv(n, socket.MSG_WAITALL)
        buffer = bytearray(n)
        return bytes(buffer[: b.recv_into(buffer, n, socket.MSG_WAITALL)])

    receiver = gevent.spawn(receive, 6)
    for part in (b"ab", b"cd"):
        a.sendall(part)
        let_run()
        assert not receiver.ready()
    a.sendall(b"efg")
    assert receiver.get(timeout=60) == b"abcdef"
    receiver = gevent.spawn(receive, 100)
    a.sendall(b"hi")
    let_run()
    a.close()
    assert receiver.get(timeout=60) == b"ghi"  # the stream has ended
    assert receive(10) == b""


def test_waitall_with_a_timeout_is_as_with_python(stream):
    a, b = stream
    a.sendall(b"ab")
    b.settimeout(60)
    assert b.recv(10, socket.MSG_WAITALL) == b"ab"
    b.setblocking(False)
    with pytest.raises(BlockingIOError):
        b.recv(10, socket.MSG_WAITALL)
    b.setblocking(True)
    a.sendall(b"cd")
    assert b.recv(10, socket.MSG_WAITALL | socket.MSG_DONTWAIT) == b"cd"


def test_waitall_can_be_killed(stream):
    a, b = stream
    a.sendall(b"ab")
    receiver = gevent.spawn(b.recv, 10, socket.MSG_WAITALL)
    let_run()
    receiver.kill()
    a.sendall(b"cd")
    assert b.recv(10) == b"cd"


def test_descriptor_that_is_detached_is_as_with_gevent():
    # It does not block: those who take it over count on that.
    sock = socket.socket()
    fd = sock.detach()
    try:
        assert not os.get_blocking(fd)
    finally:
        os.close(fd)


def test_class_in_use_is_not_garbage_when_an_instance_is():
    class Mine(socket.socket):
        pass

    sock = Mine()
    sock.close()
    sock.cycle = sock
    del sock
    gc.collect()
    assert Mine.__mro__[:2] == (Mine, socket.socket)
    Mine().close()
