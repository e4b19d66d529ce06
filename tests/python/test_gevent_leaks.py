"""Nothing of coir.gevent leaks, nor of coir: not an object, whatever is done.

One child process does each thing a few times, counts Python's blocks of
memory, does it many times more, and counts again.
"""

import json
import subprocess
import sys

import pytest

PRELUDE = """
import gc, json, os, sys, threading, time
PACKAGE = sys.argv[1]

def part(name):
    return __import__(f"{PACKAGE}.{name}", None, None, ["*"])

gevent = __import__(PACKAGE, None, None, ["*"])
event, lock, queue, pool = map(part, ["event", "lock", "queue", "pool"])
local, select, socket = map(part, ["local", "select", "socket"])
subprocess, thread = part("subprocess"), part("thread")
spawn, sleep, Timeout = gevent.spawn, gevent.sleep, gevent.Timeout
hub = gevent.get_hub()

def rss():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")
"""

CASES = """
class Failed(Exception):
    pass

def fail():
    raise Failed

hub.NOT_ERROR += (Failed,)
cases = {}

def case(function):
    cases[function.__name__] = function
    return function

@case
def never_started():
    spawn(fail).kill()

@case
def spawn_and_join():
    spawn(sleep, 0).join()

@case
def raising():
    g = spawn(fail)
    g.join()
    assert isinstance(g.exception, Failed)

@case
def raising_get():
    try:
        spawn(fail).get()
    except Failed:
        pass

@case
def killed():
    g = spawn(sleep, 100)
    sleep(0)
    g.kill()

@case
def killed_all():
    gs = [spawn(sleep, 100) for _ in range(5)]
    sleep(0)
    gevent.killall(gs)

@case
def spawn_later():
    gevent.spawn_later(0, len, ()).join()
    gevent.spawn_later(100, len, ()).kill()

@case
def spawn_raw():
    gevent.spawn_raw(len, ())
    sleep(0)

@case
def links():
    seen = []
    g = spawn(len, "four")
    g.link(seen.append)
    g.link_value(seen.append)
    g.link_exception(seen.append)
    g.rawlink(seen.append)
    g.join()
    sleep(0)
    assert len(seen) == 3, seen

class Mine(gevent.Greenlet):
    def _run(self):
        self.me = self

@case
def subclass_in_a_cycle():
    g = Mine()
    g.start()
    g.join()

@case
def joinall_with_timeout():
    gs = [spawn(sleep, 100), spawn(sleep, 0)]
    gevent.joinall(gs, timeout=0.001)
    gevent.killall(gs)

@case
def iwait():
    for g in gevent.iwait([spawn(sleep, 0), spawn(sleep, 0)]):
        assert g.dead

@case
def wait_with_count():
    gs = [spawn(sleep, 0), spawn(sleep, 100)]
    gevent.wait(gs, count=1)
    gevent.killall(gs)

@case
def greenlet_attributes():
    g = spawn(sleep, 0)
    g.attribute = [g]
    g.join()

@case
def greenlet_local():
    data = local.local()
    def run():
        data.value = [0]
        sleep(0)
    gevent.joinall([spawn(run), spawn(run)])

@case
def timeout_cancelled():
    with Timeout(100):
        pass

@case
def timeout_fires():
    try:
        with Timeout(0.0001):
            sleep(100)
    except Timeout:
        pass

@case
def timeout_with_exception():
    try:
        with Timeout(0.0001, Failed):
            sleep(100)
    except Failed:
        pass

@case
def timeout_silent():
    with Timeout(0.0001, False):
        sleep(100)

@case
def timeout_dropped():
    Timeout.start_new(100).cancel()
    Timeout(100)

@case
def with_timeout():
    assert gevent.with_timeout(0.0001, sleep, 100, timeout_value=1) == 1

@case
def event_set():
    e = event.Event()
    gs = [spawn(e.wait) for _ in range(3)]
    sleep(0)
    e.set()
    gevent.joinall(gs)

@case
def event_wait_times_out():
    event.Event().wait(0.0001)

@case
def event_killed():
    e = event.Event()
    g = spawn(e.wait)
    sleep(0)
    g.kill()

@case
def event_links():
    e = event.Event()
    e.rawlink(lambda e: None)
    e.set()
    sleep(0)

@case
def async_result():
    r = event.AsyncResult()
    g = spawn(r.get)
    sleep(0)
    r.set(1)
    assert g.get() == 1

@case
def async_result_exception():
    r = event.AsyncResult()
    g = spawn(r.get)
    sleep(0)
    r.set_exception(Failed())
    g.join()

@case
def async_result_times_out():
    try:
        event.AsyncResult().get(timeout=0.0001)
    except Timeout:
        pass

@case
def semaphore():
    s = lock.Semaphore(1)
    def run():
        with s:
            sleep(0)
    gevent.joinall([spawn(run) for _ in range(3)])

@case
def semaphore_killed():
    s = lock.BoundedSemaphore(1)
    s.acquire()
    g = spawn(s.acquire)
    sleep(0)
    s.release()
    g.kill()

@case
def semaphore_times_out():
    assert not lock.Semaphore(0).acquire(timeout=0.0001)

@case
def rlock():
    s = lock.RLock()
    with s, s:
        g = spawn(s.acquire)
        sleep(0)
        g.kill()

@case
def native_lock():
    s = thread.allocate_lock()
    with s:
        g = spawn(s.acquire)
        sleep(0)
        g.kill()

def use_queue(q, item=1):
    g = spawn(q.get)
    sleep(0)
    q.put(item)
    g.join()
    g = spawn(q.get)
    sleep(0)
    g.kill()
    try:
        q.get(timeout=0.0001)
    except queue.Empty:
        pass

@case
def plain_queue():
    use_queue(queue.Queue())

@case
def simple_queue():
    use_queue(queue.SimpleQueue())

@case
def priority_queue():
    use_queue(queue.PriorityQueue())

@case
def lifo_queue():
    use_queue(queue.LifoQueue())

@case
def joinable_queue():
    q = queue.JoinableQueue()
    g = spawn(q.join)
    use_queue(q)
    q.task_done()
    g.join()

@case
def channel():
    use_queue(queue.Channel())

@case
def full_queue():
    q = queue.Queue(1)
    q.put(1)
    g = spawn(q.put, 2)
    sleep(0)
    g.kill()
    try:
        q.put(3, timeout=0.0001)
    except queue.Full:
        pass

@case
def queue_dropped_with_items():
    q = queue.Queue()
    q.put(q)

@case
def pool_map():
    p = pool.Pool(2)
    assert p.map(abs, range(5)) == [0, 1, 2, 3, 4]
    assert sum(p.imap_unordered(abs, range(3))) == 3

@case
def group():
    g = pool.Group()
    g.spawn(sleep, 100)
    sleep(0)
    g.kill()

@case
def threadpool():
    assert hub.threadpool.apply(abs, (-1,)) == 1

@case
def threadpool_raising():
    try:
        hub.threadpool.apply(fail)
    except Failed:
        pass

@case
def threadpool_dropped():
    hub.threadpool.spawn(abs, -1)
    sleep(0.001)

@case
def callbacks():
    hub.loop.run_callback(len, ())
    hub.loop.run_callback(len, ()).stop()
    sleep(0)

@case
def watchers():
    done = []
    timer = hub.loop.timer(0.0001)
    timer.start(done.append, 1)
    while not done:
        sleep(0.0001)
    timer.stop()
    timer.close()
    for watcher in (hub.loop.timer(100), hub.loop.io(0, 1),
                    hub.loop.async_(), hub.loop.prepare()):
        watcher.start(len, ())
        watcher.stop()
        watcher.close()

@case
def async_watcher():
    watcher = hub.loop.async_()
    g = spawn(hub.wait, watcher)
    sleep(0)
    watcher.send()
    g.join()
    watcher.close()

@case
def socketpair():
    a, b = socket.socketpair()
    g = spawn(b.recv, 10)
    sleep(0)
    a.sendall(b"x")
    assert g.get() == b"x"
    a.close()
    b.close()

@case
def socket_times_out():
    a, b = socket.socketpair()
    a.settimeout(0.0001)
    try:
        a.recv(1)
    except TimeoutError:
        pass
    a.close()
    b.close()

@case
def socket_killed():
    a, b = socket.socketpair()
    g = spawn(a.recv, 1)
    sleep(0)
    g.kill()
    a.close()
    b.close()

@case
def socket_closed_while_read():
    a, b = socket.socketpair()
    g = spawn(a.recv, 1)
    sleep(0)
    hub.NOT_ERROR, was = (Exception,), hub.NOT_ERROR
    a.close()
    g.join()
    hub.NOT_ERROR = was
    b.close()

@case
def socket_dropped():
    a, b = socket.socketpair()
    a.__class__(fileno=a.detach()).close()
    b.close()
    del a, b

@case
def tcp():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        g = spawn(listener.accept)
        with socket.create_connection(listener.getsockname()) as a:
            b, _ = g.get()
            with b, b.makefile("rb") as lines:
                a.sendall(b"line\\n")
                assert lines.readline() == b"line\\n"

@case
def selects():
    a, b = socket.socketpair()
    assert select.select([a], [b], [], 0.0001)[1] == [b]
    poll = select.poll()
    poll.register(a, select.POLLOUT)
    assert poll.poll(1)
    a.close()
    b.close()

@case
def resolver():
    socket.getaddrinfo("127.0.0.1", 80)

@case
def contexts():
    contextvars = __import__("contextvars")
    var = contextvars.ContextVar("var")
    spawn(var.set, []).join()

@case
def finished_in_a_cycle():
    e = event.Event()
    g = spawn(e.wait)
    g.event, g.other = e, g
    e.rawlink(lambda e: g)
    e.set()
    g.join()

@case
def hub_of_a_thread():
    def run():
        gevent.spawn(gevent.sleep, 0).join()
        gevent.get_hub().destroy()
    t = threading.Thread(target=run)
    t.start()
    t.join()

# --- the native API

import asyncio
import coir

def quietly(function, *args):
    try:
        function(*args)
    except (Failed, ExceptionGroup, TimeoutError, coir.Cancelled):
        pass

@case
def native_spawn():
    coir.spawn(sleep, 0).join()
    quietly(coir.spawn(fail).result)
    thread = coir.spawn(sleep, 100)
    thread.cancel()
    quietly(thread.result)

@case
def native_nursery():
    def run():
        with coir.deadline(100), coir.Nursery() as nursery:
            nursery.spawn(sleep, 0)
            nursery.spawn(sleep, 100)
            nursery.spawn(fail)
            sleep(100)
    quietly(run)

@case
def native_deadline():
    def run():
        with coir.deadline(0.0001), coir.Nursery() as nursery:
            nursery.spawn(sleep, 100)
    quietly(run)

@case
def native_shield():
    coir.shield(sleep, 0)
    thread = coir.spawn(coir.shield, sleep, 0.0001)
    sleep(0)
    thread.cancel()
    quietly(thread.result)

@case
def native_asyncio():
    async def main():
        return await coir.spawn(max, 1, await asyncio.sleep(0, 2))
    threads = [coir.spawn(coir.run_async, main()) for _ in range(2)]
    assert [thread.result() for thread in threads] == [2, 2]

@case
def asyncio_cancelled():
    thread = coir.spawn(coir.run_async, asyncio.sleep(100))
    sleep(0.0005)
    thread.cancel()
    quietly(thread.result)

@case
def popen():
    assert subprocess.Popen(["true"]).wait() == 0

SLOW = {"popen": 5}

def blocks_after(function, count):
    for _ in range(count):
        function()
    sleep(0.002)
    gc.collect()
    gc.collect()
    return sys.getallocatedblocks()

def descriptors():
    return len(os.listdir("/proc/self/fd"))

def counts_after(function, count):
    # All references: only a debug build of the interpreter knows them.
    refs = getattr(sys, "gettotalrefcount", int)
    return blocks_after(function, count), descriptors(), refs()

growth = {}
for name, function in cases.items():
    if sys.argv[2:] and name not in sys.argv[2:]:
        continue
    print(name, end=" ", file=sys.stderr, flush=True)
    count = SLOW.get(name, 50)
    least = [1000, 1000, 1000]
    before = counts_after(function, count)
    # Free lists and caches fill at first; a leak is there every time.
    for _ in range(12):
        after = counts_after(function, count)
        grown = [(b - a) / count for a, b in zip(before, after)]
        least = [min(pair) for pair in zip(least, grown)]
        before = after
        if max(least[0], least[2]) < 0.1 and least[1] <= 0:
            break
    growth[name] = least
print(json.dumps(growth))
"""


