"""coir.gevent.thread and threading: what gevent's own tests leave open."""

import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import coir.gevent as gevent
import pytest
from coir._core import ThreadRLock
from coir.gevent import thread
from coir.gevent.hub import GreenletExit
from coir.gevent.threading import _DummyThread
from coir.greenlet import getcurrent, settrace


def run_patched(code):
    """Run it in a process in which everything is patched."""
    code = "from coir.gevent import monkey\n" + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout.split()


# --- gevent.thread -----------------------------------------------------------


def test_a_thread_is_a_greenlet():
    seen = []

    def run(a, b=0):
        seen.append((a, b, thread.get_ident()))

    ident = thread.start_new_thread(run, (1,), {"b": 2})
    gevent.sleep(0)
    assert seen == [(1, 2, ident)]
    assert thread.get_ident() == id(getcurrent())
    assert thread.get_ident(getcurrent()) == id(getcurrent())


def test_wrong_arguments():
    with pytest.raises(TypeError):
        thread.start_new_thread(1)
    with pytest.raises(TypeError):
        thread.start_new_thread(print, [])
    with pytest.raises(TypeError):
        thread.start_new_thread(print, (), 1)
    with pytest.raises(TypeError):
        thread.start_joinable_thread(1)
    with pytest.raises(TypeError):
        thread.start_joinable_thread(print, handle=1)
    with pytest.raises(ValueError):
        thread.stack_size(1000)


@pytest.mark.parametrize("size", [-4096, -1, 123])
def test_sizes_of_stacks_that_are_none(size):
    before = thread.stack_size()
    with pytest.raises(ValueError):
        thread.stack_size(size)
    assert thread.stack_size() == before


def test_exit_ends_the_greenlet():
    g = gevent.spawn(thread.exit)
    g.join()
    assert isinstance(g.value, GreenletExit)


def test_handle_is_joined():
    handle = thread.start_joinable_thread(lambda: gevent.sleep(0.002))
    assert not handle.is_done()
    assert handle.join(0.0001) is None
    assert not handle.is_done()
    assert handle.ident
    handle.join()
    assert handle.is_done()
    handle.join()
    with pytest.raises(RuntimeError, match="already started"):
        thread.start_joinable_thread(print, handle=handle)


def test_handle_not_started():
    handle = thread._ThreadHandle()
    assert handle.ident is None
    for method in (handle.join, handle._set_done):
        with pytest.raises(RuntimeError, match="not started"):
            method()


def test_handle_of_the_running_greenlet():
    handle = thread._make_thread_handle()
    assert handle.ident == thread.get_ident()
    with pytest.raises(RuntimeError, match="current"):
        handle.join()
    g = gevent.spawn(handle.join)
    gevent.sleep(0)
    handle._set_done()
    g.join(10)
    assert g.ready() and handle.is_done()


def test_handle_of_a_raw_greenlet():
    handles = []

    def run():
        handles.append(thread._make_thread_handle())
        gevent.sleep(0.001)

    gevent.spawn_raw(run)
    gevent.sleep(0)
    (handle,) = handles
    handle.join(0.00001)
    assert not handle.is_done()
    handle.join(10)
    assert handle.is_done()


def test_handle_does_not_keep_the_greenlet():
    handle = thread.start_joinable_thread(int)
    handle.join()
    assert handle._get_greenlet() is None


def test_only_the_greenlet_that_forks_goes_on():
    other = thread.start_joinable_thread(lambda: gevent.sleep(100))
    mine = thread._make_thread_handle()
    gevent.sleep(0)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if other.is_done() and not mine.is_done() else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert not other.is_done()
    other._get_greenlet().kill()


# --- the threading module ----------------------------------------------------


def test_dummy_thread_is_forgotten_with_its_greenlet():
    before = dict(threading._active)
    for spawn in (gevent.spawn, gevent.spawn_raw):
        made = []

        def run(made=made):
            made.append(_DummyThread())
            gevent.sleep(0)

        g = spawn(run)
        gevent.sleep(0)
        (dummy,) = made
        assert dummy.name.startswith("Dummy-")
        assert dummy.ident == id(g)
        assert dummy.is_alive() and dummy.daemon
        assert threading._active[dummy.ident] is dummy
        assert "Dummy" in repr(dummy)
        while not g.dead:
            gevent.sleep(0)
        del g
        gevent.idle()
        assert threading._active == before


def test_threads_made_before_patching_are_greenlets_after():
    assert run_patched(
        """
        import threading

        class Early(threading.Thread):
            def run(self):
                import gevent_name as gevent
                self.greenlet = gevent.getcurrent()

        import sys, coir.gevent
        sys.modules["gevent_name"] = coir.gevent
        early, Thread, Timer = Early(), threading.Thread, threading.Timer
        monkey.patch_all()
        late = Early()
        late.start()
        late.join()
        assert isinstance(late.greenlet, coir.gevent.Greenlet)
        assert not late.is_alive()
        assert threading.Thread is Thread and threading.Timer is Timer
        ran = []
        timer = threading.Timer(0.001, ran.append, (1,))
        timer.start()
        timer.join()
        print(*ran)
        """
    ) == ["1"]


