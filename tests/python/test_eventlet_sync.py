"""coir.eventlet's events, semaphores, queues, pools, timeouts: what
eventlet's own tests leave out."""

import gc
import subprocess
import sys
import threading
import time
import weakref

import pytest
from coir import eventlet, gevent
from coir.eventlet import (
    corolocal,
    coros,
    dagpool,
    db_pool,
    event,
    hubs,
    lock,
    pools,
    queue,
    semaphore,
    tpool,
)
from coir.gevent.event import AsyncResult
from coir.gevent.queue import Queue as GeventQueue

DELAY = 0.005


def run_others():
    for _ in range(5):
        eventlet.sleep(0)


# --- events ------------------------------------------------------------------


def test_event_wakes_in_order_and_keeps_what_was_sent():
    e = eventlet.Event()
    got = []
    for n in range(5):
        eventlet.spawn_n(lambda n=n: got.append((n, e.wait())))
    eventlet.sleep(0)
    assert len(e._waiters) == 5 and "_waiters[5]" in str(e)
    e.send("a")
    e.reset()
    e.send("b")
    run_others()
    assert got == [(n, "a") for n in range(5)]
    assert e.wait() == "b"
    with pytest.raises(AssertionError):
        e.send()


def test_event_states():
    e = eventlet.Event()
    assert e._result is event.NOT_USED and repr(e._result) == "NOT_USED"
    assert not (e.ready() or e.has_exception() or e.has_result())
    assert e.poll(1) == e.poll_result(1) == e.poll_exception(1) == 1
    with pytest.raises(AssertionError):
        e.reset()
    e.send(2)
    assert e.ready() and e.has_result() and not e.has_exception()
    assert e.poll() == e.poll_result() == 2 and e.poll_exception() is None
    e.reset()
    e.send(exc=KeyError("x"))
    assert e.has_exception() and not e.has_result()
    assert e.poll_result(3) == 3
    for method in e.wait, e.poll, e.poll_exception:
        with pytest.raises(KeyError):
            method()
    e.reset()
    e.send_exception(KeyError, "text", None)
    with pytest.raises(KeyError, match="text"):
        e.wait()
    assert e.wait.__self__ is e


def test_event_of_a_subclass():
    """Its methods call each other, as eventlet's do."""
    calls = []

    class Noted(event.Event):
        def reset(self):
            calls.append("reset")
            super().reset()

        def send(self, result=None, exc=None):
            calls.append(("send", result, exc))
            super().send(result, exc)

        def wait(self, timeout=None):
            calls.append("wait")
            return super().wait(timeout)

        def ready(self):
            calls.append("ready")
            return super().ready()

    e = Noted()
    assert calls == ["reset"]
    with pytest.raises(AssertionError):
        e.reset()
    calls.clear()
    error = KeyError("x")
    e.send_exception(error)
    for poll in (e.poll, e.poll_exception):
        with pytest.raises(KeyError):
            poll()
    assert e.poll_result(7) == 7
    assert calls == [("send", None, (error,)), "ready", "wait", "wait"]
    e.reset()
    assert e.poll(8) == 8 and e.poll_exception(9) == 9

    class Failing(event.Event):
        def has_result(self):
            raise OSError

        def reset(self):
            if self.fails:
                raise OSError

    Failing.fails = True
    with pytest.raises(OSError):
        Failing()
    Failing.fails = False
    with pytest.raises(OSError):
        Failing().poll_result()


def test_event_with_a_timeout():
    e = eventlet.Event()
    start = time.monotonic()
    assert e.wait(timeout=DELAY) is None
    assert time.monotonic() - start >= DELAY
    assert e.wait(0) is None
    assert not e._waiters
    e.send(1)
    assert e.wait(timeout=DELAY) == 1


def test_event_between_threads():
    for _ in range(20):
        there, back = eventlet.Event(), eventlet.Event()

        def body(there=there, back=back):
            back.send(there.wait() + 1)

        thread = threading.Thread(target=body)
        thread.start()
        there.send(1)
        assert back.wait() == 2
        thread.join()


# --- semaphores --------------------------------------------------------------


def test_semaphore_first_come_first_served():
    s = eventlet.Semaphore(0)
    got = []

    def body(n):
        with s:
            got.append(n)

    threads = [eventlet.spawn(body, n) for n in range(4)]
    eventlet.sleep(0)
    assert s.balance == -4 and len(s._waiters) == 4
    s.release()
    assert s.counter == 1 and s.balance == -3
    late = eventlet.spawn(body, "late")
    for t in [*threads, late]:
        t.wait()
    assert got == [0, 1, 2, 3, "late"]


