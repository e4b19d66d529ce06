"""coir's own API: green threads, nurseries, deadlines, shields."""

import asyncio
import contextvars
import gc
import io
import re
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import coir
import pytest
from coir._core import get_hub_if_exists
from coir.gevent import Timeout, get_hub


@pytest.fixture
def reported(monkeypatch):
    """What was reported to nobody in particular."""
    stream = io.StringIO()
    monkeypatch.setattr(get_hub(), "exception_stream", stream)
    return stream


def fail(error):
    raise error


def wait_for_ever(log=None):
    try:
        coir.Event().wait()
    finally:
        if log is not None:
            log.append("ended")


# --- green threads -----------------------------------------------------------


def test_result():
    thread = coir.spawn(max, 1, 2)
    assert not thread.done and "running" in repr(thread)
    assert thread.exception() is None
    assert thread.result() == 2 == thread.result()
    assert thread.done and "done" in repr(thread)
    assert thread.exception() is None
    assert coir.spawn(dict, a=1).result() == {"a": 1}
    assert coir.spawn(lambda: None).result() is None


def test_error(reported):
    thread = coir.spawn(fail, KeyError("x"))
    with pytest.raises(KeyError, match="x") as caught:
        thread.result()
    assert thread.exception() is caught.value
    assert "raised KeyError" in repr(thread)
    del thread
    gc.collect()
    assert reported.getvalue() == ""


def test_an_error_that_nobody_asks_for_is_reported_once(reported):
    coir.spawn(fail, KeyError("lost"))
    coir.sleep(0)
    gc.collect()
    text = reported.getvalue()
    assert text.count("KeyError: 'lost'") == 1
    assert "in fail" in text and "coir/_native" not in text
    assert "whose result nobody asked for" in text


def test_what_ends_is_freed_at_once():
    class Thing:
        pass

    def work(thing, fails):
        if fails:
            raise KeyError

    gc.disable()
    try:
        for fails in (False, True):
            thing = Thing()
            gone = weakref.ref(thing)
            thread = coir.spawn(work, thing, fails)
            thread.join()
            assert (thread.exception() is not None) is fails
            del thing, thread
            assert gone() is None
    finally:
        gc.enable()


def test_join_and_result_with_a_timeout():
    thread = coir.spawn(wait_for_ever)
    assert not thread.join(0.001)
    with pytest.raises(TimeoutError, match="wait_for_ever"):
        thread.result(timeout=0.001)
    assert not thread.done
    thread.cancel()
    assert thread.join()


def test_cancel(reported):
    log = []
    thread, unborn = coir.spawn(wait_for_ever, log), None
    coir.sleep(0)
    unborn = coir.spawn(log.append, "never")
    thread.cancel()
    unborn.cancel()
    assert not thread.done
    for each in (thread, unborn):
        with pytest.raises(coir.Cancelled):
            each.result()
        assert isinstance(each.exception(), coir.Cancelled)
    assert log == ["ended"]
    thread.cancel()  # too late, and no error
    del thread, unborn, each
    gc.collect()
    assert reported.getvalue() == ""


def test_context_is_the_spawners():
    number = contextvars.ContextVar("number")
    number.set(1)
    thread = coir.spawn(number.get)
    number.set(2)

    def change():
        number.set(3)

    coir.spawn(change).join()
    assert (thread.result(), number.get()) == (1, 2)


def test_name():
    thread = coir.spawn(coir.sleep)
    assert thread.name == "sleep"
    thread.name = "napping"
    assert "napping" in repr(thread)
    assert thread.greenlet.name == "napping"
    thread.join()


def test_dump():
    lock = coir.Lock()
    lock.acquire()
    thread = coir.spawn(lock.acquire)
    thread.name = "patient"
    coir.sleep(0)
    text = coir.dump()
    assert re.search(r"patient.*\n +in acquire\(\) of .*, for 0\.", text)
    assert "test_dump" in text
    lock.release()
    thread.join()


def test_bad_arguments():
    with pytest.raises(TypeError, match="not callable: 1"):
        coir.spawn(1)
    with pytest.raises(TypeError):
        coir.spawn(max).result()
    with pytest.raises((TypeError, ValueError)):
        coir.deadline("soon")
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        coir.nonsense  # noqa: B018


def test_a_result_for_a_native_thread():
    thread = coir.spawn(coir.sleep, 0.01)
    got = []
    native = threading.Thread(target=lambda: got.append(thread.join(30)))
    native.start()
    coir.blocking(native.join)
    assert got == [True]


# --- nurseries ---------------------------------------------------------------


