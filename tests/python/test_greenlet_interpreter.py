"""Greenlets beside the rest of the interpreter: tracing, errors, signals,
allocation, exit, fork."""

import contextvars
import faulthandler
import gc
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import traceback
import tracemalloc

import pytest
from coir import greenlet as api
from coir.greenlet import GreenletExit, getcurrent, greenlet


@pytest.fixture(autouse=True, params=["dedicated", "slice"])
def policy(request):
    before = api.get_stack_policy()
    api.set_stack_policy(request.param)
    yield request.param
    api.set_stack_policy(before)


def run_child(code, status=0):
    """Run a program of its own, both policies; returns its two outputs."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=dict(os.environ, COIR_STACK=api.get_stack_policy()),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == status, (done.returncode, done.stderr[-3000:])
    return done.stdout, done.stderr


# --- tracing -----------------------------------------------------------------


def names_of_lines(function):
    """Run it traced; which functions had line events, in order, once each."""
    seen = []

    def trace(frame, event, arg):
        name = frame.f_code.co_name
        if event == "line" and (not seen or seen[-1] != name):
            seen.append(name)
        return trace

    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(None)
    return seen


def test_trace_follows_switches():
    def child(value):
        value = main.switch(value + 1)
        return value + 1

    def start():
        assert g.switch(1) == 2
        resume()

    def resume():
        assert g.switch(5) == 6

    main = getcurrent()
    g = greenlet(child)
    assert names_of_lines(start) == [
        "start", "child", "start", "resume", "child"]


def test_trace_set_in_one_greenlet_is_seen_in_another():
    seen = []

    def trace(frame, event, arg):
        if event == "line":
            seen.append(frame.f_code.co_name)
        return trace

    def turn_on():
        sys.settrace(trace)
        main.switch()
        sys.settrace(None)

    def traced():
        return 1

    main = getcurrent()
    g = greenlet(turn_on)
    g.switch()
    traced()
    g.switch()
    traced()
    assert seen.count("traced") == 1
    assert sys.gettrace() is None


def test_switch_inside_a_trace_function():
    seen = []

    def trace(frame, event, arg):
        if event == "call" and frame.f_code.co_name == "traced":
            seen.append(other.switch("from trace"))
        return None

    def answer(value):
        while True:
            value = main.switch(value + ", answered")

    def traced():
        return "result"

    main = getcurrent()
    other = greenlet(answer)
    sys.settrace(trace)
    try:
        result = traced()
    finally:
        sys.settrace(None)
    assert result == "result"
    assert seen == ["from trace, answered"]


def test_profile_pairs_calls_and_returns():
    events = []

    def profile(frame, event, arg):
        if event in ("call", "return"):
            events.append((event, frame.f_code.co_name))

    def child():
        inner()

    def inner():
        main.switch()

    main = getcurrent()
    g = greenlet(child)
    sys.setprofile(profile)
    try:
        g.switch()
        g.switch()
    finally:
        sys.setprofile(None)
    calls = [name for event, name in events if event == "call"]
    returns = [name for event, name in events if event == "return"]
    assert calls == ["child", "inner"]
    assert returns == ["inner", "child"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring")
def test_monitoring_sees_all_greenlets():
    monitoring = sys.monitoring
    seen = []
    tool = monitoring.PROFILER_ID
    monitoring.use_tool_id(tool, "test")
    try:
        monitoring.register_callback(
            tool, monitoring.events.PY_START,
            lambda code, offset: seen.append(code.co_name))
        monitoring.set_events(tool, monitoring.events.PY_START)

        def child():
            inner()
            main.switch()
            inner()

        def inner():
            pass

        main = getcurrent()
        g = greenlet(child)
        g.switch()
        g.switch()
        monitoring.set_events(tool, 0)
    finally:
        monitoring.free_tool_id(tool)
    assert [n for n in seen if n in ("child", "inner")] == [
        "child", "inner", "inner"]


# --- exceptions --------------------------------------------------------------


def test_exc_info_belongs_to_its_greenlet():
    def child():
        assert sys.exc_info()[0] is None
        try:
            raise KeyError("child")
        except KeyError:
            main.switch()
            assert str(sys.exc_info()[1]) == "'child'"
            main.switch()
        assert sys.exc_info()[0] is None
        return "end"

    main = getcurrent()
    g = greenlet(child)
    try:
        raise ValueError("main")
    except ValueError:
        g.switch()
        assert str(sys.exc_info()[1]) == "main"
        g.switch()
        try:
            raise IndexError("inner")
        except IndexError as exc:
            assert str(exc.__context__) == "main"
        assert str(sys.exc_info()[1]) == "main"
    assert sys.exc_info()[0] is None
    assert g.switch() == "end"


def test_traceback_ends_at_the_greenlet_and_goes_on_in_the_parent():
    def fails():
        raise RuntimeError("here")

    def child():
        fails()

    def parent():
        greenlet(child).switch()

    try:
        parent()
    except RuntimeError as exc:
        names = [f.name for f in traceback.extract_tb(exc.__traceback__)]
    assert names[-2:] == ["child", "fails"]
    assert names[0] == (
        "test_traceback_ends_at_the_greenlet_and_goes_on_in_the_parent")

    def stack():
        return [f.name for f in traceback.extract_stack()]

    assert greenlet(stack).switch() == ["stack"]


def test_generator_suspended_across_switches():
    def numbers():
        for i in range(3):
            yield main.switch(i)

    def child():
        return list(numbers())

    main = getcurrent()
    g = greenlet(child)
    assert g.switch() == 0
    assert g.switch("a") == 1
    assert g.switch("b") == 2
    assert g.switch("c") == ["a", "b", "c"]


class Ask:
    """Awaitable: asks whoever drives the coroutine, gets the answer."""

    def __init__(self, question):
        self.question = question

    def __await__(self):
        return (yield self.question)


def test_await_across_greenlets():
    """What SQLAlchemy does: await in plain functions called from async.

    Without asyncio, whose use makes CPython 3.12.1 loop in the collector.
    """

    def await_only(awaitable):
        return getcurrent().parent.switch(awaitable)

    async def spawn(function):
        g = greenlet(function)
        result = g.switch()
        while not g.dead:
            try:
                value = await result
            except Exception as exc:
                result = g.throw(exc)
            else:
                result = g.switch(value)
        return result

    async def fails():
        await Ask(0)
        raise LookupError("no")

    def plain():
        assert await_only(Ask(1)) == 10
        try:
            await_only(fails())
        except LookupError:
            return "caught"

    def drive(coroutines):
        answers = {c: None for c in coroutines}
        results = []
        while answers:
            for c, answer in list(answers.items()):
                try:
                    answers[c] = c.send(answer)
                except StopIteration as stop:
                    results.append(stop.value)
                    del answers[c]
                else:
                    answers[c] = answers[c] * 10
        return results

    assert drive([spawn(plain) for _ in range(20)]) == ["caught"] * 20


# --- contexts ----------------------------------------------------------------


def test_contexts_are_per_greenlet():
    var = contextvars.ContextVar("var", default="unset")

    def child():
        seen = [var.get()]
        var.set("child")
        main.switch()
        seen.append(var.get())
        return seen

    main = getcurrent()
    token = var.set("main")
    try:
        g = greenlet(child)
        assert g.gr_context is None
        g.switch()
        assert var.get() == "main"
        assert g.gr_context[var] == "child"
        assert g.switch() == ["unset", "child"]
        own = contextvars.copy_context()
        h = greenlet(lambda: var.get())
        h.gr_context = own
        assert h.switch() == "main"
    finally:
        var.reset(token)


def test_switch_inside_context_run():
    var = contextvars.ContextVar("var", default=0)

    def child():
        context = contextvars.copy_context()
        return context.run(inner)

    def inner():
        var.set(1)
        main.switch()
        return var.get()

    main = getcurrent()
    g = greenlet(child)
    g.switch()
    assert var.get() == 0
    assert g.switch() == 1


# --- depth -------------------------------------------------------------------


def test_recursion_limit_changed_while_parked():
    def down(n):
        return 0 if n == 0 else 1 + down(n - 1)

    def child():
        assert down(100) == 100
        main.switch()
        assert down(2000) == 2000
        main.switch()
        with pytest.raises(RecursionError):
            down(2000)
        assert down(100) == 100
        return "end"

    limit = sys.getrecursionlimit()
    main = getcurrent()
    g = greenlet(child)
    try:
        g.switch()
        sys.setrecursionlimit(limit + 2500)
        g.switch()
        sys.setrecursionlimit(limit)
        assert g.switch() == "end"
    finally:
        sys.setrecursionlimit(limit)


# --- memory and collection ---------------------------------------------------


def test_tracemalloc_and_collection_inside():
    def child():
        kept = [object() for _ in range(100)]
        while True:
            gc.collect()
            main.switch(len(kept))

    tracemalloc.start()
    try:
        main = getcurrent()
        some = [greenlet(child) for _ in range(10)]
        for _ in range(3):
            assert [g.switch() for g in some] == [100] * 10
        snapshot = tracemalloc.take_snapshot()
        assert any(s.count >= 1000 for s in snapshot.statistics("lineno"))
        del some
    finally:
        tracemalloc.stop()


def test_collector_callback_may_use_greenlets():
    seen = []

    def callback(phase, info):
        seen.append(greenlet(lambda: phase).switch())

    gc.callbacks.append(callback)
    try:
        gc.collect()
    finally:
        gc.callbacks.remove(callback)
    assert seen == ["start", "stop"]


def test_out_of_memory_anywhere_loses_nothing():
    pytest.importorskip("_testcapi")
    run_child("""
    import _testcapi
    from coir.greenlet import greenlet, getcurrent

    main = getcurrent()

    def child(a, b=None):
        got = main.switch((a, b))
        return got

    def once():
        g = greenlet(child)
        assert g.switch(1, b=2) == (1, 2)
        assert g.switch(3) == 3
        h = greenlet(child)
        h.switch(1)
        del h
        try:
            greenlet(child).throw(KeyError)
        except KeyError:
            pass

    once()
    for start in range(60):
        _testcapi.set_nomemory(start, start + 1)
        try:
            once()
        except MemoryError:
            pass
        finally:
            _testcapi.remove_mem_hooks()
        once()
    """)


# --- signals, exit, fork -----------------------------------------------------


def test_signal_handler_switches_and_raises():
    class Alarm(Exception):
        pass

    def handler(number, frame):
        main.switch("from the handler")
        raise Alarm

    def child():
        try:
            signal.raise_signal(signal.SIGUSR1)
        except Alarm:
            return "raised"

    main = getcurrent()
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        g = greenlet(child)
        assert g.switch() == "from the handler"
        assert g.switch() == "raised"
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_faulthandler_shows_the_running_greenlet():
    def child():
        with tempfile.TemporaryFile() as out:
            faulthandler.dump_traceback(out)
            out.seek(0)
            return out.read().decode()

    main = getcurrent()
    parked = greenlet(main.switch)
    parked.switch()
    text = greenlet(child).switch()
    assert " in child" in text


def test_exit_with_suspended_greenlets():
    out, err = run_child("""
    import atexit
    from coir.greenlet import greenlet, getcurrent

    main = getcurrent()

    def child():
        while True:
            main.switch(getcurrent())

    kept = [greenlet(child) for _ in range(100)]
    for g in kept:
        g.switch()
    atexit.register(lambda: print(kept[0].switch() is kept[0]))
    cycle = greenlet(child)
    cycle.me = cycle
    cycle.switch()
    """)
    assert (out, err) == ("True\n", "")


def test_sys_exit_in_a_greenlet():
    out, err = run_child("""
    import sys
    from coir.greenlet import greenlet
    greenlet(lambda: sys.exit(3)).switch()
    print("not reached")
    """, status=3)
    assert (out, err) == ("", "")


def test_keyboard_interrupt_in_a_greenlet():
    out, err = run_child("""
    import signal
    from coir.greenlet import greenlet

    def child():
        signal.raise_signal(signal.SIGINT)

    # A shell without job control has background jobs ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        greenlet(child).switch()
    except KeyboardInterrupt:
        print("interrupted")
    """)
    assert (out, err) == ("interrupted\n", "")


def test_exit_with_greenlets_in_daemon_threads():
    out, err = run_child("""
    import threading, time
    from coir.greenlet import greenlet, getcurrent

    ready = threading.Event()

    def work():
        main = getcurrent()

        def child():
            ready.set()
            while True:
                time.sleep(0.001)
                main.switch()

        g = greenlet(child)
        while True:
            g.switch()

    threading.Thread(target=work, daemon=True).start()
    ready.wait()
    print("end")
    """)
    assert (out, err) == ("end\n", "")


def test_fork_in_a_greenlet():
    out, err = run_child("""
    import os, threading, warnings
    from coir.greenlet import greenlet, getcurrent

    warnings.simplefilter("ignore")  # of fork beside threads
    main = getcurrent()
    parked = threading.Event()
    leave = threading.Event()

    def work():
        mine = getcurrent()
        other = greenlet(mine.switch)
        other.switch()
        parked.set()
        leave.wait()

    thread = threading.Thread(target=work)
    thread.start()
    parked.wait()

    def child():
        pid = os.fork()
        if pid == 0:
            main.switch("child")
            return "child again"
        main.switch(pid)
        return "parent again"

    g = greenlet(child)
    got = g.switch()
    if got == "child":
        assert g.switch() == "child again"
        assert greenlet(lambda: 5).switch() == 5
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(got, 0)[1]) == 7
    assert g.switch() == "parent again"
    leave.set()
    thread.join()
    """)
    assert (out, err) == ("", "")


def test_overflow_of_c_code_is_reported(policy):
    if policy == "slice":
        pytest.skip("a slice has the thread's stack")
    out, err = run_child("""
    import faulthandler, itertools
    from coir.greenlet import greenlet

    def act():
        it = iter(())
        for _ in range(1_000_000):
            it = itertools.chain(it, ())
        list(it)

    greenlet(act).switch()
    """, status=-signal.SIGABRT)
    assert "stack overflow" in err
    assert "COIR_STACK_SIZE" in err


# --- threads -----------------------------------------------------------------


def test_dealloc_in_another_thread_while_the_owner_waits():
    ended = []
    box = []
    ready, leave = threading.Event(), threading.Event()

    def work():
        main = getcurrent()

        def child():
            try:
                main.switch()
            finally:
                ended.append(threading.get_ident())

        g = greenlet(child)
        g.switch()
        box.append(g)
        del g
        ready.set()
        leave.wait()
        getcurrent()

    thread = threading.Thread(target=work)
    thread.start()
    owner = thread.ident
    ready.wait()
    box.clear()
    assert ended == []
    leave.set()
    thread.join()
    assert ended == [owner]


def test_finalizer_that_switches():
    log = []

    class Switches:
        def __del__(self):
            log.append(other.switch("from __del__"))

    def echo(value):
        while True:
            value = getcurrent().parent.switch(value)

    other = greenlet(echo)

    def child(thing):
        del thing
        return "end"

    assert greenlet(child).switch(Switches()) == "end"
    assert log == ["from __del__"]
    other.throw(GreenletExit)
