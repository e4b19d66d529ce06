"""Events, results, semaphores, locks: what gevent's own tests leave open."""

import functools
import gc
import os
import threading
import weakref

import coir.gevent as gevent
import pytest
from coir._core import (
    LockType,
    ThreadRLock,
    get_hub,
    get_hub_if_exists,
)
from coir.gevent.event import AsyncResult, Event
from coir.gevent.exceptions import InvalidSwitchError, LoopExit
from coir.gevent.lock import (
    BoundedSemaphore,
    DummySemaphore,
    RLock,
    Semaphore,
)
from coir.greenlet import getcurrent
from greenlet_helper import Stop, kill, start

MUTEXES = [Semaphore, BoundedSemaphore, LockType, RLock, ThreadRLock]
OWNED = [RLock, ThreadRLock]


def let_run():
    """Let everybody run until they wait."""
    for _ in range(10):
        gevent.sleep(0)


def in_thread(func, *args):
    """Start a native thread; returns it and the list that gets the result."""
    result = []

    def run():
        try:
            result.append(func(*args))
        except BaseException as exc:
            result.append(exc)
        finally:
            hub = get_hub_if_exists()
            if hub is not None:
                hub.destroy(destroy_loop=True)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, result


def wait_until(condition):
    """Let others run, and other threads, until it is true."""
    with gevent.Timeout(20):
        while not condition():
            gevent.sleep(0.001)


def hold(lock, order, name):
    lock.acquire()
    order.append(name)
    lock.release()


# --- who is next -------------------------------------------------------------


@pytest.mark.parametrize("cls", MUTEXES)
def test_who_waits_longest_is_first(cls):
    lock, order = cls(), []
    lock.acquire()
    for name in "abcd":
        gevent.spawn(hold, lock, order, name)
    let_run()
    lock.release()
    let_run()
    assert order == list("abcd")
    assert not lock.locked()


def test_release_and_acquire_at_once_is_possible():
    sem = Semaphore()
    sem.acquire()
    waiter = gevent.spawn(sem.acquire)
    let_run()
    assert sem.release() == 1
    assert sem.acquire(blocking=False)
    let_run()
    assert not waiter.ready()
    sem.release()
    assert waiter.get()


def test_who_was_passed_over_once_is_not_again():
    """A greenlet that holds it whenever it waits starves nobody."""
    sem, order = Semaphore(), []

    def greedy():
        for _ in range(6):
            sem.acquire()
            gevent.sleep(0)
            order.append("greedy")
            sem.release()

    gevent.spawn(greedy)
    gevent.sleep(0)
    other = gevent.spawn(hold, sem, order, "other")
    other.join()
    assert order.index("other") <= 3


def test_timeout_goes_on_for_who_was_passed_over():
    sem = Semaphore()
    sem.acquire()
    waiter = gevent.spawn(sem.acquire, timeout=0.002)
    let_run()
    sem.release()
    sem.acquire()
    assert waiter.get() is False
    assert sem.linkcount() == 0
    assert sem.release() == 1


def test_each_release_wakes_one():
    sem = Semaphore(0)
    got = [gevent.spawn(sem.acquire) for _ in range(3)]
    let_run()
    sem.release()
    sem.release()
    let_run()
    assert [g.ready() for g in got] == [True, True, False]
    sem.release()
    gevent.joinall(got)
    assert sem.counter == 0


def test_counter_may_be_set():
    sem = Semaphore(0)
    sem.counter = 2
    assert sem.acquire() and sem.acquire()
    assert sem.locked()
    with pytest.raises(TypeError):
        sem.counter = "x"


def test_wait_leaves_it_to_the_next():
    sem = Semaphore(0)
    watcher = gevent.spawn(sem.wait)
    taker = gevent.spawn(sem.acquire)
    let_run()
    sem.release()
    let_run()
    assert watcher.get() == 1
    assert taker.get()
    assert sem.counter == 0


# --- killed after being woken ------------------------------------------------


@pytest.mark.parametrize("cls", MUTEXES)
def test_killed_before_it_ran_passes_the_lock_on(cls):
    lock = cls()
    lock.acquire()
    first = start(lock.acquire)
    order = []
    second = gevent.spawn(hold, lock, order, "second")
    let_run()
    lock.release()  # first is to have it
    kill(first)
    second.join()
    assert order == ["second"]
    assert not lock.locked()


