"""coir.gevent when there is no memory: nobody waits for what was lost.

Each test lets every allocation of a scene fail, one at a time.
"""

import pytest
from program_helper import run

pytest.importorskip("_testcapi")

HEAD = """
import _testcapi
from coir import gevent
from coir.gevent.event import Event
from coir.gevent.hub import get_hub
from coir.gevent.pool import Pool
from coir.gevent.threadpool import ThreadPool

get_hub().exception_stream = None  # failures are reported; not here

def each(scene, allocations):
    '''How many of the calls raise MemoryError.'''
    scene()
    fails = 0
    for n in range(allocations):
        try:
            _testcapi.set_nomemory(n, n + 1)
            scene()
        except MemoryError:
            fails += 1
        finally:
            _testcapi.remove_mem_hooks()
    return fails
"""


def test_a_greenlet_that_cannot_begin_has_failed():
    program = """
kept = []  # so that no greenlet's memory is used again
for n in range(40):
    go_on = Event()
    greenlets = [gevent.spawn(go_on.wait) for _ in range(3)]
    kept.append(greenlets)
    try:
        _testcapi.set_nomemory(n, n + 1)
        gevent.sleep(0)
    except MemoryError:
        pass
    finally:
        _testcapi.remove_mem_hooks()
    go_on.set()
    assert len(gevent.joinall(greenlets, timeout=20)) == 3, n
    for g in greenlets:
        assert g.dead and (g.value or isinstance(g.exception, MemoryError)), n
print(any(g.exception for greenlets in kept for g in greenlets))
"""
    assert run(HEAD + program) == "True\n"


def test_a_link_is_called_once_if_the_list_cannot_shrink():
    program = """
calls = []

def scene():
    calls.append([])
    g = gevent.spawn(abs, 1)
    for _ in range(4):
        # Not Python: that would fail itself.
        g.rawlink(calls[-1].append)
    g.join()
    gevent.sleep(0)

fails = each(scene, 60)
gevent.sleep(0)
print(fails > 0, max(len(called) for called in calls))
"""
    assert run(HEAD + program) == "True 4\n"


def test_wait_raises_what_kept_it_from_noting_who_is_ready():
    program = """
def scene():
    events = [Event() for _ in range(3)]
    for event in events:
        gevent.spawn(event.set)
    ready = gevent.wait(events, timeout=20)
    assert len(ready) == 3 or not all(e.is_set() for e in events)

print(each(scene, 60) > 0)
"""
    assert run(HEAD + program) == "True\n"


TASK = """
def task(pool):
    try:
        assert pool.spawn(abs, -1).get(timeout=20) == 1
    except RuntimeError as e:  # of the interpreter
        assert str(e) == "can't start new thread", e
"""


def test_a_thread_pool_loses_no_task():
    program = """
pool = ThreadPool(2)
fails = each(lambda: task(pool), 60)
print(fails > 0, len(pool), pool.map(abs, range(-3, 0)))
pool.kill()
print(len(pool), pool.size)
"""
    assert run(HEAD + TASK + program) == "True 0 [3, 2, 1]\n0 0\n"


def test_a_thread_of_a_pool_begins_as_soon_as_there_is_memory():
    program = """
def scene():
    pool = ThreadPool(2)
    try:
        task(pool)
    finally:
        _testcapi.remove_mem_hooks()
        pool.kill()

print(each(scene, 160) > 0)
"""
    assert run(HEAD + TASK + program) == "True\n"


def test_an_imap_ends_if_a_task_could_not_be_linked():
    program = """
pool = Pool(2)

def scene():
    try:
        for value in pool.imap_unordered(abs, [-1, -2, -3], maxsize=1):
            assert value in (1, 2, 3)
    except SystemError:
        pass  # of the interpreter, instead of StopIteration

print(each(scene, 80) > 0, sorted(pool.imap_unordered(abs, [-1, -2])))
"""
    assert run(HEAD + program) == "True [1, 2]\n"


def test_a_greenlet_may_be_gone_when_its_hub_is_unwound():
    program = """
import threading

def thread():
    gevent.spawn(gevent.sleep, 60)
    gevent.sleep(0)

for _ in range(10):
    threads = [threading.Thread(target=thread) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
print(gevent.spawn(abs, -1).get())
"""
    assert run(HEAD + program) == "1\n"
