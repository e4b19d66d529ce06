"""The types of coir.eventlet when there is no memory: MemoryError, and all
goes on."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("_testcapi")

PROGRAM = r"""
import _testcapi, sys
from coir import eventlet
from coir.eventlet import queue, event, semaphore, debug, greenthread

debug.hub_exceptions(False)
eventlet.sleep(0)


def c_spawn():
    eventlet.spawn(max, 1, 2).wait()


def c_spawn_n():
    eventlet.spawn_n(dict, a=1)
    eventlet.sleep(0)


def c_event():
    e = event.Event()
    e.send(1)
    e.wait()
    str(e)
    e._waiters
    e.reset()
    e.send_exception(KeyError)


def c_timeout():
    eventlet.Timeout(10).cancel()
    repr(eventlet.Timeout(None))


def c_queue():
    q = queue.Queue(3)
    q.put(1)
    q.get()
    q.put(2)
    q.queue
    repr(q)
    p = queue.PriorityQueue()
    p.put(1)
    p.get()


def c_sem():
    s = semaphore.BoundedSemaphore(2)
    s.acquire()
    s.release()
    repr(s)
    s._waiters


def c_link():
    g = eventlet.spawn(max, 1, 2)
    g.link(print, 1)
    g.unlink(print, 1)
    g._exit_event
    g.wait()


pool = eventlet.GreenPool(3)


def c_named():
    g = eventlet.spawn(func=dict, a=1)
    g.link(func=print, a=1)
    g.unlink(func=print, a=1)
    g.wait()


def c_pool():
    pool.spawn(max, 1, 2).wait()


def c_hub():
    h = eventlet.hubs.get_hub()
    h.timers
    h.get_timers_count()
    h.schedule_call_global(5, print).cancel()


def c_main():
    g = greenthread.GreenThread(eventlet.hubs.get_hub().greenlet)
    g.main(max, (1, 2), {})


found = {}
for f in (
    c_spawn,
    c_spawn_n,
    c_event,
    c_timeout,
    c_queue,
    c_sem,
    c_link,
    c_named,
    c_pool,
    c_hub,
    c_main,
):
    f()
    fails = 0
    for start in range(1, 60):
        try:
            _testcapi.set_nomemory(start, start + 1)
            f()
        except MemoryError:
            fails += 1
        finally:
            _testcapi.remove_mem_hooks()
    eventlet.sleep(0)
    found[f.__name__] = fails
print(eventlet.spawn(max, 1, 2).wait(), pool.free(), sum(found.values()) > 20)
"""


TIMERS = r"""
import _testcapi
from coir import eventlet

hub = eventlet.hubs.get_hub()
called = []
fails = made = 0
for delay in (5, 0, -1):
    for start in range(1, 30):
        timer = None
        try:
            _testcapi.set_nomemory(start, start + 1)
            timer = hub.schedule_call_global(delay, called.append, 1)
        except MemoryError:
            fails += 1
        finally:
            _testcapi.remove_mem_hooks()
        assert len(hub._timers) == (timer is not None), start
        if timer is not None:
            made += delay <= 0
            if delay > 0:
                timer.cancel()
            eventlet.sleep(0)
print(fails > 5, len(called) == made > 5)
"""


def test_a_timer_for_which_there_is_no_memory_is_not_there():
    done = subprocess.run(
        [sys.executable, "-c", TIMERS],
        text=True,
        capture_output=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, "True True\n"), done.stderr


def test_every_allocation_may_fail():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        text=True,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2 3 True\n", done.stderr


BEGINNINGS = r"""
import resource
from coir import eventlet
from coir.eventlet import debug, event

debug.hub_exceptions(False)
eventlet.spawn(abs, 1).wait()
with open("/proc/self/statm") as file:
    now = int(file.read().split()[0]) * resource.getpagesize()
hard = resource.getrlimit(resource.RLIMIT_AS)[1]
resource.setrlimit(resource.RLIMIT_AS, (now + 100_000_000, hard))
go_on = event.Event()
threads = [eventlet.spawn(go_on.wait) for _ in range(3000)]
eventlet.sleep(0)
go_on.send(4)
resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
fine = failed = 0
with eventlet.Timeout(20):
    for thread in threads:
        try:
            fine += thread.wait() == 4
        except MemoryError:
            failed += 1
print(fine > 0, failed > 0, fine + failed)
"""


def test_a_green_thread_that_cannot_begin_has_failed():
    done = subprocess.run(
        [sys.executable, "-c", BEGINNINGS],
        env={**os.environ, "COIR_STACK": "dedicated"},
        text=True,
        capture_output=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (
        0,
        "True True 3000\n",
    ), done.stderr[-2000:]
