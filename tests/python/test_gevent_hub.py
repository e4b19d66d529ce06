"""The scheduler of Python's green threads: hub, loop, watchers."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import pytest

gevent = pytest.importorskip("coir.gevent")

from coir import _core  # noqa: E402
from coir.gevent.event import Event  # noqa: E402
from coir.gevent.exceptions import BlockingSwitchOutError  # noqa: E402
from coir.gevent.hub import Hub, get_hub, spawn_raw  # noqa: E402


@pytest.fixture
def hub():
    return get_hub()


def program(text, **kwargs):
    """Run it in a process of its own: what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)],
        capture_output=True,
        text=True,
        timeout=60,
        **kwargs,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- order ---------------------------------------------------------------


def test_callbacks_and_greenlets_take_turns_in_the_order_they_came(hub):
    order = []
    event = Event()

    def waiter(name):
        event.wait()
        order.append(name)

    for name in "ab":
        spawn_raw(waiter, name)
    gevent.sleep(0)
    hub.loop.run_callback(order.append, 1)
    event.set()
    hub.loop.run_callback(order.append, 2)
    gevent.sleep(0)
    gevent.sleep(0)
    assert order == [1, "a", "b", 2]


def test_callback_that_was_stopped_is_not_called(hub):
    called = []
    first = hub.loop.run_callback(called.append, 1)
    second = hub.loop.run_callback(called.append, 2)
    assert first and first.pending and first.args == (1,)
    first.stop()
    assert not first and first.callback is None
    gevent.sleep(0)
    assert called == [2]
    assert not second.pending


def test_many_yielding_greenlets_do_not_starve_the_loop(hub):
    over = []
    timer = hub.loop.timer(0.001)
    timer.start(over.append, 1)

    def spin():
        while not over:
            gevent.sleep(0)

    gevent.joinall([gevent.spawn(spin) for _ in range(300)], timeout=20)
    assert over


# --- waits that end otherwise ----------------------------------------------


def test_greenlet_that_is_thrown_into_stands_in_no_list(hub):
    event = Event()
    caught = []

    def waiter():
        try:
            event.wait()
        except ValueError as e:
            caught.append(e)

    g = gevent.spawn(waiter)
    gevent.sleep(0)
    assert g in [w[0] for w in _core.waits()]
    hub.loop.run_callback(g.throw, ValueError("now"))
    g.join()
    assert caught and g.dead
    assert g not in [w[0] for w in _core.waits()]
    event.set()
    gevent.sleep(0)


def test_waits_tells_who_waits_for_what(hub):
    event = Event()
    g = gevent.spawn(event.wait)
    gevent.sleep(0)
    (item,) = (w for w in _core.waits(hub.loop) if w[0] is g)
    assert item[1] == "wait" and item[2] is event and item[3] >= 0
    event.set()
    g.join()


@pytest.mark.skipif(
    sys.version_info < (3, 14), reason="frames do not tell what they hold"
)
def test_nobody_can_wake_it_so_it_is_collected():
    out = program(
        """
        import gc
        import coir.gevent as gevent
        from coir.gevent.event import Event

        def waiter():
            event = Event()
            try:
                event.wait()
            finally:
                print("ended")

        gevent.spawn(waiter)
        gevent.sleep(0)
        gc.collect()
        gevent.sleep(0)
        print("over")
        """
    )
    assert out.split() == ["ended", "over"]


def test_hub_must_not_wait(hub):
    caught = []

    def callback():
        try:
            gevent.sleep(1)
        except BlockingSwitchOutError as e:
            caught.append(e)

    hub.loop.run_callback(callback)
    gevent.sleep(0)
    gevent.sleep(0)
    assert caught


def test_loop_exit_names_who_waits():
    out = program(
        """
        import coir.gevent as gevent
        from coir.gevent.event import Event
        event = Event()
        g = gevent.spawn(event.wait)
        try:
            event.wait()
        except gevent.hub.LoopExit as e:
            print(e)
        """
    )
    assert "2 greenlets wait" in out
    assert "main greenlet" in out and "in wait() of <" in out
    assert "spawned at <string>:5" in out


# --- errors ------------------------------------------------------------------


def test_errors_of_callbacks_and_greenlets_are_told_with_their_context(hub):
    told = []
    hub.handle_error = lambda *args: told.append(args)
    try:
        callback = hub.loop.run_callback(lambda: 1 / 0)
        g = spawn_raw(lambda: int("x"))
        gevent.sleep(0.001)
    finally:
        del hub.handle_error
    assert [args[1] for args in told] == [ZeroDivisionError, ValueError]
    assert told[0][0] is callback
    assert told[1][0] is not None  # None is for what concerns the hub
    assert g.dead


