"""Arguments by name: all that gevent's signatures name can be given so."""

import signal
import socket as native

import coir.gevent as gevent
import pytest
from coir._core import set_syserr_cb
from coir.gevent import (
    event,
    hub,
    local,
    lock,
    os,
    pool,
    queue,
    select,
    server,
    socket,
    threadpool,
    util,
)
from coir.gevent.core import loop as Loop


def nothing(*args, **kwargs):
    """What is linked, called, spawned."""


def raised(func, *args):
    """The exception that it raises."""
    with pytest.raises(Exception) as info:
        func(*args)
    return info.value


NEW = {
    "Greenlet": lambda: gevent.Greenlet(nothing),
    "Event": event.Event,
    "AsyncResult": event.AsyncResult,
    "Semaphore": lock.Semaphore,
    "BoundedSemaphore": lock.BoundedSemaphore,
    "DummySemaphore": lock.DummySemaphore,
    "RLock": lock.RLock,
    "Queue": queue.Queue,
    "LifoQueue": queue.LifoQueue,
    "PriorityQueue": queue.PriorityQueue,
    "SimpleQueue": queue.SimpleQueue,
    "Channel": queue.Channel,
    "Group": pool.Group,
    "Pool": lambda: pool.Pool(2),
    "Waiter": hub.Waiter,
    "hub": gevent.get_hub,
    "loop": lambda: gevent.get_hub().loop,
    "ended loop": lambda: Loop(default=False),
    "timer": lambda: gevent.get_hub().loop.timer(0, 1),
    "io": lambda: gevent.get_hub().loop.io(0, 1),
    "async": lambda: gevent.get_hub().loop.async_(),
    "Timeout": gevent.Timeout,
    "ThreadPool": lambda: threadpool.ThreadPool(1),
    "gevent": lambda: gevent,
    "queue": lambda: queue,
    "hub module": lambda: hub,
    "local": lambda: local,
    "os": lambda: os,
    "util": lambda: util,
    "select": lambda: select,
    "socket": socket.socket,
    "pair": lambda: socket.socketpair()[0],
    "functions": lambda: socket,
    "StreamServer": lambda: server.StreamServer(("127.0.0.1", 0), nothing),
}

BLOCK = {"block": True, "timeout": None}
POLL = {"block": False, "timeout": None}
CALL = {"func": nothing, "args": (), "kwds": {}}
ITEMS = {"func": nothing, "iterable": [1]}
IMMEDIATE = {"exception": ValueError, "block": True, "timeout": 10}