def test_a_nursery_ends_after_all_in_it():
    log = []

    def work(seconds):
        coir.sleep(seconds)
        log.append(seconds)
        if seconds == 0.002:  # who is in it may add
            nursery.spawn(work, 0.003)
        return seconds

    with coir.Nursery() as nursery:
        threads = [nursery.spawn(work, n / 1000) for n in (2, 1)]
        log.append("body")
    assert log == ["body", 0.001, 0.002, 0.003]
    assert [thread.result() for thread in threads] == [0.002, 0.001]
    with pytest.raises(RuntimeError, match="not running"):
        nursery.spawn(work, 0)
    with pytest.raises(RuntimeError, match="one block"), nursery:
        pass


def test_what_fails_cancels_the_others_and_the_body(reported):
    log = []
    with pytest.raises(ExceptionGroup) as caught, coir.Nursery() as nursery:
        nursery.spawn(wait_for_ever, log)
        nursery.spawn(fail, KeyError("first"))
        wait_for_ever(log)
    assert log == ["ended", "ended"]
    (error,) = caught.value.exceptions
    assert isinstance(error, KeyError)
    assert reported.getvalue() == ""
    coir.sleep(0)  # nothing comes after the block


def test_what_fails_after_the_body():
    log = []
    with pytest.raises(ExceptionGroup) as caught, coir.Nursery() as nursery:
        nursery.spawn(wait_for_ever, log)
        nursery.spawn(lambda: (coir.sleep(0.001), fail(KeyError())))
        nursery.spawn(lambda: (coir.sleep(0.001), fail(OSError())))
    assert log == ["ended"]
    kinds = sorted(type(e).__name__ for e in caught.value.exceptions)
    assert kinds in (["KeyError", "OSError"], ["KeyError"])


def test_who_is_cancelled_may_wait_in_the_end():
    log = []

    def works(seconds, error):
        try:
            coir.Event().wait()
        finally:
            coir.sleep(seconds)
            log.append(seconds)
            if error is not None:
                raise error

    with pytest.raises(ExceptionGroup) as caught, coir.Nursery() as nursery:
        nursery.spawn(works, 0.003, None)
        nursery.spawn(works, 0.001, KeyError())
        nursery.spawn(works, 0.002, OSError())
        coir.sleep(0)
        nursery.cancel()
        fail(ValueError())
    assert log == [0.001, 0.002, 0.003]
    kinds = {type(error) for error in caught.value.exceptions}
    assert kinds == {KeyError, OSError, ValueError}


def test_the_bodys_own_error_is_in_the_group():
    log = []
    with pytest.raises(ExceptionGroup) as caught, coir.Nursery() as nursery:
        nursery.spawn(wait_for_ever, log)
        coir.sleep(0)
        fail(ValueError("own"))
    assert log == ["ended"]
    assert [type(e) for e in caught.value.exceptions] == [ValueError]


def test_a_body_that_does_not_wait_is_not_interrupted():
    with pytest.raises(ExceptionGroup), coir.Nursery() as nursery:
        nursery.spawn(fail, KeyError())
        done = "body"
    assert done == "body"


def test_a_cancelled_nursery_is_no_error():
    log = []
    with coir.Nursery() as nursery:
        for _ in range(3):
            nursery.spawn(wait_for_ever, log)
        coir.sleep(0)
        nursery.cancel()
        late = nursery.spawn(wait_for_ever, log)
    assert log == ["ended"] * 3
    assert isinstance(late.exception(), coir.Cancelled)


def test_whom_nobody_waits_for_any_more_is_cancelled():
    log = []

    def outer():
        with coir.Nursery() as nursery:
            nursery.spawn(wait_for_ever, log)
            nursery.spawn(wait_for_ever, log)

    thread = coir.spawn(outer)
    coir.sleep(0.001)
    thread.cancel()
    with pytest.raises(coir.Cancelled):
        thread.result()
    assert log == ["ended"] * 2


def test_nurseries_within_each_other():
    log = []

    def inner():
        with coir.Nursery() as nursery:
            nursery.spawn(wait_for_ever, log)

    with pytest.raises(ExceptionGroup) as caught, coir.Nursery() as nursery:
        nursery.spawn(inner)
        coir.sleep(0.001)
        nursery.spawn(fail, KeyError())
    assert log == ["ended"]
    assert len(caught.value.exceptions) == 1


def test_a_nursery_belongs_to_one_thread():
    with coir.Nursery() as nursery:

        def elsewhere():
            with pytest.raises(RuntimeError, match="another thread"):
                nursery.spawn(print)
            return True

        assert coir.blocking(elsewhere)