def test_hub_goes_on_when_its_error_handler_fails(hub, monkeypatch):
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)

    def fails(*args):
        raise RuntimeError("the handler")

    hub.handle_error = fails
    try:
        hub.loop.run_callback(lambda: 1 / 0)
        gevent.sleep(0.001)
    finally:
        del hub.handle_error
    assert [u.exc_type for u in unraisable] == [RuntimeError]
    assert gevent.spawn(lambda: 7).get() == 7


# --- threads -----------------------------------------------------------------


def test_callback_of_another_thread_wakes_the_loop(hub):
    event = Event()
    thread = threading.Thread(
        target=hub.loop.run_callback_threadsafe, args=(event.set,)
    )
    hub.loop.run_callback(thread.start)
    assert event.wait(30)
    thread.join()


def test_event_set_by_a_thread_wakes_who_waits_without_a_limit():
    event = Event()
    threading.Timer(0.01, event.set).start()
    assert event.wait()


def test_each_thread_has_a_hub_of_its_own_which_goes_with_it():
    hubs = []

    def run():
        gevent.sleep(0.001)
        hubs.append(weakref.ref(get_hub()))
        assert not get_hub().loop.default

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    gc.collect()
    (ref,) = hubs
    assert ref() is None
    assert get_hub().loop.default


# --- watchers ----------------------------------------------------------------


def test_watchers_are_stopped_with_their_loop():
    loop = _core.Loop()
    timer = loop.timer(1)
    timer.start(print)
    ref = weakref.ref(timer)
    assert timer.active and loop.activecnt == 1
    loop.destroy()
    assert not timer.active and loop.ptr == 0
    timer.stop()
    with pytest.raises(ValueError):
        timer.start(print)
    with pytest.raises(ValueError):
        loop.run()
    del timer
    gc.collect()
    assert ref() is None


def test_watcher_that_is_active_lives(hub):
    event = Event()
    hub.loop.timer(0.001).start(event.set)
    gc.collect()
    assert event.wait(30)


def test_io_watcher_is_told_the_events(hub):
    r, w = os.pipe()
    seen = []
    with hub.loop.io(r, 1) as watcher:
        event = Event()

        def readable(events):
            seen.append(events)
            watcher.stop()
            event.set()

        watcher.start(readable, pass_events=True)
        os.write(w, b"x")
        assert event.wait(30)
    assert seen == [1]
    os.close(r)
    os.close(w)


def test_io_watcher_of_a_closed_descriptor_is_called(hub):
    r, w = os.pipe()
    event = Event()
    watcher = hub.loop.io(r, 1)
    watcher.start(event.set)
    gevent.sleep(0)
    os.close(r)
    assert event.wait(30)
    watcher.close()
    os.close(w)


@pytest.mark.parametrize(
    "make",
    [
        lambda loop: loop.io(-1, 1),
        lambda loop: loop.io(0, 8),
        lambda loop: loop.timer(1, -1),
        lambda loop: loop.signal(0),
        lambda loop: loop.signal(1000),
    ],
)
def test_watchers_that_make_no_sense(hub, make):
    with pytest.raises(ValueError):
        make(hub.loop)


@pytest.mark.parametrize("what", [None, 7])
def test_watcher_must_call_something(hub, what):
    with pytest.raises(TypeError):
        hub.loop.timer(1).start(what)


def test_unreferenced_watcher_does_not_keep_the_loop_running():
    loop = _core.Loop()
    timer = loop.timer(1000, ref=False)
    timer.start(print)
    assert loop.run() is False
    timer.ref = True
    assert loop.activecnt == 1
    loop.destroy()


def test_child_watcher_reaps_its_child_alone(hub):
    first = subprocess.Popen(["true"])
    second = subprocess.Popen(["sh", "-c", "exit 3"])
    watcher = hub.loop.child(second.pid)
    event = Event()
    watcher.start(event.set)
    assert event.wait(30)
    assert watcher.rpid == second.pid
    assert os.waitstatus_to_exitcode(watcher.rstatus) == 3
    assert first.wait() == 0
    second.returncode = 3
    watcher.close()


