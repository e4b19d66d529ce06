"""coir.eventlet's hub: timers, listeners, errors; seen from outside."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from coir import eventlet, gevent
from coir._core import getcurrent, greenlet
from coir.eventlet import debug, hubs
from coir.eventlet.hubs import hub as hub_module
from coir.eventlet.hubs import timer as timer_module

DELAY = 0.01


@pytest.fixture
def hub():
    found = hubs.get_hub()
    eventlet.sleep(0)
    yield found
    debug.hub_exceptions(True)


def run(code, env=None):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        text=True,
        capture_output=True,
        timeout=60,
        env={**os.environ, **(env or {})},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- timers ------------------------------------------------------------------


def test_timers_fire_in_the_order_of_their_times(hub):
    fired = []
    delays = [n * 0.001 for n in range(1, 40)]
    random.Random(7).shuffle(delays)
    for delay in delays:
        hub.schedule_call_global(delay, fired.append, delay)
    eventlet.sleep(0.06)
    while len(fired) < len(delays):
        eventlet.sleep(DELAY)
    assert fired == sorted(delays)


def test_timers_of_one_time_fire_in_the_order_of_scheduling(hub):
    fired = []
    for n in range(20):
        hub.schedule_call_global(0, fired.append, n)
    eventlet.sleep(0)
    assert fired == list(range(20))


def test_sleepers_and_timers_stand_in_one_line(hub):
    """Whatever is due: who is due first goes first, after a busy time too."""
    order = []

    def sleeper(seconds):
        eventlet.sleep(seconds)
        order.append(("green", seconds))

    for n in range(1, 6):
        eventlet.spawn(sleeper, n * 0.002)
        hub.schedule_call_global(n * 0.002 + 0.001, order.append, n)
    eventlet.sleep(0)
    end = time.monotonic() + 0.05
    while time.monotonic() < end:
        pass
    while len(order) < 10:
        eventlet.sleep(DELAY)
    wanted = []
    for n in range(1, 6):
        wanted += [("green", n * 0.002), n]
    assert order == wanted


def test_sleep_0_lets_go_first_what_is_due(hub):
    """Though nobody has looked at the clock when it became due."""
    order = []

    def sleeper():
        eventlet.sleep(0.003)
        order.append("sleeper")

    hub.schedule_call_global(0.005, order.append, "timer")
    eventlet.spawn(sleeper)
    eventlet.sleep(0)
    end = time.monotonic() + 0.02
    while time.monotonic() < end:
        pass
    eventlet.sleep(0)
    assert order == ["sleeper", "timer"]


def test_cancelled_timers_are_skipped(hub):
    fired = []
    timers = [
        hub.schedule_call_global(0.001 * n, fired.append, n) for n in range(9)
    ]
    for timer in timers[::2]:
        timer.cancel()
        timer.cancel()
        assert timer.called and not timer.pending
    while len(fired) < 4:
        eventlet.sleep(DELAY)
    assert fired == [1, 3, 5, 7]


def test_a_timer_may_cancel_the_next_one(hub):
    fired = []
    first = hub.schedule_call_global(0, lambda: second.cancel())
    second = hub.schedule_call_global(0, fired.append, 2)
    hub.schedule_call_global(0, fired.append, 3)
    eventlet.sleep(0)
    assert fired == [3] and first.called


def test_a_timer_that_schedules_itself_starves_nobody(hub):
    count = 0

    def again():
        nonlocal count
        count += 1
        if count < 1000:
            hub.schedule_call_global(0, again)

    again()
    eventlet.sleep(0)
    assert count < 1000
    while count < 1000:
        eventlet.sleep(0)


def test_local_timers_die_with_who_made_them(hub):
    fired = []

    def body(method):
        method(DELAY, fired.append, method.__name__)

    eventlet.spawn(body, hub.schedule_call_local)
    eventlet.spawn(body, hub.schedule_call_global)
    while not fired:
        eventlet.sleep(DELAY)
    eventlet.sleep(2 * DELAY)
    assert fired == ["schedule_call_global"]


def test_the_heap_seen_from_outside(hub):
    canceled = hub.timers_canceled
    before = hub.get_timers_count()
    assert before == len(hub.timers) + canceled
    timer = hub.schedule_call_global(60, print)
    green = eventlet.spawn(eventlet.sleep, 50)
    limit = eventlet.Timeout(70)
    eventlet.sleep(0)
    assert hub.get_timers_count() == before + 3
    times = [when for when, _ in hub.timers]
    assert times == sorted(times)
    soon = hub.clock()
    assert any(t is timer and soon + 58 < w < soon + 61
               for w, t in hub.timers)
    assert hub.sleep_until() <= soon + 61
    timer.cancel()
    assert hub.timers_canceled == canceled + 1
    assert hub.get_timers_count() == before + 3
    green.kill()
    limit.cancel()
    assert len(hub.timers) == before - canceled


def test_what_was_cancelled_is_forgotten_in_time(hub):
    before = hub.timers_canceled
    for _ in range(3):
        timer = hub.schedule_call_global(DELAY, print)
        eventlet.sleep(0)
        timer.cancel()
    eventlet.sleep(2 * DELAY)
    early = hub.schedule_call_global(60, print)
    early.cancel()  # before the hub had a turn
    assert hub.timers_canceled == before + 1
    eventlet.sleep(0)
    assert hub.timers_canceled == before


def test_many_that_are_cancelled_do_not_pile_up(hub):
    for _ in range(5000):
        timer = hub.schedule_call_global(60, print)
        eventlet.sleep(0)
        timer.cancel()
        assert hub.timers_canceled <= 1001


def test_timer_objects():
    timer = timer_module.Timer(5, max, 1, 2)
    copy = timer.copy()
    assert copy.tpl == timer.tpl == (max, (1, 2), {})
    assert copy.seconds == 5 and copy.pending
    fired = []
    timer = timer_module.Timer(0, fired.append, 1).schedule()
    assert timer.scheduled_time <= hubs.get_hub().clock()
    eventlet.sleep(0)
    assert fired == [1] and not hasattr(timer, "tpl")
    timer()
    assert fired == [1]
    debug.hub_timer_stacks(True)
    try:
        assert "test_timer_objects" in repr(timer_module.Timer(1, print))
    finally:
        debug.hub_timer_stacks(False)


def test_a_million_timers_are_cheap(hub):
    timers = [hub.schedule_call_global(1000, print) for _ in range(20000)]
    start = time.process_time()
    eventlet.sleep(0)
    assert time.process_time() - start < 0.5
    for timer in timers:
        timer.cancel()
    assert hub.get_timers_count() < 2000


# --- errors ------------------------------------------------------------------


def fail():
    raise KeyError("of a test")


def test_errors_are_printed_unless_it_is_switched_off(hub, capsys):
    hub.schedule_call_global(0, fail)
    eventlet.spawn(fail)
    eventlet.spawn_n(fail)
    eventlet.sleep(0)
    err = capsys.readouterr().err
    assert err.count("KeyError: 'of a test'") == 3
    assert "failed with" not in err  # that is gevent's
    debug.hub_exceptions(False)
    hub.schedule_call_global(0, fail)
    eventlet.spawn(fail)
    eventlet.spawn_n(fail)
    raw = greenlet(fail, hub.greenlet)
    hub.schedule_call_global(0, raw.switch)
    eventlet.sleep(0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_system_errors_arrive_in_the_main_greenlet(hub, error, capsys):
    def leave():
        raise error

    for start in (
        lambda: eventlet.spawn(leave),
        lambda: eventlet.spawn_n(leave),
        lambda: hub.schedule_call_global(0, leave),
    ):
        start()
        with pytest.raises(error):
            eventlet.sleep(1)
    assert capsys.readouterr().err == ""
    eventlet.sleep(0)


def test_the_hub_waits_for_ever_if_nothing_is_left():
    """A signal may come; gevent's hub would raise LoopExit."""
    out = run(
        """
        import signal
        from coir import eventlet
        event = eventlet.Event()
        signal.signal(signal.SIGALRM, lambda *_: event.send("signal"))
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        print(event.wait())
        """
    )
    assert out == "signal\n"