def test_semaphore_taken_without_waiting_before_who_was_woken():
    s = eventlet.Semaphore(0)
    first = eventlet.spawn(s.acquire)
    eventlet.sleep(0)
    s.release()
    assert s.acquire(False) is True
    run_others()
    assert not first.dead
    s.release()
    assert first.wait() is True


def test_semaphore_arguments():
    s = eventlet.Semaphore(0)
    assert s.acquire(timeout=DELAY) is False
    assert s.acquire(blocking=False) is False
    for kwargs in ({"timeout": -2}, {"blocking": False, "timeout": 1}):
        with pytest.raises(ValueError):
            s.acquire(**kwargs)
    for bad, error in ((-1, ValueError), ("x", TypeError)):
        with pytest.raises(error):
            eventlet.Semaphore(bad)
    s = eventlet.Semaphore("2")
    assert s.acquire(timeout=-1) and s.counter == 1
    s.counter += 3
    assert s.counter == 4 and not s.locked() and not s.bounded()
    assert str(s) == "<Semaphore c=4 _w[0]>"
    bounded = semaphore.BoundedSemaphore(1)
    with pytest.raises(ValueError):
        bounded.release()
    one = lock.Lock()
    with pytest.raises(RuntimeError):
        one.release()
    with one as nothing:
        assert nothing is None and one.locked()
    one.acquire()
    one._at_fork_reinit()
    assert not one.locked()


def test_semaphore_subclass():
    class Mine(semaphore.Semaphore):
        def acquire(self, blocking=True, timeout=None):
            log.append("acquire")
            return super().acquire(blocking, timeout)

        def release(self, blocking=True):
            log.append("release")
            return super().release(blocking)

    log = []
    with Mine():
        pass
    assert log == ["acquire", "release"]


def test_capped_semaphore():
    s = eventlet.CappedSemaphore(1, 2)
    assert not s.locked() and not s.bounded() and s.balance == 0
    s.acquire()
    assert s.locked() and s.acquire(blocking=False) is False
    s.release()
    s.release()
    assert s.bounded() and s.release(blocking=False) is False
    waiting = eventlet.spawn(s.release)
    eventlet.sleep(0)
    assert not waiting.dead
    s.acquire()
    waiting.wait()


def test_lock_between_native_and_green_threads():
    one = lock.Lock()
    count = 0

    def body(times):
        nonlocal count
        for _ in range(times):
            with one:
                before = count
                eventlet.sleep(0)
                count = before + 1

    native = [threading.Thread(target=body, args=(50,)) for _ in range(3)]
    green = [eventlet.spawn(body, 50) for _ in range(3)]
    for t in native:
        t.start()
    for g in green:
        g.wait()
    while any(t.is_alive() for t in native):
        eventlet.sleep(DELAY)
    assert count == 300


# --- queues ------------------------------------------------------------------


def test_queue_keeps_order_and_limit():
    q = eventlet.Queue(2)
    got = []

    def put():
        for n in range(10):
            q.put(n)

    thread = eventlet.spawn(put)
    eventlet.sleep(0)
    assert q.full() and q.qsize() == 2 and q.putting() == 1
    while len(got) < 10:
        got.append(q.get())
    thread.wait()
    assert got == list(range(10)) and q.empty()
    assert q.unfinished_tasks == 10


def test_channel():
    q = eventlet.Queue(0)
    assert q.full() and q.empty()
    with pytest.raises(queue.Full):
        q.put_nowait(1)
    with pytest.raises(queue.Empty):
        q.get_nowait()
    with pytest.raises(queue.Full):
        q.put(1, timeout=DELAY)
    with pytest.raises(queue.Empty):
        q.get(timeout=DELAY)
    putter = eventlet.spawn(q.put, 1)
    eventlet.sleep(0)
    assert q.putting() == 1 and q.getting() == 0
    assert q.get() == 1
    putter.wait()
    getters = [eventlet.spawn(q.get) for _ in range(3)]
    eventlet.sleep(0)
    for n in range(3):
        q.put(n)
    assert [g.wait() for g in getters] == [0, 1, 2]


def test_queue_resize():
    q = eventlet.Queue(1)
    q.put(1)
    putters = [eventlet.spawn(q.put, n) for n in (2, 3)]
    eventlet.sleep(0)
    q.resize(2)
    run_others()
    assert putters[0].dead and not putters[1].dead
    q.resize(None)
    putters[1].wait()
    assert q.qsize() == 3 and q.maxsize is None
    assert list(q.queue) == [1, 2, 3]


