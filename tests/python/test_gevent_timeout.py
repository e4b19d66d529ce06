"""Timeout, Waiter and sleep: what gevent's own tests leave open."""

import gc
import threading
import time
import weakref

import coir.gevent as gevent
import pytest
from coir._core import MultipleWaiter, Timeout, Waiter, get_hub
from coir.gevent.event import Event
from coir.gevent.exceptions import (
    ConcurrentObjectUseError,
    InvalidSwitchError,
)
from coir.gevent.hub import Hub
from coir.greenlet import getcurrent, greenlet
from greenlet_helper import Stop


def spin(seconds):
    """Let time pass without letting others run."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


# --- Timeout -----------------------------------------------------------------


def test_not_raised_after_cancel_though_its_time_was_over():
    timeout = Timeout.start_new(0.001)
    spin(0.002)
    timeout.cancel()
    gevent.sleep(0.001)
    assert not timeout.pending


def test_not_raised_after_cancel_though_it_stands_in_the_queue():
    """It has fired, and others run before it is delivered."""
    timeout = None
    cancelled = []

    def cancel():
        assert timeout.pending
        timeout.cancel()
        cancelled.append(1)

    timeout = Timeout.start_new(0)
    # Its timer is called in the loop, and so is this, before the queue is run.
    with get_hub().loop.check() as check:
        check.start(cancel)
        gevent.sleep(0.002)
    assert cancelled


def test_not_raised_outside_of_its_scope():
    for _ in range(50):
        try:
            with Timeout(0.0001):
                spin(0.0002)
        except Timeout:
            pytest.fail("nobody waited")
        gevent.sleep(0)
        gevent.sleep(0.0001)


def test_never_early():
    for _ in range(20):
        start = time.monotonic()
        with Timeout(0.002, False):
            gevent.sleep(1)
        assert time.monotonic() - start >= 0.002


def test_nested_ones_are_told_apart():
    outer = Timeout(0.001)
    try:
        with outer:
            with Timeout(10, False):
                gevent.sleep(1)
            pytest.fail("the inner one took it for its own")
    except Timeout as exc:
        assert exc is outer
    with Timeout(10), Timeout(0.001, False) as inner:
        gevent.sleep(1)
    assert not inner.pending


def test_raises_what_it_is_given():
    with pytest.raises(Stop), Timeout(0.001, Stop):
        gevent.sleep(1)
    exc = Stop()
    with pytest.raises(Stop) as info, Timeout(0.001, exc):
        gevent.sleep(1)
    assert info.value is exc


def test_kept_while_it_is_pending():
    Timeout(0.001).start()
    gc.collect()
    with pytest.raises(Timeout):
        gevent.sleep(1)


def test_of_a_greenlet_that_has_ended_is_nothing():
    errors = []

    def run():
        Timeout(0.001).start()

    g = gevent.spawn(run)
    g.join()
    handle_error = Hub.handle_error
    Hub.handle_error = lambda *args: errors.append(args)
    try:
        gevent.sleep(0.003)
    finally:
        Hub.handle_error = handle_error
    assert errors == []


def test_start_new_takes_a_timeout():
    timeout = Timeout(10)
    assert Timeout.start_new(timeout) is timeout
    assert timeout.pending
    assert Timeout.start_new(timeout) is timeout
    with pytest.raises(AssertionError, match="already started"):
        timeout.start()
    timeout.close()
    with pytest.raises(AssertionError):
        timeout.start()


def test_without_seconds_never():
    timeout = Timeout.start_new(None)
    assert not timeout.pending
    with timeout:
        gevent.sleep(0.001)
    assert str(timeout) == ""


def test_subclass_may_do_something_else():
    seen = []

    class Mine(Timeout):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.more = 1

        def _on_expiration(self, prev_greenlet, ex):
            seen.append((prev_greenlet, ex))

    timeout = Mine.start_new(0.001)
    while not seen:  # of what is due at once, sleep() comes first
        gevent.sleep(0.001)
    assert seen == [(getcurrent(), timeout)]
    assert timeout.more == 1


def test_does_not_keep_the_loop_running():
    timeout = Timeout(100, ref=False)
    timeout.start()
    assert gevent.wait(timeout=10)
    timeout.cancel()
    assert gevent.wait(timeout=10)
    timeout = Timeout.start_new(0.001, ref=False)
    with pytest.raises(Timeout):
        gevent.sleep(1)
    assert gevent.wait(timeout=10)


def test_values():
    assert str(Timeout(1)) == "1 second"
    assert str(Timeout(2, False)) == "2 seconds (silent)"
    assert str(Timeout(2, "why")) == "2 seconds: why"
    assert Timeout(1) < 2 and Timeout(1) < Timeout(2)
    assert not Timeout(2) < 1
    with pytest.raises(TypeError):
        sorted([Timeout(1), "x"])
    assert len({Timeout(1), Timeout(1)}) == 2
    for wrong in ("x", object()):
        with pytest.raises(TypeError):
            Timeout(wrong)
    with pytest.raises(ValueError):
        Timeout(float("nan"))
    with pytest.raises(TypeError):
        Timeout(1, seconds=1)
    with pytest.raises(TypeError):
        Timeout(1, 2, 3, 4, 5, 6)


def test_freed_with_its_loop():
    refs = []

    def run():
        gevent.sleep(0)
        timeout = Timeout.start_new(100)
        refs.append(weakref.ref(timeout))
        gevent.get_hub().destroy(destroy_loop=True)
        assert not timeout.pending

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    gc.collect()
    assert refs[0]() is None


def test_with_timeout_returns_its_value_for_its_own_only():
    assert gevent.with_timeout(0.001, gevent.sleep, 1, timeout_value=3) == 3

    def fail():
        raise Timeout(5)

    with pytest.raises(Timeout) as info:
        gevent.with_timeout(10, fail, timeout_value=3)
    assert info.value.seconds == 5


def test_item_or_lock_is_not_lost_by_it():
    """What came in the same moment as the timeout is there afterwards."""
    from coir.gevent.lock import Semaphore

    sem = Semaphore(0)

    def run():
        with Timeout(0.001, False):
            sem.acquire()
            return True
        return False

    g = gevent.spawn(run)
    gevent.sleep(0)
    spin(0.002)
    sem.release()
    assert g.get() is (sem.counter == 0)


# --- Waiter ------------------------------------------------------------------


def test_waiter_keeps_what_comes_first():
    waiter = Waiter()
    waiter.switch(1)
    assert waiter.ready() and waiter.successful()
    assert waiter.get() == 1
    waiter.clear()
    assert not waiter.ready()
    waiter.throw(Stop("x"))
    with pytest.raises(Stop):
        waiter.get()
    assert not waiter.successful()


def test_waiter_goes_on_at_once_from_the_hub():
    waiter, order = Waiter(), []

    def run():
        order.append(waiter.get())

    def call():
        waiter.switch(1)
        order.append(2)

    g = gevent.spawn(run)
    gevent.sleep(0)
    get_hub().loop.run_callback(call)
    g.join()
    assert order == [1, 2]


def test_waiter_woken_by_another_greenlet():
    waiter = Waiter()
    g = gevent.spawn(waiter.get)
    gevent.sleep(0)
    assert waiter.greenlet is g
    waiter.throw(Stop, "x")
    waiter.switch(2)  # for who comes next
    with pytest.raises(Stop):
        g.get()
    assert waiter.get() == 2


def test_waiter_is_for_one():
    waiter = Waiter()
    g = gevent.spawn(waiter.get)
    gevent.sleep(0)
    with pytest.raises(ConcurrentObjectUseError):
        waiter.get()
    g.kill()
    assert waiter.greenlet is None
    with pytest.raises(TypeError):
        gevent.spawn(waiter.get)
        gevent.sleep(0)
        waiter.throw("no exception")
    waiter.switch(None)


def test_waiter_as_link():
    waiter = Waiter()
    g = gevent.spawn(lambda: 5)
    g.rawlink(waiter)
    assert waiter.get() == 5


def test_multiple_waiter_keeps_all():
    waiter = MultipleWaiter()
    for i in range(5):
        waiter.switch(i)
    assert [waiter.get() for _ in range(5)] == list(range(5))
    g = gevent.spawn(waiter.get)
    gevent.sleep(0)
    waiter.switch("x")
    assert g.get() == "x"


def test_greenlet_in_a_waiter_nobody_knows_is_collected():
    g = greenlet(Waiter().get, get_hub())
    get_hub().loop.run_callback(g.switch)
    gevent.idle()  # the hub is to run, and let go of the callback
    ref = weakref.ref(g)
    del g
    gc.collect()
    assert ref() is None


# --- sleep -------------------------------------------------------------------


def test_sleep_is_never_early():
    for seconds in (0.0001, 0.001, 0.002):
        start = time.monotonic()
        gevent.sleep(seconds)
        assert time.monotonic() - start >= seconds


def test_sleep_zero_and_less_lets_the_ready_run():
    ran = []
    for seconds in (0, -1, 0.0, -5.5):
        gevent.spawn(ran.append, seconds)
        gevent.sleep(seconds)
        assert ran[-1] == seconds
    with pytest.raises(ValueError):
        gevent.sleep(float("nan"))
    with pytest.raises(TypeError):
        gevent.sleep("x")


def test_sleep_without_ref_does_not_keep_the_loop_running():
    g = gevent.spawn(gevent.sleep, 100, ref=False)
    gevent.sleep(0)
    assert gevent.wait(timeout=10)
    g.kill()
    assert gevent.wait(timeout=10)


def test_sleep_switched_to_by_a_stranger():
    g = gevent.spawn(gevent.sleep, 100)
    gevent.sleep(0)
    get_hub().loop.run_callback(g.switch, 1)
    with pytest.raises(InvalidSwitchError):
        g.get()


def test_idle_waits_for_others():
    event = Event()
    gevent.spawn(event.set)
    gevent.idle()
    assert event.is_set()