#: What to call of whom, with which names; and the error, if that is right.
CALLS = [
    ("Greenlet", "start_later", {"seconds": 0}, None),
    ("Greenlet", "rawlink", {"callback": nothing}, None),
    ("Greenlet", "unlink", {"callback": nothing}, None),
    ("Greenlet", "link", {"callback": nothing}, None),
    ("Greenlet", "link_value", {"callback": nothing}, None),
    ("Greenlet", "link_exception", {"callback": nothing}, None),
    ("Greenlet", "add_spawn_callback", {"callback": nothing}, None),
    ("Greenlet", "remove_spawn_callback", {"callback": nothing}, None),
    ("Greenlet", "kill", IMMEDIATE, None),
    ("Greenlet", "join", {"timeout": 0}, None),
    ("Greenlet", "get", POLL, gevent.Timeout),
    ("Event", "wait", {"timeout": 0}, None),
    ("Event", "rawlink", {"callback": nothing}, None),
    ("Event", "unlink", {"callback": nothing}, None),
    ("AsyncResult", "set", {"value": 1}, None),
    ("AsyncResult", "set_result", {"value": 1}, None),
    (
        "AsyncResult",
        "set_exception",
        {"exception": ValueError(), "exc_info": None},
        None,
    ),
    ("AsyncResult", "get", POLL, gevent.Timeout),
    ("AsyncResult", "result", {"timeout": 0}, gevent.Timeout),
    ("AsyncResult", "wait", {"timeout": 0}, None),
    ("AsyncResult", "rawlink", {"callback": nothing}, None),
    ("Semaphore", "acquire", {"blocking": True, "timeout": 1}, None),
    ("Semaphore", "wait", {"timeout": 0}, None),
    ("Semaphore", "rawlink", {"callback": nothing}, None),
    ("BoundedSemaphore", "acquire", {"blocking": True, "timeout": 1}, None),
    ("DummySemaphore", "acquire", {"blocking": True, "timeout": 1}, None),
    ("DummySemaphore", "wait", {"timeout": 1}, None),
    ("RLock", "acquire", {"blocking": True, "timeout": 1}, None),
    ("RLock", "_acquire_restore", {"count_owner": (0, None)}, None),
    ("queue", "Queue", {"maxsize": 1, "items": [1]}, None),
    ("queue", "JoinableQueue", {"items": [], "unfinished_tasks": 0}, None),
    ("queue", "SimpleQueue", {"maxsize": 1, "items": [1]}, None),
    ("queue", "Channel", {"maxsize": 1}, None),
    *[
        row
        for kind in ("Queue", "LifoQueue", "PriorityQueue", "SimpleQueue")
        for row in [
            (kind, "put", {"item": 1, **BLOCK}, None),
            (kind, "put_nowait", {"item": 1}, None),
            (kind, "get", POLL, queue.Empty),
            (kind, "peek", POLL, queue.Empty),
            (kind, "_put", {"item": 1}, None),
            (kind, "_init", {"maxsize": 1}, None),
            (kind, "_init", {"maxsize": 1, "items": [1]}, None),
        ]
    ],
    ("Queue", "join", {"timeout": 0}, None),
    ("Queue", "shutdown", {"immediate": True}, None),
    ("Channel", "put", {"item": 1, **POLL}, queue.Full),
    ("Channel", "put_nowait", {"item": 1}, queue.Full),
    ("Channel", "get", POLL, queue.Empty),
    ("Waiter", "switch", {"value": 1}, None),
    ("loop", "run_callback", {"func": nothing}, None),
    ("loop", "run_callback_threadsafe", {"func": nothing}, None),
    ("loop", "closing_fd", {"fd": 99}, None),
    ("loop", "timer", {"after": 1, "repeat": 0.0, "ref": True}, None),
    ("loop", "io", {"fd": 0, "events": 1, "priority": None}, None),
    ("loop", "signal", {"signum": signal.SIGUSR2, "ref": False}, None),
    ("loop", "stat", {"path": "/", "interval": 0.0}, None),
    ("loop", "async_", {"ref": True, "priority": None}, None),
    ("ended loop", "break_", {"how": 1}, None),
    (
        "hub",
        "handle_error",
        {
            "context": None,
            "type": gevent.GreenletExit,
            "value": gevent.GreenletExit(),
            "tb": None,
        },
        gevent.GreenletExit,
    ),
    ("hub module", "set_hub", {"hub": gevent.get_hub()}, None),
    ("async", "send_ignoring_arg", {"_ignored": None}, None),
    ("ThreadPool", "apply", CALL, None),
    ("Group", "add", {"greenlet": gevent.Greenlet(nothing)}, None),
    ("Group", "discard", {"greenlet": gevent.Greenlet(nothing)}, None),
    ("Pool", "discard", {"greenlet": gevent.Greenlet(nothing)}, None),
    ("Pool", "_discard", {"greenlet": gevent.Greenlet(nothing)}, None),
    ("Pool", "apply", CALL, None),
    ("Pool", "apply_async", {**CALL, "callback": None}, None),
    ("Pool", "map", ITEMS, None),
    ("Pool", "map_async", {**ITEMS, "callback": None}, None),
    ("Pool", "join", {"timeout": 1, "raise_error": False}, None),
    ("Pool", "kill", IMMEDIATE, None),
    ("Pool", "wait_available", {"timeout": 1}, None),
    ("gevent", "sleep", {"seconds": 0, "ref": True}, None),
    ("gevent", "idle", {"priority": 0}, None),
    ("gevent", "joinall", {"greenlets": [], "timeout": 1, "count": 1}, None),
    ("gevent", "killall", {"greenlets": [], **IMMEDIATE}, None),
    ("gevent", "wait", {"objects": [], "timeout": 1, "count": 1}, None),
    (
        "local",
        "all_local_dicts_for_greenlet",
        {"greenlet": gevent.getcurrent()},
        None,
    ),
    ("util", "wrap_errors", {"errors": ValueError, "func": nothing}, None),
    ("os", "make_nonblocking", {"fd": 0}, None),
    (
        "select",
        "select",
        {"rlist": [], "wlist": [], "xlist": [], "timeout": 0},
        None,
    ),
    ("socket", "bind", {"address": ("127.0.0.1", 0)}, None),
    ("socket", "settimeout", {"howlong": 1}, None),
    ("socket", "setblocking", {"flag": True}, None),
    ("pair", "shutdown", {"how": socket.SHUT_WR}, None),
    ("functions", "getaddrinfo", {"host": "127.0.0.1", "port": 1}, None),
    ("functions", "gethostbyname", {"hostname": "127.0.0.1"}, None),
    ("StreamServer", "stop", {"timeout": 1}, None),
]