def test_child_that_is_reaped_already_costs_no_handler_of_sigchld(hub):
    child = subprocess.Popen(["true"])
    child.wait()
    came = []
    old = signal.signal(signal.SIGCHLD, lambda *args: came.append(args[0]))
    try:
        watcher = hub.loop.child(child.pid)
        event = Event()
        watcher.start(event.set)
        assert event.wait(30)
        assert (watcher.rpid, watcher.rstatus) == (0, 0)
        assert not watcher.active
        watcher.start(event.set)
        watcher.close()
        os.kill(os.getpid(), signal.SIGCHLD)
        gevent.sleep(0)
        assert came == [signal.SIGCHLD]
    finally:
        signal.signal(signal.SIGCHLD, old)


FEW_DESCRIPTORS = """
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
watcher = get_hub().loop.child(child)
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
"""

# By a filter of system calls: if pidfd_open, ENOSYS.
OLD_KERNEL = """
import ctypes, errno, struct
code = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in (
        (0x20, 0, 0, 0),
        (0x15, 0, 1, 434),
        (0x06, 0, 0, 0x50000 | errno.ENOSYS),
        (0x06, 0, 0, 0x7FFF0000),
    )
)
buffer = ctypes.create_string_buffer(code)
filter = struct.pack("HxxxxxxP", 4, ctypes.addressof(buffer))
prctl = ctypes.CDLL(None).prctl
prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
prctl(38, 1, 0, 0, 0)
address = ctypes.create_string_buffer(filter)
prctl(22, 2, ctypes.addressof(address), 0, 0)
try:
    os.pidfd_open(child)
except OSError as e:
    assert e.errno == errno.ENOSYS
watcher = get_hub().loop.child(child)
"""


@pytest.mark.parametrize("make", [FEW_DESCRIPTORS, OLD_KERNEL])
def test_child_is_waited_for_and_costs_no_handler_without_pidfd(make):
    """Its watcher took SIGCHLD away from the program."""
    head = """
        import os, resource, signal
        from coir import gevent
        from coir.gevent.event import Event
        from coir.gevent.hub import get_hub

        gevent.sleep(0)
        came = []
        signal.signal(signal.SIGCHLD, lambda *args: came.append(args[0]))
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.read(read, 1)
            os._exit(3)
        """
    tail = """
        done = Event()
        watcher.start(done.set)
        os.write(write, b"x")
        print(done.wait(30), watcher.rpid == child, watcher.rstatus >> 8)
        print(watcher.active, came == [signal.SIGCHLD])
        """
    out = program(textwrap.dedent(head) + make + textwrap.dedent(tail))
    assert out == "True True 3\nFalse True\n"


def test_handler_of_sigchld_may_reap_before_the_child_is_watched():
    """As it does if there is no hub yet, which would call it later."""
    out = program(
        """
        from coir.gevent import monkey
        monkey.patch_all()
        import os, signal
        statuses = []
        def handler(*_):
            try:
                while (found := os.waitpid(-1, os.WNOHANG))[0]:
                    statuses.append(found[1] >> 8)
            except ChildProcessError:
                pass
        signal.signal(signal.SIGCHLD, handler)
        original = monkey.get_original("os", "fork")
        def fork():
            pid = original()
            if pid and not statuses:
                while not statuses:
                    pass
            return pid
        for status in 1, 2, 3:
            if not os.fork(fork=fork):
                os._exit(status)
        import coir.gevent as gevent
        with gevent.Timeout(30):
            while len(statuses) < 3:
                gevent.sleep(0.001)
        gevent.sleep(0.01)
        handler()
        print(*sorted(statuses))
        """
    )
    assert out == "1 2 3\n"


TRACED = """
import sys
import coir.gevent as gevent
from coir.gevent.queue import Queue
from coir._core import getcurrent
"""


def test_tracer_is_called_where_a_wait_ends():
    """That of coverage looks only then which greenlet runs."""
    out = program(
        TRACED
        + """if 1:
        runs = []
        def trace(frame, event, arg):
            if event == "call":
                runs.append(getcurrent())
            return trace
        def work(wait):
            wait()
            gone_on.append(runs[-1] is getcurrent())
        def put():
            queue.put(1)
        gone_on = []
        queue = Queue()
        sys.settrace(trace)
        for wait in queue.get, lambda: gevent.sleep(0):
            greenlet = gevent.spawn(work, wait)
            gevent.sleep(0)
            put()
            greenlet.join()
        sys.settrace(None)
        print(*gone_on)
        """
    )
    assert out == "True True\n"


