"""What coir.eventlet's functions and methods are called, and take."""

import pickle
import socket

import pytest
from coir import eventlet
from coir.eventlet import (
    event,
    greenio,
    greenpool,
    greenthread,
    queue,
    semaphore,
    timeout,
    tpool,
    wsgi,
)


@pytest.mark.parametrize(
    "func, module, name",
    [
        (eventlet.sleep, "greenthread", "sleep"),
        (eventlet.spawn, "greenthread", "spawn"),
        (eventlet.spawn_n, "greenthread", "spawn_n"),
        (eventlet.spawn_after, "greenthread", "spawn_after"),
        (eventlet.kill, "greenthread", "kill"),
        (eventlet.connect, "convenience", "connect"),
        (eventlet.GreenPool, "greenpool", "GreenPool"),
        (greenthread.GreenThread, "greenthread", "GreenThread"),
        (event.Event, "event", "Event"),
        (queue.Queue, "queue", "Queue"),
        (queue.LightQueue, "queue", "LightQueue"),
        (semaphore.Semaphore, "semaphore", "Semaphore"),
        (timeout.Timeout, "timeout", "Timeout"),
        (tpool.execute, "tpool", "execute"),
        (wsgi.Input, "wsgi", "Input"),
        (wsgi.ChunkReadError, "wsgi", "ChunkReadError"),
        (wsgi.format_date_time, "wsgi", "format_date_time"),
    ],
)
def test_names_by_which_they_are_found(func, module, name):
    assert func.__module__ == f"coir.eventlet.{module}"
    assert func.__name__ == func.__qualname__ == name
    assert func.__doc__ or func is wsgi.ChunkReadError
    assert pickle.loads(pickle.dumps(func)) is func


@pytest.mark.parametrize(
    "method, name",
    [
        (greenpool.GreenPool.spawn, "GreenPool.spawn"),
        (greenthread.GreenThread.wait, "GreenThread.wait"),
        (semaphore.Semaphore.acquire, "Semaphore.acquire"),
        (event.Event.send, "Event.send"),
    ],
)
def test_names_of_methods(method, name):
    assert method.__qualname__ == name


def collect(*args, **kwargs):
    return args, kwargs


def test_spawn_takes_the_function_by_name():
    expected = (), {"a": 1, "b": 2}
    pool = eventlet.GreenPool(2)
    pile = eventlet.GreenPile(pool)
    for thread in (
        eventlet.spawn(a=1, func=collect, b=2),
        eventlet.spawn_after(seconds=0, func=collect, a=1, b=2),
        greenthread.spawn_after_local(seconds=0, func=collect, a=1, b=2),
        pool.spawn(a=1, b=2, function=collect),
    ):
        assert thread.wait() == expected
    pile.spawn(func=collect, a=1, b=2)
    assert next(pile) == expected
    done = []
    eventlet.spawn_n(func=lambda **kwargs: done.append(kwargs), a=1, b=2)
    pool.spawn_n(function=lambda **kwargs: done.append(kwargs), a=1, b=2)
    eventlet.sleep(seconds=0)
    assert done == [expected[1]] * 2


@pytest.mark.parametrize("spawn", ["spawn", "spawn_n", "GreenPool", "link"])
@pytest.mark.parametrize("kwargs", [{}, {"a": 1}])
def test_spawn_needs_a_function(spawn, kwargs):
    call = {
        "GreenPool": eventlet.GreenPool().spawn,
        "link": eventlet.spawn(collect).link,
    }.get(spawn) or getattr(eventlet, spawn)
    with pytest.raises(TypeError, match="missing 1 required .*func"):
        call(**kwargs)


def test_links_take_the_function_by_name():
    log = []

    def linked(thread, **kwargs):
        log.append(kwargs)

    thread = eventlet.spawn(collect)
    thread.link(func=linked, a=1)
    thread.link(func=linked)
    thread.link(linked, func=2)
    assert thread.unlink(func=linked)
    assert not thread.unlink(func=linked)
    thread.wait()
    assert log == [{"a": 1}, {"func": 2}]


def test_arguments_by_name():
    q = queue.Queue(maxsize=1)
    q.put(item=1, block=True, timeout=1)
    q.resize(size=3)
    q.put_nowait(item=2)
    assert [q.get(block=False, timeout=None), q.get_nowait()] == [1, 2]
    lock = semaphore.Semaphore(value=1)
    assert lock.acquire(blocking=True, timeout=None)
    assert lock.release(blocking=True)
    done = event.Event()
    done.send(result=3, exc=None)
    assert done.wait(timeout=1) == 3
    with timeout.Timeout(seconds=None, exception=False) as timer:
        assert timer.seconds is None


def test_sockets_take_arguments_by_name():
    one, two = map(greenio.GreenSocket, socket.socketpair())
    with one, two:
        one.setblocking(flag=True)
        one.sendall(data=b"abcdef", flags=0)
        assert two.recv(bufsize=1, flags=socket.MSG_PEEK) == b"a"
        assert two.recv(bufsize=1) + two.recv(1, flags=0) == b"ab"
        assert two.recvfrom(bufsize=2, flags=0)[0] == b"cd"
        assert two.recvfrom(2, flags=0)[0] == b"ef"
        for call in (two.recv, two.recvfrom):
            with pytest.raises(TypeError):
                call(flags=0)
            with pytest.raises(TypeError):
                call(1, bufsize=1)
            with pytest.raises(TypeError):
                call(1, size=1)