def test_locks_of_threading():
    assert run_patched(
        """
        monkey.patch_all()
        import threading, logging, queue
        from coir._core import LockType, ThreadRLock
        assert type(threading.Lock()) is LockType
        assert type(threading.RLock()) is ThreadRLock
        assert threading.get_ident() == threading.main_thread().ident
        assert threading.current_thread() is threading.main_thread()
        c, out = threading.Condition(), []

        def wait():
            with c:
                while not out:
                    c.wait()
                out.append(2)

        t = threading.Thread(target=wait)
        t.start()
        with c:
            out.append(1)
            c.notify()
        t.join()
        b = threading.Barrier(3)
        ts = [threading.Thread(target=b.wait) for _ in range(2)]
        for t in ts:
            t.start()
        b.wait()
        for t in ts:
            t.join()
        print(*out)
        """
    ) == ["1", "2"]


def test_notify_lets_nobody_run():
    # Condition asks whether its lock is owned by what yields if it is.
    condition = threading.Condition(thread.allocate_lock())
    ran = []
    other = gevent.spawn(ran.append, 1)
    with condition:
        condition.notify()
        condition.notify_all()
        assert not ran
    other.join()
    with pytest.raises(RuntimeError):
        condition.notify()


@pytest.mark.parametrize("how", ["with", "acquire"])
def test_who_asks_a_queue_again_and_again_lets_others_run(how):
    lock = thread.allocate_lock()
    ran = []
    other = gevent.spawn(ran.append, 1)
    for _ in range(100_000):
        if how == "with":
            with lock:
                pass
        else:
            lock.acquire()
            lock.release()
        if ran:
            break
    assert ran
    other.join()


@pytest.mark.parametrize("lock", ["Lock", "RLock"])
def test_who_is_killed_after_its_wait_releases_nobodys_lock(lock):
    assert run_patched(
        f"""
        monkey.patch_all()
        import threading
        import coir.gevent as gevent
        condition = threading.Condition(threading.{lock}())

        def wait():
            with condition:
                condition.wait()

        waiter = gevent.spawn(wait)
        gevent.sleep(0)
        with condition:
            condition.notify()
            gevent.sleep(0)
            waiter.kill(block=False)
            gevent.sleep(0)
            gevent.sleep(0)
            assert not waiter.dead
        waiter.join(30)
        print(repr(waiter.value))
        assert condition.acquire(False)
        """
    ) == ["GreenletExit()"]


@pytest.mark.parametrize("kind", [thread.LockType, ThreadRLock])
def test_who_is_killed_twice_goes_without_the_lock(kind):
    lock = kind()
    lock.acquire()
    waiter = gevent.spawn(lock._acquire_restore, (1, None))
    gevent.sleep(0)
    for error in (ValueError, KeyError):
        waiter.kill(error, block=False)
        gevent.sleep(0)
    assert isinstance(waiter.exception, ValueError)
    lock.release()
    assert lock.acquire(blocking=False)


def test_exit_waits_for_threads_but_not_for_daemons():
    assert run_patched(
        """
        monkey.patch_all()
        import threading, time

        def late():
            time.sleep(0.005)
            print("late", flush=True)

        def never():
            time.sleep(1000)
            print("never", flush=True)

        threading.Thread(target=never, daemon=True).start()
        threading.Thread(target=late).start()
        print("main", flush=True)
        """
    ) == ["main", "late"]


@pytest.mark.parametrize("where", ["thread", "greenlet", "main"])
def test_who_forks_is_the_main_thread_of_the_child(where):
    out = run_patched(
        f"""
        monkey.patch_all()
        import os, threading, time
        import coir.gevent as gevent

        other = threading.Thread(target=time.sleep, args=(100,), daemon=True)
        other.start()
        time.sleep(0)

        def run():
            threading.current_thread()
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    main = threading.main_thread()
                    assert main is threading.current_thread()
                    assert main.is_alive(), main
                    assert not other.is_alive()
                    assert main in threading.enumerate()
                    assert other not in threading.enumerate()
                    assert "Dummy" not in repr(main)
                    t = threading.Thread(target=lambda: 0)
                    t.start()
                    t.join()
                    code = 0
                finally:
                    os._exit(code)
            print(os.waitpid(pid, 0)[1])

        if "{where}" == "thread":
            t = threading.Thread(target=run)
            t.start()
            t.join()
        elif "{where}" == "greenlet":
            gevent.spawn(run).join()
        else:
            run()
        """
    )
    assert out == ["0"]


def test_a_lock_of_two_native_threads():
    assert run_patched(
        """
        monkey.patch_all()
        import threading
        import coir.gevent as gevent
        from coir.gevent.threadpool import ThreadPool

        lock, event, out = threading.Lock(), threading.Event(), []
        lock.acquire()

        def native():
            with lock:
                out.append("native")
            event.set()

        result = ThreadPool(1).spawn(native)
        gevent.sleep(0.001)
        lock.release()
        assert event.wait(10)
        result.get()
        print(*out)
        """
    ) == ["native"]


def test_greenlets_of_traced_threads_do_not_leak():
    # Threads took turns between the switch to a greenlet and its beginning.
    left = []

    def thread():
        refs = []
        settrace(lambda *_: time.sleep(0))
        for _ in range(100):
            g = gevent.spawn(abs, 1)
            refs.append(weakref.ref(g))
            g.join()
        settrace(None)
        del g
        gevent.sleep(0)
        gc.collect()
        left.append(sum(ref() is not None for ref in refs))

    threads = [threading.Thread(target=thread) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert left == [0, 0, 0]