@pytest.mark.skipif(
    sys.version_info >= (3, 12) and hasattr(sys, "gettotalrefcount"),
    reason="an assertion of the interpreter fails, with the original greenlet,"
    " too, when a tracer raises while other greenlets are in traced code",
)
def test_tracer_that_raises_where_a_wait_ends_loses_no_item():
    out = program(
        TRACED
        + """if 1:
        def trace(frame, event, arg):
            if frame.f_code.co_filename == "<coir>" and getcurrent() is first:
                raise LookupError
        queue = Queue()
        def get():
            try:
                return queue.get()
            except LookupError:
                return "error"
        first, second = gevent.spawn(get), gevent.spawn(get)
        gevent.sleep(0)
        sys.settrace(trace)
        queue.put("item")
        print(first.get(), second.get())
        """
    )
    assert out == "error item\n"


def test_signal_ends_the_wait_of_the_loop():
    came = []
    old = signal.signal(signal.SIGALRM, lambda *args: came.append(args[0]))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        gevent.sleep(0.05)
    finally:
        signal.signal(signal.SIGALRM, old)
    assert came == [signal.SIGALRM]


def test_interrupt_reaches_the_main_greenlet():
    out = program(
        """
        import os, signal
        import coir.gevent as gevent
        # Whoever started this may have it ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        gevent.spawn_later(0.01, os.kill, os.getpid(), signal.SIGINT)
        try:
            gevent.sleep(60)
        except KeyboardInterrupt:
            print("interrupted")
        """
    )
    assert out == "interrupted\n"


# --- fork and the end -------------------------------------------------------


def test_in_the_child_of_a_fork_only_who_forked_goes_on():
    out = program(
        """
        import os, sys
        import coir.gevent as gevent

        def other():
            gevent.sleep(0.02)
            print("other", flush=True)

        g = gevent.spawn(other)
        gevent.sleep(0)
        pid = os.fork()
        if pid == 0:
            gevent.sleep(0.05)
            print("child", flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
        g.join()
        print("parent")
        """
    )
    assert out.split() == ["child", "other", "parent"]


def test_signal_of_another_thread_is_not_slept_through():
    # It does not interrupt the main thread, and somebody else is told of it.
    out = program(
        """
        import os, signal, threading, time
        native = threading.Thread
        from coir.gevent import monkey
        monkey.patch_signal()
        import coir.gevent as gevent
        from coir.gevent.event import Event

        r, w = os.pipe()
        os.set_blocking(w, False)
        assert signal.set_wakeup_fd(w) == -1
        came = Event()
        signal.signal(signal.SIGUSR1, lambda *args: came.set())
        gevent.sleep(0.01)
        end = threading.Event()
        thread = native(target=end.wait, daemon=True)
        thread.start()

        def send():
            time.sleep(0.2)  # the main thread sleeps by now
            signal.pthread_kill(thread.ident, signal.SIGUSR1)

        native(target=send, daemon=True).start()
        assert came.wait(60)
        assert os.read(r, 10) == bytes([signal.SIGUSR1])
        assert signal.set_wakeup_fd(-1) == w
        assert signal.set_wakeup_fd(-1) == -1

        came.clear()
        native(target=send, daemon=True).start()
        assert came.wait(60)
        end.set()
        print("done")
        """
    )
    assert out == "done\n"


def test_failing_system_call_of_a_loop_is_told():
    out = program(
        """
        import errno, os
        from coir.gevent import core

        try:
            core.set_syserr_cb(5)
        except TypeError:
            pass
        else:
            raise AssertionError("5 was taken")

        loop = core.loop("epoll", default=False)
        seen = []

        def failed(name, number):
            seen.append((name, number))
            loop.reinit()
            raise ValueError("is reported, and no more")

        core.set_syserr_cb(failed)
        loop.timer(0).start(seen.append, "timer")
        os.close(loop.fileno())
        loop.run()
        assert seen[0] == ("epoll_wait", errno.EBADF), seen
        assert seen[-1] == "timer"
        core.set_syserr_cb(None)
        print("done")
        """
    )
    assert out == "done\n"