@pytest.mark.parametrize(
    ("of", "name", "given", "error"),
    CALLS,
    ids=[f"{of}.{name}-{i}" for i, (of, name, *_) in enumerate(CALLS)],
)
def test_arguments_by_name(of, name, given, error):
    method = getattr(NEW[of](), name)
    if error is None:
        method(**given)
    else:
        with pytest.raises(error):
            method(**given)
    with pytest.raises(TypeError):
        method(**given, unknown_argument=1)


#: Methods of one argument.
ONE = [
    ("Greenlet", "start_later"),
    ("Greenlet", "rawlink"),
    ("Greenlet", "unlink"),
    ("Greenlet", "add_spawn_callback"),
    ("Greenlet", "remove_spawn_callback"),
    ("Event", "rawlink"),
    ("Event", "unlink"),
    ("RLock", "_acquire_restore"),
    ("Queue", "put_nowait"),
    ("Queue", "_put"),
    ("Channel", "put_nowait"),
    ("Waiter", "switch"),
    ("Group", "discard"),
    ("loop", "closing_fd"),
    ("async", "send_ignoring_arg"),
    ("hub module", "set_hub"),
    ("hub module", "set_loop"),
    ("local", "all_local_dicts_for_greenlet"),
    ("socket", "bind"),
    ("socket", "connect"),
    ("socket", "connect_ex"),
    ("socket", "settimeout"),
    ("socket", "setblocking"),
    ("socket", "shutdown"),
]


@pytest.mark.parametrize(("of", "name"), ONE)
def test_one_argument_and_no_other(of, name):
    method = getattr(NEW[of](), name)
    assert isinstance(raised(method), TypeError)
    assert isinstance(raised(method, None, None), TypeError)


def test_the_argument_of_set_syserr_cb():
    with pytest.raises(TypeError, match="callable"):
        set_syserr_cb(callback=1)
    with pytest.raises(TypeError):
        set_syserr_cb()


def test_named_arguments_of_sockets():
    a, b = socket.socketpair()
    with a, b:
        assert a.sendall(data=b"one", flags=0) is None
        assert a.sendall(b"two", flags=0) is None
        assert a.send(data=b"three", flags=0, timeout=1) == 5
        assert a.sendmsg(buffers=[b"four"]) == 4
        assert a.sendmsg([b"five"], flags=0, address=None) == 4
        assert b.recv(100) == b"onetwothreefourfive"
        for send in (a.send, a.sendall, a.sendmsg):
            with pytest.raises(TypeError):
                send(flags=0)
            with pytest.raises(TypeError):
                send([b"x"], unknown=1)
    listener = socket.socket()
    with listener, socket.socket() as c, socket.socket() as d:
        listener.bind(address=("127.0.0.1", 0))
        listener.listen()
        c.connect(address=listener.getsockname())
        assert d.connect_ex(address=listener.getsockname()) == 0


def test_sendmsg_by_name_to_an_address():
    udp = native.AF_INET, native.SOCK_DGRAM
    with socket.socket(*udp) as a, socket.socket(*udp) as b:
        b.bind(("127.0.0.1", 0))
        assert a.sendmsg(address=b.getsockname(), buffers=[b"x", b"y"]) == 2
        assert b.recv(10) == b"xy"


def test_named_arguments_of_watchers():
    seen = []
    loop = gevent.get_hub().loop
    timer = loop.timer(0)
    timer.start(callback=lambda: seen.append("timer"), update=True)
    soon = loop.async_()
    soon.feed(revents=1, callback=lambda: seen.append("fed"))
    late = loop.async_()
    late.feed(1, callback=lambda: seen.append("fed, too"))
    loop.run_callback(func=lambda: seen.append("called"))
    gevent.sleep(0.001)
    assert sorted(seen) == ["called", "fed", "fed, too", "timer"]
    for watcher in (timer, soon, late):
        watcher.close()
    for wrong in ({}, {"revents": 1}, {"callback": nothing}):
        with loop.async_() as watcher, pytest.raises(TypeError):
            watcher.feed(**wrong)


def test_handle_error_of_a_loop_by_name():
    seen = []
    loop = Loop(default=False)
    loop.error_handler = lambda *info: seen.append(info)
    loop.handle_error(context=1, type=2, value=3, tb=4)
    assert seen == [(1, 2, 3, 4)]
    loop.destroy()


def test_wait_write_takes_what_is_ignored():
    a, b = socket.socketpair()
    with a, b:
        socket.wait_write(a.fileno(), 5, None, event="ignored")
        socket.wait_readwrite(a.fileno(), 5, None, "ignored")