@pytest.mark.parametrize("timers", [False, True])
def test_what_a_signal_handler_raises_ends_the_wait(timers):
    """In the main greenlet, whether or not anything else is to happen."""
    out = run(
        f"""
        import signal, sys
        from coir import eventlet
        sys.stderr = sys.stdout
        def handler(*_):
            raise LookupError("alarm")
        signal.signal(signal.SIGALRM, handler)
        if {timers}:
            eventlet.spawn_after(60, print)
        for _ in range(2):
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            try:
                eventlet.Queue().get()
            except LookupError as exc:
                print(exc)
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        try:
            eventlet.Queue().get()
        except KeyboardInterrupt:
            print("interrupted")
        """
    )
    assert out == "alarm\nalarm\ninterrupted\n"


def test_a_thread_ends_a_wait():
    out = run(
        """
        import threading, time
        from coir import eventlet
        event = eventlet.Event()
        thread = threading.Thread(
            target=lambda: (time.sleep(0.05), event.send("thread")))
        thread.start()
        print(event.wait())
        """
    )
    assert out == "thread\n"


# --- the greenlet of the hub -------------------------------------------------


def test_it_is_that_of_gevent(hub):
    assert hub.greenlet is gevent.get_hub()
    assert hub.greenlet.parent is getcurrent()
    assert hub.running