def test_in_the_child_of_a_fork_nothing_starts_that_was_to():
    out = program(
        """
        import os, sys
        import coir.gevent as gevent
        from coir.gevent.event import Event
        from coir.greenlet import greenlet

        def say(text):
            print(text, flush=True)

        queued = gevent.spawn(say, "spawned")
        later = gevent.spawn_later(0.01, say, "spawned later")
        gevent.spawn_raw(say, "spawned raw")
        loop = gevent.get_hub().loop
        loop.run_callback(say, "called")
        timer = loop.timer(0.01)
        raw = greenlet(lambda: say("by timer"), gevent.get_hub())
        timer.start(raw.switch)
        event = Event()
        event.rawlink(lambda event: say("linked"))
        event.set()
        killed = gevent.spawn(say, "never")
        pid = os.fork()
        if pid == 0:
            assert queued.dead and later.dead
            assert queued.ready() and later.ready()
            queued.join()
            assert isinstance(later.get(), gevent.GreenletExit)
            assert not timer.active
            gevent.sleep(0.05)
            gevent.spawn(say, "child").join()
            again = []
            loop.run_callback(again.append, 1)
            gevent.sleep(0)
            assert again == [1]
            os._exit(0)
        os.waitpid(pid, 0)
        say("parent")
        killed.kill()
        gevent.sleep(0.05)
        """
    )
    first, *others = out.splitlines()
    assert first == "child"
    assert others[0] == "parent"
    assert sorted(others[1:]) == sorted(
        ["spawned", "spawned raw", "called", "linked"]
        + ["spawned later", "by timer"]
    )


def test_child_of_a_fork_keeps_what_is_for_the_main_greenlet():
    out = program(
        """
        import os
        import coir.gevent as gevent
        from coir.gevent.hub import Waiter

        waiter = Waiter()
        pids = []

        def fork():
            hub = gevent.get_hub()
            hub.loop.run_callback(waiter.switch, "brought")
            pids.append(os.fork())

        gevent.spawn(fork)
        assert waiter.get() == "brought"
        if pids == [0]:
            print("child", flush=True)
            os._exit(0)
        if pids:
            os.waitpid(pids[0], 0)
        print("parent")
        """
    )
    assert out.split() == ["child", "parent"]


def test_process_ends_with_greenlets_that_wait():
    out = program(
        """
        import coir.gevent as gevent
        from coir.gevent.event import Event
        for i in range(10):
            gevent.spawn(gevent.sleep, 100)
            gevent.spawn(Event().wait)
        gevent.sleep(0)
        print("done")
        """
    )
    assert out == "done\n"


def test_hub_that_is_destroyed_is_replaced():
    class Own(Hub):
        pass

    def run():
        hub = get_hub()
        loop = hub.loop
        hub.destroy()
        assert loop.ptr == 0 and hub.loop is None
        _core.set_hub_class(Own)
        try:
            other = get_hub()
        finally:
            _core.set_hub_class(Hub)
        seen.append(type(other))
        gevent.sleep(0.001)
        other.destroy()

    seen = []
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [Own]


def test_greenlets_that_compute_do_not_keep_timers_waiting():
    late = []
    stop = []

    def tick():
        while not stop:
            due = time.perf_counter() + 0.001
            gevent.sleep(0.001)
            late.append(time.perf_counter() - due)

    def compute():
        while len(late) < 3:
            end = time.perf_counter() + 0.002
            while time.perf_counter() < end:
                pass
            gevent.sleep(0)

    ticker = gevent.spawn(tick)
    gevent.joinall([gevent.spawn(compute) for _ in range(100)], timeout=30)
    stop.append(1)
    ticker.join()
    # All 100 would take 200 ms; a machine may be slow, but not each time.
    assert min(late) < 0.1


@pytest.mark.parametrize("free", [0, 1])
def test_a_hub_without_a_descriptor_for_its_loop_is_an_oserror(free):
    # It was a MemoryError, which said that memory is out.
    out = program(
        f"""
        import errno, pprint, resource
        from coir import gevent

        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3 + {free}, limits[1]))
        try:
            gevent.sleep(0)
        except OSError as e:
            print(e.errno == errno.EMFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        gevent.sleep(0)
        print(gevent.spawn(abs, -1).get())
        """
    )
    assert out == "True\n1\n"


def test_a_child_of_a_fork_waits_though_no_descriptor_is_free():
    # It made its kernel objects before it closed the parent's, and aborted.
    out = program(
        """
        import os, resource
        from coir import gevent
        from coir.gevent.event import Event

        gevent.sleep(0)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        taken = []
        try:
            while True:
                taken.append(os.dup(0))
        except OSError:
            pass
        child = os.fork()
        if child == 0:
            gevent.sleep(0.001)
            os._exit(gevent.spawn(abs, -4).get())
        print(os.waitpid(child, 0)[1] >> 8)
        gevent.sleep(0.001)
        """
    )
    assert out == "4\n"