@pytest.mark.parametrize("cls", MUTEXES)
def test_killed_after_it_was_given_passes_the_lock_on(cls):
    lock = cls()
    lock.acquire()
    first = start(lock.acquire)
    let_run()
    lock.release()
    lock.acquire()
    let_run()  # first finds it taken: it is given to that next time
    lock.release()
    assert lock.locked()
    kill(first)
    assert not lock.locked()
    assert lock.acquire(blocking=False)


def test_killed_while_it_waits_is_forgotten():
    sem = Semaphore(0)
    g = start(sem.acquire)
    let_run()
    kill(g)
    assert sem.linkcount() == 0
    assert sem.release() == 1


def test_switched_to_by_a_stranger():
    for wait in (Semaphore(0).acquire, Event().wait, AsyncResult().get):
        g = gevent.spawn(wait)
        let_run()
        get_hub().loop.run_callback(g.switch, "hello")
        with pytest.raises(InvalidSwitchError, match="hello"):
            g.get()


# --- threads -----------------------------------------------------------------


@pytest.mark.parametrize("cls", [Semaphore, BoundedSemaphore, LockType])
def test_thread_releases_what_a_greenlet_waits_for(cls):
    lock = cls()
    lock.acquire()
    waiter = gevent.spawn(lock.acquire)
    let_run()
    thread, _ = in_thread(lock.release)
    assert waiter.get(timeout=20)
    thread.join(20)


def has_waiters(lock):
    return getattr(lock, "_block", lock).linkcount() > 0


@pytest.mark.parametrize("cls", MUTEXES)
def test_greenlet_releases_what_a_thread_waits_for(cls):
    lock = cls()
    lock.acquire()
    thread, result = in_thread(
        lambda: (lock.acquire(), get_hub_if_exists(), lock.release())
    )
    wait_until(lambda: has_waiters(lock))
    lock.release()
    thread.join(20)
    assert result[0][:2] == (True, None)  # it needed no hub
    assert not lock.locked()


@pytest.mark.parametrize("cls", MUTEXES)
def test_thread_gives_up(cls):
    lock = cls()
    lock.acquire()
    thread, result = in_thread(lambda: lock.acquire(timeout=0.001))
    thread.join(20)
    assert result == [False]
    assert not has_waiters(lock)
    lock.release()
    assert not lock.locked()


def test_thread_with_a_hub_waits_in_it():
    sem, ran = Semaphore(0), []

    def run():
        g = gevent.spawn(ran.append, 1)
        got = sem.acquire()
        g.join()
        return got

    thread, result = in_thread(run)
    wait_until(lambda: ran)
    sem.release()
    thread.join(20)
    assert result == [True]


def test_event_between_threads():
    there, back = Event(), Event()

    def run():
        there.wait()
        back.set()

    thread, result = in_thread(run)
    wait_until(lambda: there.linkcount())
    there.set()
    assert back.wait(20)
    thread.join(20)
    assert result == [None]


def test_result_between_threads():
    result = AsyncResult()
    thread, _ = in_thread(result.set, 7)
    assert result.get(timeout=20) == 7
    failed = AsyncResult()
    thread, got = in_thread(failed.get)
    wait_until(failed.linkcount)
    failed.set_exception(Stop("x"))
    thread.join(20)
    assert isinstance(got[0], Stop)


@pytest.mark.parametrize("cls", MUTEXES)
def test_only_one_at_a_time_of_greenlets_and_threads(cls):
    lock, count, inside = cls(), 0, 0

    def work():
        nonlocal count, inside
        for _ in range(100):
            with lock:
                assert inside == 0
                inside = 1
                count += 1
                inside = 0

    threads = [in_thread(work) for _ in range(3)]
    gevent.joinall([gevent.spawn(work) for _ in range(3)], raise_error=True)
    wait_until(lambda: not any(t.is_alive() for t, _ in threads))
    assert [result for _, result in threads] == [[None]] * 3
    assert count == 600
    assert not lock.locked()


def test_a_link_is_called_in_the_hub_of_who_linked():
    event, called = Event(), []
    event.rawlink(lambda e: called.append(getcurrent()))
    thread, _ = in_thread(event.set)
    wait_until(lambda: called)
    thread.join(20)
    assert called == [get_hub()]


def test_a_link_of_a_destroyed_hub_is_called_elsewhere():
    event, called = Event(), []

    def run():
        gevent.sleep(0)
        event.rawlink(called.append)

    thread, _ = in_thread(run)
    thread.join(20)
    event.set()
    let_run()
    assert called == [event]


