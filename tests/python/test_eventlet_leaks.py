"""Nothing of coir.eventlet leaks: not an object, whatever is done to it.

One child process does each thing a few times, counts Python's blocks of
memory, does it many times more, and counts again.
"""

import json
import subprocess
import sys

import pytest

PROGRAM = r"""
import gc, json, os, sys, threading
from coir import eventlet
from coir._core import getcurrent, greenlet
from coir.eventlet import (
    corolocal, coros, dagpool, debug, event, greenthread, hubs, lock, pools,
    queue, semaphore, timeout, tpool)

debug.hub_exceptions(False)
spawn, sleep = eventlet.spawn, eventlet.sleep
hub = hubs.get_hub()
cases = {}

def case(function):
    cases[function.__name__] = function
    return function

def fail():
    raise KeyError

@case
def spawn_and_wait():
    spawn(sleep, 0).wait()

@case
def spawn_n():
    eventlet.spawn_n(max, 1, 2)
    eventlet.spawn_n(dict, a=1)
    sleep(0)

@case
def spawn_and_forget():
    spawn(fail)
    sleep(0)

@case
def never_started():
    spawn(fail).kill()
    eventlet.spawn_after(0, fail).cancel()
    sleep(0)

@case
def raising():
    g = spawn(fail)
    try:
        g.wait()
    except KeyError:
        pass

@case
def killed():
    g = spawn(sleep, 100)
    sleep(0)
    g.kill()

@case
def links():
    g = spawn(sleep, 0)
    g.link(lambda gt, x: x, 1)
    g.link(print)
    g.unlink(print)
    g._exit_event.wait()
    g.link(lambda gt: None)

@case
def failing_link():
    g = spawn(sleep, 0)
    g.link(fail)
    g.wait()

@case
def made_by_hand():
    g = greenthread.GreenThread(hub.greenlet)
    hub.schedule_call_global(0, g.switch, max, (1, 2), {})
    g.wait()

@case
def events():
    e = eventlet.Event()
    gs = [spawn(e.wait) for _ in range(3)]
    sleep(0)
    e.send("x")
    for g in gs:
        g.wait()
    e.reset()
    e.send_exception(KeyError, KeyError(), None)
    str(e), e._waiters, e.poll(1) if not e.ready() else None
    try:
        e.wait()
    except KeyError:
        pass
    eventlet.Event().wait(0.0001)

@case
def events_with_errors():
    e = eventlet.Event()
    gs = [spawn(e.wait) for _ in range(3)]
    sleep(0)
    e.send(exc=KeyError())
    for g in gs:
        try:
            g.wait()
        except KeyError:
            pass

@case
def semaphores():
    s = eventlet.Semaphore(1)
    def body():
        with s:
            sleep(0)
    for g in [spawn(body) for _ in range(3)]:
        g.wait()
    s.acquire()
    s.acquire(timeout=0.0001)
    g = spawn(s.acquire)
    sleep(0)
    repr(s), str(s), s._waiters
    s.release()
    g.kill()
    semaphore.BoundedSemaphore(2).acquire()
    try:
        lock.Lock().release()
    except RuntimeError:
        pass
    try:
        eventlet.Semaphore("x")
    except TypeError:
        pass

@case
def queues():
    for kind in queue.Queue, queue.LifoQueue, queue.PriorityQueue:
        q = kind(1)
        g = spawn(lambda: [q.put(n) for n in range(4)])
        for _ in range(4):
            q.get()
            q.task_done()
        g.wait()
        q.join()
        q.put(1)
        repr(q), q.queue, q.getters
        try:
            q.put(1, timeout=0.0001)
        except queue.Full:
            pass

@case
def channels():
    q = queue.LightQueue(0)
    g = spawn(q.put, 1)
    q.get()
    g.wait()
    g = spawn(q.get)
    sleep(0)
    q.put_nowait(2)
    g.wait()
    g = spawn(q.get)
    sleep(0)
    g.kill()
    try:
        q.get(timeout=0.0001)
    except queue.Empty:
        pass
    hub.schedule_call_global(0, getcurrent().switch)
    hub.switch()

@case
def derived_queue():
    class Mine(queue.Queue):
        def _put(self, item):
            super()._put(item)
        def qsize(self):
            return super().qsize()
    q = Mine()
    q.put(1)
    q.get()

@case
def timeouts():
    t = eventlet.Timeout(100)
    t.cancel()
    with eventlet.Timeout(0.0001, False):
        sleep(1)
    try:
        with eventlet.Timeout(0, KeyError("x")):
            sleep(1)
    except KeyError:
        pass
    class Mine(eventlet.Timeout):
        pass
    with Mine(10) as t:
        repr(t), str(t)
    eventlet.with_timeout(0.0001, sleep, 1, timeout_value=1)

@case
def timers():
    hub.schedule_call_global(0, max, 1, 2)
    hub.schedule_call_local(0.0001, max, 1, 2)
    hub.schedule_call_global(100, max, 1).cancel()
    hub.schedule_call_global(0, fail)
    hub.timers, hub.get_timers_count(), hub.timers_canceled
    sleep(0.0002)

@case
def listeners():
    r, w = os.pipe()
    g = spawn(hubs.trampoline, r, read=True)
    sleep(0)
    os.write(w, b"x")
    g.wait()
    try:
        os.read(r, 1)
        hubs.trampoline(r, read=True, timeout=0.0001)
    except eventlet.Timeout:
        pass
    g = spawn(hubs.trampoline, r, read=True)
    sleep(0)
    hubs.notify_opened(r)
    try:
        g.wait()
    except hubs.IOClosed:
        pass
    os.close(r)
    os.close(w)

@case
def green_pools():
    p = eventlet.GreenPool(3)
    list(p.imap(int, range(10)))
    for _ in range(5):
        p.spawn(sleep, 0)
        p.spawn_n(sleep, 0)
    p.waitall()
    pile = eventlet.GreenPile(p)
    pile.spawn(max, 1, 2)
    list(pile)
    d = dagpool.DAGPool()
    d.spawn("a", (), lambda key, results: 1)
    d.spawn("b", ("a",), lambda key, results: list(results))
    d.waitall()

@case
def native_threads():
    tpool.execute(max, 1, 2)
    try:
        tpool.execute(fail)
    except KeyError:
        pass

@case
def other_threads():
    e, back = eventlet.Event(), eventlet.Event()
    t = threading.Thread(target=lambda: back.send(e.wait()))
    t.start()
    e.send(1)
    back.wait()
    t.join()

@case
def raw_greenlets():
    def body():
        greenlet(sleep).switch(0)
    spawn(body).kill()
    g = spawn(body)
    sleep(0)
    sleep(0)
    g.kill()

def counts():
    for _ in range(3):
        sleep(0)
        gc.collect()
    # All references: only a debug build of the interpreter knows them.
    references = getattr(sys, "gettotalrefcount", int)()
    return sys.getallocatedblocks(), references

def measure(function, times):
    for _ in range(20):
        function()
    best = None
    # Classes that come and go leave some blocks here and take some there.
    for _ in range(8):
        before = counts()
        for _ in range(times):
            function()
        grown = [b - a for a, b in zip(before, counts())]
        best = list(map(min, best, grown)) if best else grown
        if max(best) < times // 2:
            break
    return max(best)

times = int(sys.argv[1])
result = {name: measure(f, times) for name, f in cases.items()}
tpool.killall()

def rss():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")

def many(count):
    for _ in range(count // 1000):
        for g in [spawn(max, 1, 2) for _ in range(1000)]:
            g.wait()

many(20000)
before = rss()
many(200000)
result["RSS of 200,000 spawns"] = (rss() - before) // 4096
print(json.dumps(result))
"""


@pytest.fixture(scope="module")
def grown():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "300"],
        text=True,
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_nothing_leaks(grown):
    spawns = grown.pop("RSS of 200,000 spawns")
    assert {name: n for name, n in grown.items() if n >= 150} == {}
    assert spawns < 500  # pages