def test_it_must_not_block(hub, capsys):
    errors = []

    def call(function, *args):
        try:
            function(*args)
        except (RuntimeError, AssertionError) as exc:
            errors.append(type(exc))

    r, w = os.pipe()
    event, semaphore = eventlet.Event(), eventlet.Semaphore(0)
    queue = eventlet.Queue()
    for function, *args in (
        (eventlet.sleep, 1),
        (eventlet.sleep, 0),  # harmless
        (event.wait,),
        (semaphore.acquire,),
        (queue.get,),
        (hub.switch,),
        (lambda: hubs.trampoline(r, read=True),),
    ):
        hub.schedule_call_global(0, call, function, *args)
    eventlet.sleep(0)
    assert len(errors) == 6
    assert errors[0] is RuntimeError and errors[-1] is RuntimeError
    os.close(r)
    os.close(w)


def test_abort(hub):
    fired = []
    hub.schedule_call_global(60, fired.append, 1)
    hub.schedule_call_global(0, hub.abort)
    hub.switch()  # the hub ends, and its parent goes on
    assert not hub.running
    assert hub.get_timers_count() == 0
    eventlet.sleep(0.001)
    assert hub.running and not fired
    hub.abort(wait=True)
    assert not hub.running
    eventlet.sleep(0)


def test_a_hub_that_was_killed_is_replaced():
    out = run(
        """
        from coir import eventlet
        from coir.eventlet import hubs
        hub = hubs.get_hub()
        thread = eventlet.spawn(lambda: 42)
        old = hub.greenlet
        try:
            old.throw(ZeroDivisionError)
        except ZeroDivisionError:
            print("raised")
        print(old.dead, thread.wait(), hub.greenlet is old)
        eventlet.sleep(0.001)
        print(eventlet.spawn(lambda: 43).wait())
        """
    )
    assert out == "raised\nTrue 42 False\n43\n"


def test_switch_brings_what_is_switched_with(hub):
    hub.schedule_call_global(0, getcurrent().switch, "value")
    assert hub.switch() == "value"


def test_use_hub():
    out = run(
        """
        from coir.eventlet import hubs
        hubs.use_hub("poll")
        assert type(hubs.get_hub()).__module__.endswith("hubs.poll")
        hubs.use_hub("coir.eventlet.hubs.selects:Hub")
        assert type(hubs.get_hub()).__module__.endswith("hubs.selects")
        class Mine(hubs.hub.BaseHub):
            @staticmethod
            def is_available():
                return True
        hubs.use_hub(Mine)
        assert isinstance(hubs.get_hub(), Mine)
        from coir import eventlet
        print(eventlet.spawn(lambda: 1).wait())
        for bad in ("", "kqueue", "pyevent"):
            try:
                hubs.use_hub(bad)
            except Exception as exc:
                print(type(exc).__name__)
        """,
        {"EVENTLET_HUB": "epolls"},
    )
    assert out.split() == ["1", "RuntimeError", "Exception", "ImportError"]


# --- descriptors -------------------------------------------------------------


@pytest.fixture
def pipe():
    r, w = os.pipe()
    yield r, w
    for fd in (r, w):
        try:
            os.close(fd)
        except OSError:
            pass


def test_trampoline(hub, pipe):
    r, w = pipe
    eventlet.spawn_after(DELAY, os.write, w, b"x")
    hubs.trampoline(r, read=True)
    assert os.read(r, 1) == b"x"
    hubs.trampoline(w, write=True)
    with pytest.raises(eventlet.Timeout):
        hubs.trampoline(r, read=True, timeout=DELAY)
    with pytest.raises(KeyError):
        hubs.trampoline(r, read=True, timeout=DELAY, timeout_exc=KeyError)
    with pytest.raises(RuntimeError):
        hubs.trampoline(r, read=True, write=True)
    assert not list(hub.get_readers()) and not list(hub.get_writers())


def test_two_must_not_wait_for_the_same(hub, pipe):
    r, w = pipe
    first = eventlet.spawn(hubs.trampoline, r, read=True)
    eventlet.sleep(0)
    with pytest.raises(RuntimeError, match="Second simultaneous read"):
        hubs.trampoline(r, read=True)
    assert len(hub.get_readers()) == 1
    debug.hub_prevent_multiple_readers(False)
    try:
        second = eventlet.spawn(hubs.trampoline, r, read=True)
        eventlet.sleep(0)
        os.write(w, b"x")
        first.wait()
        second.wait()
    finally:
        debug.hub_prevent_multiple_readers(True)
    assert not hub.get_readers()


