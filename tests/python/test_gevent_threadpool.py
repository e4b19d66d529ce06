"""coir.gevent.threadpool: what gevent's own tests leave open."""

import gc
import os
import threading
import time
import weakref
from concurrent import futures

import coir.gevent as gevent
import pytest
from coir.gevent._threading import EmptyTimeout
from coir.gevent._threading import Queue as NativeQueue
from coir.gevent.event import Event
from coir.gevent.exceptions import InvalidThreadUseError, LoopExit
from coir.gevent.threadpool import (
    ThreadPool,
    ThreadPoolExecutor,
    ThreadResult,
)


class Stop(Exception):
    pass


@pytest.fixture(autouse=True)
def quiet():
    """Errors of tasks are printed; not here."""
    gevent.get_hub().NOT_ERROR += (Stop,)
    yield
    del gevent.get_hub().NOT_ERROR


@pytest.fixture
def pool():
    pool = ThreadPool(2)
    yield pool
    pool.kill()


def test_values_and_errors(pool):
    assert pool.apply(lambda a, b: (a, b), (1,), {"b": 2}) == (1, 2)
    error = Stop()

    def fail():
        raise error

    with pytest.raises(Stop) as caught:
        pool.apply(fail)
    assert caught.value is error
    result = pool.spawn(fail)
    assert result.exception is None
    with pytest.raises(Stop):
        result.get()
    assert result.exception is error
    assert pool.map(abs, range(-5, 5)) == [abs(n) for n in range(-5, 5)]
    assert len(pool) == 0
    assert not pool


def test_tasks_run_in_threads_side_by_side(pool):
    barrier = threading.Barrier(2)

    def task():
        barrier.wait(10)
        return threading.get_ident()

    idents = {r.get() for r in [pool.spawn(task), pool.spawn(task)]}
    assert len(idents) == 2
    assert threading.get_ident() not in idents
    assert pool.size == 2


def test_greenlets_go_on_meanwhile(pool):
    go = threading.Event()
    result = pool.spawn(go.wait, 10)
    gevent.spawn(go.set)
    assert result.get() is True


def test_more_tasks_than_places_wait(pool):
    go = threading.Event()
    for _ in range(3):
        pool.spawn(go.wait, 10)
    started = []
    g = gevent.spawn(lambda: started.append(pool.spawn(int)))
    gevent.sleep(0)
    assert not started
    assert len(pool) == 3
    go.set()
    g.join()
    assert started[0].get() == 0


def test_maxsize_and_size():
    with pytest.raises(ValueError):
        ThreadPool(-1)
    with pytest.raises(TypeError):
        ThreadPool("1")
    pool = ThreadPool(0)
    result = pool.spawn(int)
    gevent.sleep(0)
    assert pool.size == 0
    assert not result.ready()
    pool.maxsize = 3
    assert result.get() == 0
    pool.size = 3
    assert pool.size == 3
    with pytest.raises(ValueError):
        pool.size = 4
    with pytest.raises(ValueError):
        pool.size = -1
    pool.size = 1
    assert pool.size == 1
    assert len(pool._threads) == 1
    pool.maxsize = 0
    assert pool.size == 0
    pool.kill()


def test_join_waits_for_all(pool):
    done = []
    for n in range(5):
        gevent.spawn(pool.spawn, done.append, n)
    gevent.sleep(0)
    pool.join()
    assert len(pool) == 0
    assert set(done) >= {0, 1, 2}


def test_kill_waits_for_what_runs(pool):
    done = []
    go = threading.Event()
    pool.spawn(lambda: done.append(go.wait(10)))
    gevent.spawn(go.set)
    pool.kill()
    assert done == [True]
    assert pool.size == 0
    assert not pool._threads
    assert pool.apply(int) == 0  # it goes on if it is used again


def test_a_killed_waiter_does_not_disturb_the_task(pool):
    go = threading.Event()
    g = gevent.spawn(pool.apply, go.wait, (10,))
    gevent.sleep(0)
    g.kill()
    assert len(pool) == 1
    go.set()
    pool.join()
    assert pool.apply(int) == 0


def test_idle_threads_leave():
    pool = ThreadPool(2, idle_task_timeout=0.01)
    barrier = threading.Barrier(2)
    for r in [pool.spawn(barrier.wait, 10) for _ in range(2)]:
        r.get()
    assert pool.size == 2
    deadline = time.monotonic() + 10
    while pool._threads and time.monotonic() < deadline:
        gevent.sleep(0.005)
    assert pool.size == 0
    assert not pool._threads
    assert pool.apply(int) == 0
    pool.kill()


def test_idle_threads_leave_though_others_take_what_woke_them():
    """Who was told to leave for another one, at the end of its own time,
    waited for ever: a fault of SimpleQueue.get()."""
    pools = [ThreadPool(8, idle_task_timeout=0.001) for _ in range(10)]
    for pool in pools:
        pool.size = 8
    deadline = time.monotonic() + 20
    while any(p._threads for p in pools) and time.monotonic() < deadline:
        gevent.sleep(0.005)
    assert [pool.size for pool in pools] == [0] * 10