def test_queue_of_a_subclass():
    class Bag(queue.Queue):
        def _init(self, maxsize):
            self.queue = set()

        def _put(self, item):
            self.queue.add(item)
            self._put_bookkeeping()

        def _get(self):
            return self.queue.pop()

    bag = Bag()
    for n in (1, 1, 2):
        bag.put(n)
    assert bag.qsize() == 2 and bag.unfinished_tasks == 3
    assert {bag.get(), bag.get()} == {1, 2}
    getter = eventlet.spawn(bag.get)
    eventlet.sleep(0)
    bag.put(3)
    assert getter.wait() == 3

    class Counted(queue.LightQueue):
        def qsize(self):
            return 1 if self.queue else 0

    counted = Counted(1)
    counted.put(1)
    with pytest.raises(queue.Full):
        counted.put_nowait(2)
    assert counted.get_nowait() == 1
    assert queue.Queue[int].__origin__ is queue.Queue


def test_queue_kinds_and_tasks():
    q = queue.PriorityQueue()
    for n in (3, 1, 2):
        q.put(n)
    assert [q.get() for _ in range(3)] == [1, 2, 3]
    lifo = queue.LifoQueue()
    for n in (1, 2):
        lifo.put(n)
    assert [lifo.get(), lifo.get()] == [2, 1]
    joiner = eventlet.spawn(q.join)
    eventlet.sleep(0)
    for _ in range(3):
        assert not joiner.dead
        q.task_done()
    joiner.wait()
    with pytest.raises(ValueError):
        q.task_done()
    assert repr(q).startswith("<PriorityQueue at 0x")


def test_queue_between_threads():
    q, back = eventlet.Queue(5), eventlet.Queue()

    def body():
        while (item := q.get()) is not None:
            back.put(item)

    thread = threading.Thread(target=body)
    thread.start()
    for n in range(100):
        q.put(n)
    q.put(None)
    assert [back.get() for _ in range(100)] == list(range(100))
    thread.join()


# --- timeouts ----------------------------------------------------------------


def test_timeout_states():
    t = eventlet.Timeout(10)
    assert t.pending and t.timer is not None and "pending" in repr(t)
    with pytest.raises(AssertionError):
        t.start()
    t.cancel()
    assert not t.pending and t.timer is None
    with t as same:
        assert same is t and t.pending
    assert not t.pending
    never = eventlet.Timeout(None)
    assert not never.pending and str(never) == ""
    assert str(eventlet.Timeout(1, False)) == "1 second (silent)"
    assert eventlet.Timeout(2, KeyError).args == (2, KeyError)
    for each in (t, TimeoutError()):
        assert eventlet.is_timeout(each)
    assert not eventlet.is_timeout(KeyError())
    assert not issubclass(eventlet.Timeout, Exception)
    with pytest.raises(TypeError):
        eventlet.Timeout("1")
    hub = hubs.get_hub()
    for _, timer in hub.timers:
        for arg in timer.tpl[1]:
            if isinstance(arg, eventlet.Timeout):
                arg.cancel()


def test_timeout_of_a_subclass_starts_by_its_own_method():
    started = []

    class Noted(eventlet.Timeout):
        def start(self):
            started.append(self.seconds)
            if self.seconds is None:
                raise OSError
            return super().start()

    with Noted(60) as t:
        assert t.pending
    assert not t.pending
    with t:
        assert t.pending
    assert started == [60, 60]
    with pytest.raises(OSError):
        Noted()


def test_timeout_is_raised_where_it_was_made():
    def body():
        with eventlet.Timeout(DELAY, KeyError("x")):
            eventlet.sleep(1)

    with pytest.raises(KeyError):
        eventlet.spawn(body).wait()
    with eventlet.Timeout(DELAY, False):
        eventlet.sleep(1)
        raise AssertionError("not reached")
    with pytest.raises(eventlet.Timeout) as info:
        with eventlet.Timeout(0) as t:
            eventlet.sleep(0)
    assert info.value is t


def test_with_timeout():
    assert eventlet.with_timeout(1, max, 1, 2) == 2
    assert eventlet.with_timeout(
        DELAY, eventlet.sleep, 1, timeout_value="late") == "late"
    with pytest.raises(eventlet.Timeout):
        eventlet.with_timeout(DELAY, eventlet.sleep, 1)


# --- pools -------------------------------------------------------------------