def test_a_link_without_a_hub_is_called_at_once():
    def run():
        event, called = Event(), []
        event.rawlink(called.append)
        event.set()
        return called == [event], get_hub_if_exists()

    thread, result = in_thread(run)
    thread.join(20)
    assert result == [(True, None)]


def test_destroyed_with_a_link_to_be_called():
    def run():
        gevent.sleep(0)
        event = Event()
        event.rawlink(print)
        event.set()
        return weakref.ref(event)

    thread, result = in_thread(run)
    thread.join(20)
    gc.collect()
    assert result[0]() is None


# --- links -------------------------------------------------------------------


def test_links_and_waiters_are_one_queue():
    event, order = Event(), []

    def wait(name):
        event.wait()
        order.append(name)

    event.rawlink(lambda e: order.append("a"))
    g1 = gevent.spawn(wait, "b")
    let_run()
    event.rawlink(lambda e: order.append("c"))
    g2 = gevent.spawn(wait, "d")
    let_run()
    assert event.linkcount() == 4
    event.set()
    gevent.joinall([g1, g2])
    assert order == list("abcd")


def test_unlink_of_one_that_is_to_be_called():
    event, called = Event(), []
    event.set()
    event.rawlink(called.append)
    event.unlink(called.append)  # equal, not the same
    let_run()
    assert called == []
    assert event.linkcount() == 0


def test_links_of_a_semaphore_are_called_while_it_is_free():
    sem, called = Semaphore(0), []

    def take(s):
        called.append(s.acquire(blocking=False))

    sem.rawlink(take)
    sem.rawlink(take)
    sem.release()
    let_run()
    assert called == [True]
    assert sem.linkcount() == 1
    sem.release()
    let_run()
    assert called == [True, True]


def test_link_that_fails_is_reported(monkeypatch):
    errors = []
    monkeypatch.setattr(
        get_hub(),
        "handle_error",
        lambda context, *exc_info: errors.append((context, exc_info[1])),
    )

    def fail(e):
        raise Stop

    event, called = Event(), []
    event.rawlink(fail)
    event.rawlink(called.append)
    event.set()
    let_run()
    ((context, error),) = errors
    assert context == (fail, event)
    assert isinstance(error, Stop)
    assert called == [event]


def test_comparing_links_may_unlink():
    event = Event()

    class Link:
        compared = False

        def __call__(self, e):
            pass

        def __eq__(self, other):
            if not self.compared:
                self.compared = True
                event.unlink(first)
            return NotImplemented

        __hash__ = None

    def first(e):
        pass

    event.rawlink(Link())
    event.rawlink(first)
    event.rawlink(first)
    event.unlink(len)
    assert event.linkcount() == 2


# --- event and result --------------------------------------------------------


def test_set_wakes_even_if_it_is_cleared():
    event = Event()
    waiters = [gevent.spawn(event.wait) for _ in range(3)]
    let_run()
    event.set()
    event.clear()
    gevent.joinall(waiters)
    assert [g.value for g in waiters] == [True] * 3
    assert event.wait(0.001) is False


def test_get_ends_in_time():
    result = AsyncResult()
    with pytest.raises(gevent.Timeout) as info:
        result.get(timeout=0.001)
    assert info.value.seconds == 0.001
    assert result.wait(timeout=0.001) is None
    timeout = gevent.Timeout(0.001)
    with pytest.raises(gevent.Timeout) as info:
        result.get(timeout=timeout)
    assert info.value is timeout
    with pytest.raises(Stop):
        Event().wait(gevent.Timeout(0.001, Stop))
    with pytest.raises(Stop):
        Semaphore(0).acquire(timeout=gevent.Timeout(0.001, Stop()))


def test_result_of_a_result():
    first, second = AsyncResult(), AsyncResult()
    first.rawlink(second)
    first.set_exception(Stop(1))
    with pytest.raises(Stop):
        second.get(timeout=20)
    assert second.exception is first.exception
    assert not second.successful()
    with pytest.raises(TypeError):
        bad = AsyncResult()
        bad.set_exception("no exception")
        bad.get()


def test_blocks_forever():
    with pytest.raises(LoopExit):
        Semaphore(0).acquire()
    with pytest.raises(LoopExit):
        Event().wait()


# --- locks -------------------------------------------------------------------


@pytest.mark.parametrize("cls", OWNED)
def test_rlock_belongs_to_a_greenlet(cls):
    lock = cls()
    with lock:
        assert lock.acquire() and lock._count == 2
        assert lock._is_owned() and lock._owner is getcurrent()
        g = gevent.spawn(lock.release)
        with pytest.raises(RuntimeError):
            g.get()
        state = lock._release_save()
        assert not lock.locked()
        lock._acquire_restore(state)
        assert lock._recursion_count() == 2
        lock.release()
    assert not lock.locked()
    with pytest.raises(RuntimeError):
        lock.release()