def test_waiting_with_idle_threads_is_known_to_be_for_ever(pool):
    pool.apply(int)
    with pytest.raises(LoopExit):
        Event().wait()


def test_waiting_for_a_task_is_not():
    pool = ThreadPool(1)
    event = Event()
    go = threading.Event()
    pool.spawn(lambda: (go.wait(10), event.set()))
    gevent.spawn(go.set)
    assert event.wait()
    pool.kill()


def test_another_thread_may_not_spawn_but_apply(pool):
    other = ThreadPool(1)

    def task():
        with pytest.raises(InvalidThreadUseError):
            pool.spawn(int)
        return pool.apply(lambda: threading.get_ident())

    assert other.apply(task) != threading.get_ident()
    other.kill()


def test_tasks_may_use_greenlets(pool):
    def task():
        g = gevent.spawn(lambda: gevent.sleep(0.001) or 5)
        return g.get(), gevent.get_hub()

    value, hub = pool.apply(task)
    assert value == 5
    assert hub is not gevent.get_hub()


def test_nothing_is_kept(pool):
    class Thing:
        pass

    thing = Thing()
    refs = [weakref.ref(thing)]

    def task(arg):
        res = Thing()
        refs.append(weakref.ref(res))
        return res

    res = pool.apply(task, (thing,))
    del thing, res
    pool.apply(int)  # by the same thread, mostly; else the next round
    for _ in range(3):
        pool.apply(int)
    assert [ref() for ref in refs] == [None, None]


def test_a_pool_nobody_knows_goes():
    pool = ThreadPool(1)
    pool.kill()
    ref = weakref.ref(pool)
    del pool
    gc.collect()
    assert ref() is None


def test_result_in_a_destroyed_hub_is_dropped():
    class Hub:
        loop = None

    ThreadResult(None, Hub(), int).set(1)
    ThreadResult(None, Hub(), int).handle_error(None, (Stop, Stop(), None))


def test_fork():
    pool = ThreadPool(2)
    assert pool.apply(int) == 0
    go = threading.Event()
    busy = pool.spawn(go.wait, 10)
    pid = gevent.fork()
    if pid == 0:
        status = 1
        try:
            assert len(pool) == pool.size == 0
            if pool.map(abs, [-1, -2, -3]) == [1, 2, 3]:
                status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert status == 0
    go.set()
    assert busy.get() is True
    pool.kill()


def test_executor():
    with ThreadPoolExecutor(2) as executor:
        assert list(executor.map(abs, [-1, 2])) == [1, 2]
        future = executor.submit(pow, 2, 3)
        calls = []
        future.add_done_callback(calls.append)
        assert future.result() == 8
        assert future.exception() is None
        assert future.done() and not future.running()
        assert not future.cancel() and not future.cancelled()
        gevent.sleep(0)
        assert calls == [future]
        go = threading.Event()
        future = executor.submit(go.wait, 10)
        with pytest.raises(futures.TimeoutError):
            future.result(timeout=0.001)
        with pytest.raises(futures.TimeoutError):
            future.exception(timeout=0)
        with pytest.raises(AttributeError):
            futures.wait([future])
        gevent.spawn(go.set)
        assert gevent.wait([future]) == [future]
        assert list(futures.wait([future]).done) == [future]

        def fail():
            raise Stop

        future = executor.submit(fail)
        assert isinstance(future.exception(), Stop)
        with pytest.raises(Stop):
            future.result()
    with pytest.raises(RuntimeError):
        executor.submit(int)


def test_executor_lets_go_without_waiting():
    executor = ThreadPoolExecutor(1)
    go = threading.Event()
    future = executor.submit(go.wait, 10)
    executor.shutdown(wait=False)
    assert not future.done()
    go.set()
    assert future.result() is True


def test_native_queue():
    q = NativeQueue()
    cookie = q.allocate_cookie()
    q.put(1)
    assert q.qsize() == 1 and not q.empty() and not q.full()
    assert q.get(cookie) == 1
    with pytest.raises(EmptyTimeout):
        q.get(cookie, 0.001)
    q.task_done()
    with pytest.raises(ValueError):
        q.task_done()
    threading.Timer(0.001, q.put, (2,)).start()
    assert q.get(cookie, 10) == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_result_is_delivered_though_the_error_cannot_be_reported(pool):
    def handle_error(context, type, value, tb):
        raise ValueError("handle_error")

    def fail():
        raise KeyError(1)

    hub = gevent.get_hub()
    hub.handle_error = handle_error
    try:
        result = pool.spawn(fail)
        with pytest.raises(KeyError):
            result.get(timeout=10)
    finally:
        del hub.handle_error