def test_a_number_that_is_used_again(hub, pipe):
    r, _ = pipe
    closed = []
    waiting = eventlet.spawn(
        hubs.trampoline, r, read=True, mark_as_closed=lambda: closed.append(1)
    )
    eventlet.sleep(0)
    hubs.notify_close(r)
    hubs.notify_opened(r)
    with pytest.raises(hubs.IOClosed):
        waiting.wait()
    assert closed == [1] and not hub.get_readers()


def test_debug_listeners(hub, pipe):
    debug.hub_listener_stacks(True)
    try:
        waiting = eventlet.spawn(hubs.trampoline, pipe[0], read=True)
        eventlet.sleep(0)
        text = debug.format_hub_listeners()
        assert "DebugListener" in text and "trampoline" in text
    finally:
        debug.hub_listener_stacks(False)
    waiting.kill()
    assert "Listener" not in debug.format_hub_listeners()


def test_an_error_in_a_listener_costs_the_descriptor(hub, pipe, capsys):
    r, w = pipe
    hub.add(hub.READ, r, lambda fd: fail(), fail, None)
    os.write(w, b"x")
    eventlet.sleep(DELAY)
    assert f"Removing descriptor: {r}" in capsys.readouterr().err
    assert not hub.get_readers()


def test_add_checks_its_type(hub):
    with pytest.raises(AssertionError):
        hub_module.FdListener("look", 0, print, print, None)


@pytest.mark.skipif(
    signal.getsignal(signal.SIGALRM) is None, reason="SIGALRM is not ours"
)
def test_blocking_detection():
    out = run(
        """
        import time
        from coir import eventlet
        from coir.eventlet import debug
        debug.hub_exceptions(False)
        debug.hub_blocking_detection(True, resolution=0.05)
        def block():
            end = time.monotonic() + 20
            while time.monotonic() < end:
                pass
        try:
            eventlet.spawn(block).wait()
        except RuntimeError as exc:
            print(str(exc)[:25])
        debug.hub_blocking_detection(False)
        time.sleep(0.1)
        """
    )
    assert out == "Blocking detector ALARMED\n"


# --- fork --------------------------------------------------------------------


def test_green_threads_and_timers_go_on_in_the_child_of_a_fork():
    """As eventlet's newest release has it: programs rely on it."""
    out = run(
        """
        import os
        from coir import eventlet
        from coir.eventlet import hubs
        r, w = os.pipe()
        def waiting():
            eventlet.sleep(0.05)
            os.write(w, b"waiting\\n")
        eventlet.spawn(waiting)
        eventlet.sleep(0)
        eventlet.spawn(os.write, w, b"queued\\n")
        eventlet.spawn_after(0.05, os.write, w, b"after\\n")
        pid = os.fork()
        if pid == 0:
            n = eventlet.spawn(lambda: 5).wait()
            os.write(w, b"child %d\\n" % n)
            eventlet.sleep(0.1)
            os._exit(0)
        os.waitpid(pid, 0)
        eventlet.sleep(0.1)
        print(*sorted(os.read(r, 100).split(b"\\n")[:-1]))
        """
    )
    assert out == (
        "b'after' b'after' b'child 5' b'queued' b'queued' b'waiting' "
        "b'waiting'\n"
    )


def test_a_descriptor_that_was_waited_for_when_it_forked():
    out = run(
        """
        import os
        from coir import eventlet
        from coir.eventlet import hubs
        r, w = os.pipe()
        thread = eventlet.spawn(hubs.trampoline, r, read=True)
        eventlet.sleep(0)
        for _ in range(2):
            pid = os.fork()
            if pid == 0:
                os.write(w, b"x")
                thread.wait()
                os.read(r, 1)
                os._exit(0)
            print(os.waitpid(pid, 0)[1])
        assert not thread.dead
        os.write(w, b"x")
        thread.wait()
        """
    )
    assert out == "0\n0\n"


def test_trampoline_refuses_a_descriptor_that_is_not_open():
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    with pytest.raises(OSError, match="Bad file descriptor"):
        hubs.trampoline(reader, read=True, timeout=10)


def test_timers_of_a_thread_that_ends_go_with_it():
    """Pending or due, they hold nothing any more."""
    import gc
    import threading
    import weakref

    class Callback:
        def __call__(self):
            raise AssertionError("called")

    refs = []

    def run():
        for delay in (100, 0, -1):
            callback = Callback()
            refs.append(weakref.ref(callback))
            hubs.get_hub().schedule_call_global(delay, callback)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    gc.collect()
    assert [ref() for ref in refs] == [None] * 3