def test_green_pool():
    pool = eventlet.GreenPool(2)
    active = peak = 0

    def body(n):
        nonlocal active, peak
        active += 1
        peak = max(peak, active)
        eventlet.sleep(0)
        active -= 1
        return n * n

    assert list(pool.imap(body, range(20))) == [n * n for n in range(20)]
    assert peak == 2 and pool.running() == 0 and pool.free() == 2
    threads = [pool.spawn(body, n) for n in range(3)]
    assert pool.waiting() == 0
    pool.waitall()
    assert [t.wait() for t in threads] == [0, 1, 4]
    for n in range(5):
        pool.spawn_n(body, n)
    pool.waitall()
    pool.resize(5)
    assert pool.free() == 5
    assert list(pool.starmap(max, [(1, 2), (3, 0)])) == [2, 3]
    assert list(pool.starmap(None, [(1, 2)])) == [(1, 2)]


def test_green_pool_in_itself():
    pool = eventlet.GreenPool(1)

    def outer():
        return [pool.spawn(lambda n=n: n).wait() for n in range(3)]

    assert pool.spawn(outer).wait() == [0, 1, 2]


def test_green_pool_errors(capsys):
    pool = eventlet.GreenPool(2)
    pool.spawn_n(lambda: 1 / 0)
    pool.waitall()
    assert "ZeroDivisionError" in capsys.readouterr().err
    results = pool.imap(lambda n: 1 / n, [1, 0, 2])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert next(results) == 0.5
    killed = pool.spawn(eventlet.sleep, 10)
    never = pool.spawn(eventlet.sleep, 10)
    never.kill()
    eventlet.sleep(0)
    killed.kill()
    pool.waitall()
    assert pool.free() == 2
    with pytest.raises(ValueError):
        eventlet.GreenPool(-1)
    with pytest.raises(TypeError):
        eventlet.GreenPool("x")


def test_pile():
    pile = eventlet.GreenPile(2)
    for n in range(4):
        pile.spawn(lambda n=n: n)
    assert list(pile) == [0, 1, 2, 3] and list(pile) == []


def test_pool_of_things():
    made = []
    pool = pools.Pool(
        max_size=1, create=lambda: made.append(1) or len(made))
    with pool.item() as item:
        waiting = eventlet.spawn(pool.get)
        eventlet.sleep(0)
        assert item == 1 and pool.waiting() == 1 and pool.free() == 0
    assert waiting.wait() == 1 and made == [1]
    tokens = pools.TokenPool(max_size=2)
    assert isinstance(tokens.get(), pools.Token)
    with pytest.raises(NotImplementedError):
        pools.Pool().get()


def test_dag_pool():
    pool = dagpool.DAGPool({"base": 1})

    def add(key, results, extra):
        return sum(value for _, value in results) + extra

    pool.spawn("c", ("a", "b"), add, 100)
    pool.spawn_many({"a": ("base",), "b": ("base", "a")}, add, 10)
    assert pool.waiting_for("c") == {"a", "b"}
    assert pool.waitall() == {"base": 1, "a": 11, "b": 22, "c": 133}
    with pytest.raises(dagpool.Collision):
        pool.spawn("a", (), add, 1)
    pool.spawn("bad", (), lambda key, results: 1 / 0)
    with pytest.raises(dagpool.PropagateError) as info:
        pool["bad"]
    assert isinstance(info.value.exc, ZeroDivisionError)
    assert dict(pool.wait_each_success(("a", "bad"))) == {"a": 11}
    assert [k for k, _ in pool.wait_each_exception()] == ["bad"]
    pool.spawn("never", ("nothing",), add, 1)
    eventlet.sleep(0)
    assert pool.waiting_for() == {"never": {"nothing"}}
    pool.kill("never")
    assert pool.running() == 0


class Connection:
    def __init__(self):
        self.log = []

    def rollback(self):
        self.log.append("rollback")

    def close(self):
        self.log.append("close")

    def cursor(self):
        return "cursor"


class Database:
    @staticmethod
    def connect(**kwargs):
        return Connection()


@pytest.mark.parametrize(
    "kind", [db_pool.RawConnectionPool, db_pool.TpooledConnectionPool])
def test_connection_pool(kind):
    pool = kind(Database, max_size=1)
    conn = pool.get()
    base = conn._base
    assert conn and conn.cursor()
    conn.close()
    assert not conn and base.log == ["rollback"]
    with pool.item() as again:
        waiting = eventlet.spawn(pool.get)
        eventlet.sleep(0)
        assert again._base is base
    waiting.wait().close()
    pool.clear()
    assert base.log[-1] == "close" and pool.free() == 1
    connector = db_pool.DatabaseConnector(
        Database, {"default": {"user": "x"}}, db_pool.RawConnectionPool)
    assert connector.get("host", "db") is connector.get("host", "db")
    tpool.killall()