def child(program, *args, timeout=120):
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + program, "coir.gevent", *args],
        capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def growth():
    return child(CASES)


NAMES = [line.split()[1].removesuffix("():")
         for before, line in zip(CASES.split("\n"), CASES.split("\n")[1:])
         if before == "@case"]


@pytest.mark.parametrize("name", NAMES)
def test_blocks_descriptors_and_references(growth, name):
    blocks, descriptors, references = growth[name]
    assert blocks < 0.5
    assert references < 0.5
    assert descriptors <= 0


def test_twenty_thousand_sleepers():
    seen = child("""
def sleepers(n):
    before = rss()
    gs = [spawn(sleep, 1000) for _ in range(n)]
    sleep(0.01)
    each = (rss() - before) / n
    gevent.killall(gs)
    assert all(g.dead for g in gs)
    return each

sleepers(1000)
gc.collect()
before = rss()
each = sleepers(20_000)
gc.collect()
again = sleepers(20_000)
gc.collect()
first = rss()
sleepers(20_000)
gc.collect()
sleep(0.001)  # the hub runs, and leaves where it was
print(json.dumps({"each": each, "again": again, "grown": rss() - first,
                  "left": len([o for o in gc.get_objects()
                               if isinstance(o, gevent.Greenlet)])}))
""")
    assert seen["left"] == 0
    assert seen["each"] < 8192
    assert seen["grown"] < 4 << 20


def test_one_of_many_waits_is_not_searched_for():
    """To leave a queue of waiters costs the same however long it is."""
    seen = child("""
def killing(n):
    e = event.Event()
    gs = [spawn(e.wait) for _ in range(n)]
    sleep(0)
    start = time.thread_time()
    for g in reversed(gs):
        g.kill(block=False)
    gevent.joinall(gs)
    return (time.thread_time() - start) / n

killing(100)
print(json.dumps({"few": killing(1000), "many": killing(20_000)}))
""")
    assert seen["many"] < 10 * seen["few"]