def test_ctrl_c_ends_a_nursery():
    def interrupt():
        coir.sleep(0.001)
        error = KeyboardInterrupt()
        get_hub().handle_error(None, type(error), error, None)

    log = []
    with pytest.raises(KeyboardInterrupt), coir.Nursery() as nursery:
        nursery.spawn(wait_for_ever, log)
        coir.spawn(interrupt)
    assert log == ["ended"]

    def fails_late():
        try:
            wait_for_ever()
        finally:
            fail(KeyError())

    with pytest.raises(KeyboardInterrupt) as caught, coir.Nursery() as nursery:
        nursery.spawn(fails_late)
        coir.spawn(interrupt)
    (error,) = caught.value.__cause__.exceptions
    assert isinstance(error, KeyError)


def test_an_error_of_the_body_is_not_lost_when_it_is_cancelled_then():
    log = []

    def slow():
        try:
            coir.Event().wait()
        finally:
            coir.sleep(0.005)
            log.append("ended")

    def outer():
        with coir.Nursery() as nursery:
            nursery.spawn(slow)
            coir.sleep(0)
            fail(ValueError("own"))

    thread = coir.spawn(outer)
    coir.sleep(0.001)
    thread.cancel()
    with pytest.raises(ExceptionGroup) as caught:
        thread.result()
    assert [type(e) for e in caught.value.exceptions] == [ValueError]
    assert log == ["ended"]


@pytest.mark.parametrize("nested", [False, True])
def test_exit_in_a_nursery_ends_the_program(nested):
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(f"""
                import sys, coir

                def wait():
                    try:
                        coir.Event().wait()
                    finally:
                        print("ended")

                def block():
                    with coir.Nursery() as nursery:
                        nursery.spawn(wait)
                        nursery.spawn(sys.exit, 7)
                        coir.sleep(100)

                if {nested}:
                    coir.spawn(block).join()
                else:
                    block()
            """),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 7, done.stderr
    assert "Traceback" not in done.stderr
    if not nested:
        assert done.stdout == "ended\n"


def test_an_error_dropped_by_a_thread_makes_no_hub_there(reported):
    got = []

    def drop(threads):
        threads.clear()
        got.append(get_hub_if_exists())

    threads = [coir.spawn(fail, KeyError("dropped"))]
    threads[0].join()
    native = threading.Thread(target=drop, args=(threads,))
    native.start()
    native.join()
    assert got == [None]
    assert "KeyError: 'dropped'" in reported.getvalue()


def test_a_nursery_that_can_never_end():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent("""
                import coir

                def stubborn():
                    while True:
                        try:
                            coir.Event().wait()
                        except coir.Cancelled:
                            pass

                with coir.Nursery() as nursery:
                    nursery.spawn(stubborn)
            """),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and "LoopExit" in done.stderr


# --- limits ------------------------------------------------------------------


def test_deadline():
    with coir.deadline(30) as limit:
        coir.sleep(0)
    assert not limit.expired
    with pytest.raises(TimeoutError, match="within 0.001 s"):
        with coir.deadline(0.001) as limit:
            wait_for_ever()
    assert limit.expired
    with coir.deadline(None):
        coir.sleep(0)
    with pytest.raises(RuntimeError, match="one block"), limit:
        pass


def test_deadlines_end_their_own_block():
    with coir.deadline(30) as outer:
        with pytest.raises(TimeoutError), coir.deadline(0.001) as inner:
            wait_for_ever()
        assert inner.expired
    assert not outer.expired
    with pytest.raises(TimeoutError):
        with coir.deadline(0.001) as outer, coir.deadline(30) as inner:
            wait_for_ever()
    assert outer.expired and not inner.expired


def test_a_deadline_does_not_come_late(monkeypatch):
    monkeypatch.setattr("coir._deadline.GRACE", 30)
    limit = coir.deadline(0.001)
    with limit:
        end = time.monotonic() + 0.005
        while time.monotonic() < end:
            pass
    coir.sleep(0.003)
    assert not limit.expired


def compute(log, seconds=30.0):
    """Without a wait."""
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            pass
        log.append("computed")
    finally:
        log.append("ended")


def test_a_deadline_ends_a_computation():
    log = []
    with pytest.raises(TimeoutError, match="within 0.01 s"):
        with coir.deadline(30) as outer, coir.deadline(0.01) as limit:
            compute(log)
    assert limit.expired and not outer.expired and log == ["ended"]
    with pytest.raises(TimeoutError):
        with coir.deadline(0.01) as outer, coir.deadline(30) as limit:
            compute(log)
    assert outer.expired and not limit.expired