def test_metaphore():
    count = coros.metaphore()
    count.wait()
    count.inc(2)
    waiting = eventlet.spawn(count.wait)
    eventlet.sleep(0)
    count.dec()
    run_others()
    assert not waiting.dead
    count.dec(5)
    waiting.wait()
    assert count.counter == 0


def test_corolocal():
    data = corolocal.local()
    data.x = "main"

    def body(n):
        assert not hasattr(data, "x")
        data.x = n
        eventlet.sleep(0)
        return data.x, corolocal.get_ident()

    first, second = [eventlet.spawn(body, n) for n in range(2)]
    assert first.wait()[0] == 0 and second.wait()[0] == 1
    assert data.x == "main"


# --- native threads ----------------------------------------------------------


def test_tpool():
    ident = threading.get_ident()
    assert tpool.execute(threading.get_ident) != ident
    assert tpool.execute(tpool.execute, threading.get_ident) != ident
    with pytest.raises(ZeroDivisionError):
        tpool.execute(lambda: 1 / 0)
    start = time.monotonic()
    threads = [eventlet.spawn(tpool.execute, time.sleep, 0.05)
               for _ in range(10)]
    for t in threads:
        t.wait()
    assert time.monotonic() - start < 0.45
    proxy = tpool.Proxy({"a": 1}, autowrap=(dict,))
    assert proxy["a"] == 1 and len(proxy) == 1 and proxy == {"a": 1}
    assert isinstance(proxy.copy(), tpool.Proxy)
    proxy["b"] = 2
    assert sorted(proxy) == ["a", "b"] and proxy.get("b") == 2
    tpool.killall()
    tpool.killall()
    assert tpool.execute(max, 1, 2) == 2
    tpool.killall()


def test_tpool_lets_green_threads_run():
    count = 0

    def spin():
        nonlocal count
        while True:
            count += 1
            eventlet.sleep(0.001)

    thread = eventlet.spawn(spin)
    tpool.execute(time.sleep, 0.05)
    thread.kill()
    assert count > 2
    tpool.killall()


# --- beside gevent -----------------------------------------------------------


def test_both_in_one_thread():
    e, g = eventlet.Event(), AsyncResult()
    q = eventlet.Queue(1)
    gq = GeventQueue(1)

    def of_eventlet():
        for n in range(5):
            gq.put(n)
            assert q.get() == n
        e.send(g.get())

    def of_gevent():
        for n in range(5):
            assert gq.get() == n
            q.put(n)
        g.set("value")
        return e.wait()

    thread = eventlet.spawn(of_eventlet)
    other = gevent.spawn(of_gevent)
    assert other.get() == "value"
    thread.wait()
    with eventlet.Semaphore(1):
        gevent.sleep(0)
    with pytest.raises(gevent.Timeout):
        with gevent.Timeout(DELAY):
            eventlet.sleep(1)
    with pytest.raises(eventlet.Timeout):
        with eventlet.Timeout(DELAY):
            gevent.sleep(1)
    assert gevent.get_hub() is hubs.get_hub().greenlet


def test_errors_of_both(capsys):
    def fail():
        raise KeyError

    gevent.spawn(fail)
    eventlet.spawn(fail)
    eventlet.sleep(0)
    err = capsys.readouterr().err
    assert err.count("Traceback") == 2
    assert err.count("failed with KeyError") == 1  # gevent's way


def test_gevent_can_be_waited_for_to_end():
    """gevent.wait() sees the end of all, where eventlet would go on."""
    code = (
        "from coir import eventlet, gevent\n"
        "eventlet.spawn(lambda: (eventlet.sleep(0.01), print(1)))\n"
        "print(gevent.wait(timeout=30))\n"
        "print(eventlet.spawn(lambda: 2).wait())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], text=True, capture_output=True,
        timeout=60)
    assert done.stdout == "1\nTrue\n2\n", done.stderr


@pytest.mark.parametrize(
    "make",
    [
        event.Event,
        queue.LightQueue,
        queue.Queue,
        queue.PriorityQueue,
        queue.LifoQueue,
        semaphore.Semaphore,
        semaphore.BoundedSemaphore,
    ],
)
def test_programs_set_attributes(make):
    it = make()
    it.name = "mine"
    assert vars(it) == {"name": "mine"}
    method = next(
        name for name in ("acquire", "qsize", "ready") if hasattr(it, name)
    )
    setattr(it, method, lambda: "other")
    assert getattr(it, method)() == "other"
    delattr(it, method)
    assert getattr(it, method)() != "other"
    it.itself = it
    gone = weakref.ref(it)
    del it
    gc.collect()
    assert gone() is None
