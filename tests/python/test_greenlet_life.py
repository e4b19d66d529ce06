"""Life and end of greenlets: deallocation, threads, collection, memory."""

import gc
import os
import subprocess
import sys
import textwrap
import threading
import weakref

import pytest
from coir import _core
from coir._core import GreenletExit, error, getcurrent, greenlet


def run_child(code, **env):
    """Run a program of its own; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=dict(os.environ, **env),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    return done.stdout


def suspended(log=None):
    def body():
        try:
            getcurrent().parent.switch()
        except GreenletExit:
            if log is not None:
                log.append(getcurrent())
            raise

    g = greenlet(body)
    g.switch()
    return g


def test_last_reference_unwinds():
    log = []
    g = suspended(log)
    del g
    assert len(log) == 1 and log[0].dead


def test_garbage_cycle_unwinds():
    log = []

    def body():
        me = getcurrent()  # the frame refers to its greenlet
        try:
            me.parent.switch()
        finally:
            log.append("finally")

    g = greenlet(body)
    g.switch()
    ref = weakref.ref(g)
    del g
    gc.collect()
    assert log == ["finally"]
    assert ref() is None


def test_garbage_cycle_of_a_class_with_del_unwinds():
    log = []

    class Loud(greenlet):
        def __del__(self):
            log.append("del")

        def run(self):
            try:
                self.parent.switch()
            finally:
                log.append("finally")

    g = Loud()
    g.switch()
    g.throw()
    assert log == ["finally"]
    del g
    gc.collect()
    assert log == ["finally", "del"]


def test_resurrected_greenlet_dies_the_next_time():
    kept = []

    def body():
        for _ in range(2):
            try:
                getcurrent().parent.switch()
            except GreenletExit:
                kept.append(getcurrent())
                getcurrent().parent.switch()

    g = greenlet(body)
    g.switch()
    del g
    assert len(kept) == 1 and not kept[0].dead
    kept[0].throw()
    assert kept[0].dead


def test_subclass_is_not_leaked_by_resurrection():
    class Sub(greenlet):
        pass

    before = sys.getrefcount(Sub)
    kept = []

    def body():
        try:
            getcurrent().parent.switch()
        except GreenletExit:
            kept.append(getcurrent())

    for _ in range(10):
        Sub(body).switch()
    assert len(kept) == 10
    kept.clear()
    gc.collect()
    assert sys.getrefcount(Sub) == before


def test_drop_in_another_thread_unwinds_in_its_own():
    log = []
    box = []
    made, dropped = threading.Event(), threading.Event()

    def body():
        try:
            getcurrent().parent.switch()
        finally:
            log.append(threading.get_ident())

    def worker():
        g = greenlet(body)
        g.switch()
        box.append(g)
        del g
        made.set()
        dropped.wait(10)
        getcurrent()

    thread = threading.Thread(target=worker)
    thread.start()
    made.wait(10)
    ident = thread.ident
    box.clear()
    assert log == []
    dropped.set()
    thread.join(10)
    assert log == [ident]


def test_thread_exit_unwinds_what_others_hold():
    log = []
    box = []

    def body(i):
        try:
            getcurrent().parent.switch()
        finally:
            log.append(i)

    def worker():
        for i in range(1000):
            g = greenlet(body)
            g.switch(i)
            box.append(g)

    thread = threading.Thread(target=worker)
    thread.start()
    thread.join(30)
    for _ in range(1000):  # 3.13 and on: join() returns a little early
        if len(log) == 1000:
            break
        threading.Event().wait(0.01)
    assert sorted(log) == list(range(1000))
    assert all(g.dead for g in box)
    with pytest.raises(error, match="happens to have exited"):
        box[0].switch()


def test_chain_of_a_million_parents_is_released():
    run_child(
        """
        from coir._core import greenlet
        g = greenlet(int)
        for _ in range(1_000_000):
            g = greenlet(int, g)
        del g
        """
    )


def test_chain_of_suspended_is_released():
    out = run_child(
        """
        import gc
        from coir._core import getcurrent, greenlet
        main, alive, last = getcurrent(), [0], []
        def link(n):
            alive[0] += 1
            try:
                if n:
                    child = greenlet(link)
                    last[:] = [child]
                main.switch()
            finally:
                alive[0] -= 1
        n = 20000
        first = greenlet(link)
        last.append(first)
        while n:
            g = last.pop()
            n -= 1
            g.switch(n)
        del g
        before = alive[0]
        del first
        gc.collect()
        print(before, alive[0])
        """
    )
    assert out.split() == ["20000", "0"]


def test_endless_nesting_of_starts_is_a_recursion_error():
    out = run_child(
        """
        from coir._core import greenlet
        def nest():
            greenlet(nest).switch()
        try:
            nest()
        except RecursionError:
            print("RecursionError")
        """
    )
    assert out.strip() == "RecursionError"


@pytest.mark.parametrize("policy", ["auto", "dedicated", "slice"])
def test_policy_from_environment(policy):
    out = run_child(
        """
        from coir import _core
        from coir._core import getcurrent, greenlet
        def deep(n):
            if n:
                return sorted([n], key=lambda _: deep(n - 1))
            main.switch("deep")
        main = getcurrent()
        gs = [greenlet(deep) for _ in range(20)]
        print(_core.get_stack_policy(),
              {g.switch(i) for i, g in enumerate(gs)})
        for g in gs:
            g.switch()
        print(all(g.dead for g in gs))
        """,
        COIR_STACK=policy,
    )
    assert out.split() == [policy, "{'deep'}", "True"]


def test_policy_is_automatic_by_default():
    assert _core.get_stack_policy() == "auto"
    out = run_child("from coir import _core; print(_core.get_stack_policy())")
    assert out.split() == ["auto"]


def test_bad_environment_is_said_and_ignored():
    code = "from coir import _core; print(_core.get_stack_size())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=dict(os.environ, COIR_STACK_SIZE="huge", COIR_STACK="heap"),
        capture_output=True,
        text=True,
    )
    assert int(done.stdout) >= 1 << 19
    assert "COIR_STACK_SIZE=huge is ignored" in done.stderr
    assert "COIR_STACK=heap is ignored" in done.stderr


@pytest.mark.parametrize(
    "name, value, exception",
    [
        ("stack_size", "1M", TypeError),
        ("stack_size", 1, ValueError),
        ("stack_size", -1, ValueError),
        ("stack_size", 1 << 70, ValueError),
        ("stack_policy", "heap", ValueError),
        ("stack_policy", 5, ValueError),
    ],
)
def test_bad_class_attribute_leaves_the_greenlet_alone(name, value, exception):
    cls = type("Sub", (greenlet,), {name: value})
    g = cls(int)
    with pytest.raises(exception, match=name):
        g.switch()
    assert not g and not g.dead
    delattr(cls, name)
    assert g.switch() == 0


def test_no_memory_for_a_stack_loses_nothing():
    out = run_child(
        """
        import resource
        from coir._core import getcurrent, greenlet, set_stack_policy
        set_stack_policy("dedicated")
        def body():
            return getcurrent().parent.switch("started")
        first = greenlet(body)
        first.switch()
        resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))
        kept = []
        try:
            while True:
                g = greenlet(body)
                g.switch()
                kept.append(g)
        except MemoryError:
            pass
        print(len(kept) > 10, g.dead, bool(g), first.switch("on"))
        kept.clear()
        print(g.switch(), g.switch("late"))
        """
    )
    assert out.split() == ["True", "False", "False", "on", "started", "late"]


def test_nothing_is_leaked():
    value = object()

    def echo(*args, **kwargs):
        return getcurrent().parent.switch(*args, **kwargs)

    class Sub(greenlet):
        def run(self, *args):
            return args

    def fails():
        raise KeyError

    def once():
        g = greenlet(echo)
        g.switch(value)
        g.switch(value)
        g = greenlet(echo)
        g.switch(value, value, key=value)
        g.throw()
        Sub().switch(value, value)
        greenlet(int, getcurrent()).throw()
        with pytest.raises(KeyError):
            greenlet(fails).switch()
        with pytest.raises(KeyError):
            suspended().throw(KeyError(value))

    def count():
        gc.collect()
        return sys.getrefcount(value), len(gc.get_objects())

    for _ in range(3):
        once()
    refs, objects = count()
    for _ in range(100):
        once()
    refs_after, objects_after = count()
    assert refs_after == refs
    assert objects_after - objects < 20


def test_fork_drops_the_greenlets_of_other_threads():
    out = run_child(
        """
        import os, threading
        from coir._core import getcurrent, greenlet
        box, stop, ready = [], threading.Event(), threading.Event()
        def body():
            getcurrent().parent.switch()
        def worker():
            box.append(greenlet(body))
            box[0].switch()
            ready.set()
            stop.wait()
        thread = threading.Thread(target=worker)
        thread.start()
        ready.wait()
        mine = greenlet(body)
        mine.switch()
        pid = os.fork()
        if pid == 0:
            mine.switch()
            ok = mine.dead and greenlet(lambda: 7).switch() == 7
            box.clear()
            os._exit(0 if ok else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        stop.set()
        thread.join()
        """
    )
    assert out.strip() == "0"


def test_suspended_at_exit_does_no_harm():
    out = run_child(
        """
        import atexit
        from coir._core import getcurrent, greenlet
        def body():
            me = getcurrent()
            me.parent.switch()
        kept = [greenlet(body) for _ in range(100)]
        for g in kept:
            g.switch()
        atexit.register(lambda: print(getcurrent() is not None))
        """
    )
    assert out.strip() == "True"


def test_subinterpreter_is_refused():
    out = run_child(
        """
        import coir._core
        try:
            import _xxsubinterpreters as sub
        except ImportError:
            import _interpreters as sub
        i = sub.create()
        try:
            failed = sub.exec(i, "import coir._core")
        except AttributeError:
            failed = None
            try:
                sub.run_string(i, "import coir._core")
            except Exception as exc:
                failed = exc
        print("ImportError" in repr(failed))
        sub.destroy(i)
        """
    )
    assert out.strip() == "True"


def test_switch_through_a_dead_one_keeps_nobody_alive():
    """A suspended greenlet held whom it had reached through a dead one."""
    main = getcurrent()
    log = []

    def wait(name):
        try:
            main.switch()
        finally:
            log.append(name)

    target = greenlet(lambda: wait("target"))
    dead = greenlet(lambda: None)
    dead.switch()
    dead.parent = target
    other = greenlet(dead.switch)  # on to the parent, which it starts
    other.switch()
    assert dead.dead and not target.dead and not other.dead
    del target
    dead.parent = main
    assert log == ["target"]
    other.throw(GreenletExit)


def test_parent_put_below_its_dying_child_makes_no_cycle():
    """Switching to the dead child looked for a living parent for ever."""
    main = getcurrent()
    kept = []
    parent = greenlet(lambda: None)

    def body():
        try:
            main.switch()
        finally:
            parent.parent = getcurrent()
            kept.append(getcurrent())

    child = greenlet(body, parent)
    child.switch()
    del child
    assert kept[0].dead
    assert kept[0].parent is main
    parent.switch()
    assert kept[0].switch(1) == 1