def test_a_deadline_in_a_loop_misses_no_finally():
    """3.11 to 3.13 do not look for handlers where some loops jump back."""
    log = []

    def first():
        try:
            while True:
                time.monotonic()
        finally:
            log.append("first")

    def last():
        x = 1
        try:
            while x:
                x += time.monotonic() > 0
        finally:
            log.append("last")

    for function in [first, last] * 3:
        with pytest.raises(TimeoutError), coir.deadline(0.01):
            function()
    assert log == ["first", "last"] * 3


def test_a_deadline_ends_what_its_nurseries_compute():
    log = []

    def nested():
        with coir.Nursery() as inner:
            inner.spawn(compute, log)
            coir.sleep(30)

    with pytest.raises(TimeoutError):
        with coir.deadline(0.01) as limit, coir.Nursery() as nursery:
            nursery.spawn(compute, log)
            nursery.spawn(compute, log)
    # The hub may have the time to cancel the second before it begins.
    assert limit.expired and log in (["ended"], ["ended"] * 2)
    log.clear()
    with pytest.raises(TimeoutError):
        with coir.deadline(0.01) as limit, coir.Nursery() as nursery:
            nursery.spawn(nested)
    assert limit.expired and log == ["ended"]


def test_a_deadline_leaves_other_computations_alone():
    log = []
    with coir.Nursery() as nursery:
        nursery.spawn(compute, log, 0.2)
        with pytest.raises(TimeoutError), coir.deadline(0.01):
            wait_for_ever()
    assert log == ["computed", "ended"]
    with coir.deadline(0.01):
        coir.shield(compute, log, 0.2)
    assert log == ["computed", "ended"] * 2


def test_a_deadline_ends_a_computation_once():
    log = []
    with coir.deadline(0.01) as limit:
        try:
            compute(log)
        except Timeout:
            compute(log, 0.2)
    assert not limit.expired
    assert log == ["ended", "computed", "ended"]


def test_a_deadline_waits_for_a_call_of_c_to_return():
    """And does not fill the interpreter's queue of calls meanwhile."""
    nap = coir.gevent.monkey.get_original("time", "sleep")
    log = []
    with pytest.raises(TimeoutError), coir.deadline(0.01):
        nap(0.5)
        log.append("back")
        compute(log)
    assert log in (["back", "ended"], ["back"], [])


def test_only_the_main_thread_is_interrupted():
    log = []

    def run():
        with coir.deadline(0.01):
            compute(log, 0.2)

    coir.blocking(run)
    assert log == ["computed", "ended"]


def test_a_deadline_ends_a_computation_after_patching_and_in_a_fork():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent("""\
                from coir.gevent import monkey
                monkey.patch_all()
                import os, time, coir

                with coir.deadline(0.01):
                    pass  # the thread of this process
                try:
                    with coir.deadline(0.1):
                        child = os.fork()
                        end = time.monotonic() + 30
                        while time.monotonic() < end:
                            pass
                except TimeoutError:
                    os.write(1, b"ended\\n")
                if child:
                    os.waitpid(child, 0)
            """),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "ended\n" * 2, done.stderr


def test_a_deadline_ends_what_a_greenlet_of_gevent_computes():
    log = []

    def handle():
        with coir.deadline(0.01):
            compute(log)

    slow = coir.gevent.spawn(handle)
    other = coir.gevent.spawn(lambda: "other")
    coir.gevent.joinall([slow, other])
    assert isinstance(slow.exception, TimeoutError) and log == ["ended"]
    assert other.value == "other"


def test_a_deadline_ends_loops_without_calls():
    def loop():
        x = 1
        try:
            while x:
                x += 1
        finally:
            pass

    with pytest.raises(TimeoutError), coir.deadline(0.01):
        loop()


def test_a_deadline_without_its_thread_ends_waits():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent("""\
                import _thread

                def refuse(*args):
                    raise RuntimeError("can't start new thread")

                start, _thread.start_new_thread = (
                    _thread.start_new_thread, refuse)
                import coir, coir._deadline
                _thread.start_new_thread = start

                for _ in range(2):
                    try:
                        with coir.deadline(0.001):
                            coir.sleep(30)
                    except TimeoutError:
                        print("ended")
            """),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "ended\n" * 2, done.stderr


def test_errors_within_a_deadline_are_their_own():
    with pytest.raises(KeyError), coir.deadline(30):
        fail(KeyError())
    with pytest.raises(TimeoutError, match="mine"), coir.deadline(30) as limit:
        fail(TimeoutError("mine"))
    assert not limit.expired
    with pytest.raises(Timeout), coir.deadline(30), Timeout(0.001):
        wait_for_ever()