@pytest.mark.parametrize("cls", [LockType, ThreadRLock])
def test_arguments_are_those_of_threading(cls):
    lock = cls()
    assert lock.acquire(True, -1)
    with pytest.raises(ValueError):
        lock.acquire(False, 1)
    with pytest.raises(ValueError):
        lock.acquire(timeout=-2)
    with pytest.raises(OverflowError):
        lock.acquire(timeout=threading.TIMEOUT_MAX * 2)
    with pytest.raises(TypeError):
        lock.acquire(blocking=True, no=1)
    with pytest.raises(TypeError):
        lock.acquire(True, blocking=True)
    assert "locked" in repr(lock)


def test_trying_a_lock_lets_others_run():
    lock, ran = LockType(), []
    lock.acquire()
    gevent.spawn(ran.append, 1)
    assert not lock.acquire(False)
    assert ran == [1]


def test_lock_type_is_final():
    with pytest.raises(TypeError):
        type("Sub", (LockType,), {})
    with pytest.raises(RuntimeError):
        LockType().release()
    with pytest.raises(ValueError):
        BoundedSemaphore(2).release()
    with pytest.raises(ValueError):
        Semaphore(-1)


@pytest.mark.parametrize("cls", [Semaphore, BoundedSemaphore])
def test_subclass_is_used_in_with(cls):
    calls = []

    class Sub(cls):
        def acquire(self):
            calls.append("acquire")
            return super().acquire()

        def release(self):
            calls.append("release")
            return super().release()

    with Sub(1):
        pass
    assert calls == ["acquire", "release"]


def test_condition_on_it():
    for lock in (ThreadRLock(), RLock(), LockType()):
        condition = threading.Condition(lock)
        with condition:
            assert condition._is_owned()
            condition.notify_all()


def test_dummy_semaphore():
    dummy = DummySemaphore(3)
    with dummy:
        assert dummy.acquire() and dummy.wait() == 1
    assert not dummy.locked() and dummy.ready()
    assert str(dummy) == "<DummySemaphore>"


def test_lock_of_threads_that_are_gone_after_a_fork():
    """A thread that waited in the parent is not woken in the child."""
    lock = LockType()
    lock.acquire()
    thread, _ = in_thread(lambda: (lock.acquire(), lock.release()))
    wait_until(lock.linkcount)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            g = gevent.spawn(lock.acquire)
            gevent.sleep(0)
            lock.release()
            code = 0 if g.get(timeout=10) else 2
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    lock.release()
    thread.join(20)


def test_reinit_after_fork_frees_it():
    for lock in (LockType(), RLock(), ThreadRLock(), BoundedSemaphore()):
        lock.acquire()
        lock._at_fork_reinit()
        assert not lock.locked()
        assert lock.acquire(blocking=False)


# --- memory ------------------------------------------------------------------


@pytest.mark.parametrize("make", [Event, AsyncResult, Semaphore, LockType])
def test_cycle_through_a_link_is_collected(make):
    obj = make()
    if isinstance(obj, Semaphore):
        obj.acquire()

    obj.rawlink(functools.partial(print, obj))
    ref = weakref.ref(obj)
    del obj
    gc.collect()
    assert ref() is None


@pytest.mark.parametrize(
    "cls", [Event, AsyncResult, Semaphore, RLock, ThreadRLock]
)
def test_cycle_through_an_attribute_is_collected(cls):
    class Sub(cls):
        pass

    obj = Sub()
    obj.me = obj
    ref = weakref.ref(obj)
    del obj
    gc.collect()
    assert ref() is None


def test_cycle_through_an_owner_is_collected():
    class Sub(RLock):
        pass

    def run():
        lock = Sub()
        lock.acquire()
        lock.owner = getcurrent()
        return weakref.ref(lock)

    g = start(lambda: refs.append(run()))
    refs = []
    let_run()
    del g
    gc.collect()
    assert refs[0]() is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: Event().wait,
        lambda: AsyncResult().get,
        lambda: Semaphore(0).acquire,
        lambda: Semaphore(0).wait,
    ],
)
def test_greenlet_nobody_can_wake_is_collected(make):
    ref = weakref.ref(start(make()))
    gevent.idle()  # the hub is to run, and let go of the callback
    gc.collect()
    assert ref() is None