def test_a_deadline_ends_a_nursery():
    log = []
    with pytest.raises(TimeoutError):
        with coir.deadline(0.001), coir.Nursery() as nursery:
            nursery.spawn(wait_for_ever, log)
            nursery.spawn(wait_for_ever, log)
    assert log == ["ended"] * 2


def test_shield():
    log = []

    def goodbye():
        coir.sleep(0.005)
        log.append("said")
        return "bye"

    assert coir.shield(goodbye) == "bye"
    thread = coir.spawn(coir.shield, goodbye)
    coir.sleep(0)
    thread.cancel()
    with pytest.raises(coir.Cancelled):
        thread.result()
    with pytest.raises(TimeoutError), coir.deadline(0.001):
        coir.shield(goodbye)
    assert log == ["said"] * 3
    with pytest.raises(KeyError):
        coir.shield(fail, KeyError())


# --- other worlds ------------------------------------------------------------


def test_blocking():
    number = contextvars.ContextVar("number", default=0)
    number.set(5)
    turns = []

    def count():
        for n in range(3):
            turns.append(n)
            coir.sleep(0)

    counter = coir.spawn(count)
    native = threading.get_ident()
    ident, got = coir.blocking(
        lambda: (time.sleep(0.01), (threading.get_ident(), number.get()))[1]
    )
    assert ident != native and got == 5 and turns == [0, 1, 2]
    counter.join()
    with pytest.raises(KeyError):
        coir.blocking(fail, KeyError())
    assert coir.blocking(dict, a=1) == {"a": 1}
    with pytest.raises(TimeoutError), coir.deadline(0.001):
        coir.blocking(time.sleep, 0.02)


def test_blocking_job_that_fails_after_its_waiter_has_gone(capsys):
    begun, go_on = threading.Event(), threading.Event()

    def late():
        begun.set()
        go_on.wait(60)
        raise KeyError("late")

    waiter = coir.spawn(coir.blocking, late)
    while not begun.is_set():
        coir.sleep(0.001)
    waiter.cancel()
    with pytest.raises(coir.Cancelled):
        waiter.result()
    go_on.set()
    # It has a thread until it has ended; its error is not silent.
    pool = get_hub().threadpool
    pool.join()
    assert len(pool) == 0
    assert coir.blocking(abs, -1) == 1
    assert "KeyError: 'late'" in capsys.readouterr().err


def test_coroutines_in_several_green_threads():
    async def work(number):
        await asyncio.sleep(0.001)
        await asyncio.sleep(0.001)
        return number

    def run(number):
        return coir.run_async(work(number))

    with coir.Nursery() as nursery:
        threads = [nursery.spawn(run, n) for n in range(5)]
    assert [thread.result() for thread in threads] == list(range(5))

    coroutine = work(1)

    async def inner():
        with pytest.raises(RuntimeError):
            coir.run_async(coroutine)
        return True

    assert coir.run_async(inner())
    coroutine.close()


def test_coroutines_await_green_threads():
    log = []

    async def main():
        assert await coir.spawn(max, 1, 2) == 2
        done = coir.spawn(max, 3, 4)
        await asyncio.sleep(0.001)
        assert await done == 4
        with pytest.raises(KeyError):
            await coir.spawn(fail, KeyError())
        task = asyncio.create_task(wrap(coir.spawn(wait_for_ever, log)))
        await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return 5

    async def wrap(thread):
        return await thread

    assert coir.run_async(main()) == 5
    coir.sleep(0)
    assert log == ["ended"]


def test_a_cancelled_green_thread_cancels_its_coroutine():
    log = []

    async def main():
        try:
            await asyncio.sleep(1000)
        finally:
            log.append("ended")

    thread = coir.spawn(coir.run_async, main())
    coir.sleep(0.001)
    thread.cancel()
    with pytest.raises(coir.Cancelled):
        thread.result()
    assert log == ["ended"]


def test_together_with_gevent():
    thread = coir.spawn(wait_for_ever)
    coir.sleep(0)
    thread.greenlet.kill()
    assert isinstance(thread.exception(), coir.Cancelled)


def test_importing_coir_loads_no_engine():
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, coir\n"
            "assert 'coir._core' not in sys.modules\n"
            "assert set(coir.__all__) <= set(dir(coir))\n"
            "from coir._native import __all__ as native\n"
            "own = {'__version__', 'install_as'}\n"
            "assert set(coir.__all__) == own.union(native)\n"
            "coir.sleep(0)\n"
            "assert 'coir._core' in sys.modules\n"
            "assert 'asyncio' not in sys.modules\n",
        ],
        check=True,
        timeout=60,
    )
