"""Rows of the gevent suite: green threads in Python, on any of the peers.

    python green_rows.py PEER ROW [--quick | --ops N]

measures one row in this process and prints one line of JSON, as
greenlet_rows.py does. PEER is a package with gevent's API, or ``eventlet``,
``asyncio`` or ``uvloop``. ``--ops`` does N operations, once: for profilers.

A row is a function of (api, n). It prepares, and returns what is measured: a
function that does `n` operations. The green threads of gevent and eventlet
share their rows (GREEN); those of asyncio are the same in coroutines (TASKS).

A sample is the CPU time of the thread, user and system, for one operation;
where other threads or processes take part, it is the wall clock's (WALL).
"""

import asyncio
import gc
import importlib
import json
import os
import random
import resource
import sys
import time
from itertools import repeat

#: row -> operations of a sample, samples
SIZES = {
    "spawn_many": (100_000, 3),
    "spawn_one": (50_000, 5),
    "yield_100": (200_000, 5),
    "yield_10k": (500_000, 2),
    "sleep": (100_000, 1),
    "event": (50_000, 5),
    "event_10k": (50_000, 3),
    "semaphore": (500_000, 5),
    "semaphore_100": (50_000, 5),
    "queue": (50_000, 5),
    "queue_100": (200_000, 5),
    "pool_map": (100_000, 3),
    "timeout": (100_000, 5),
    "threadpool": (5_000, 5),
    "popen": (200, 3),
}
#: at least so many, as there are so many green threads
LEAST = {"yield_10k": 100_000, "event_10k": 10_000, "semaphore_100": 1_000}
WALL = {"threadpool", "popen"}
SLEEPERS = 20_000


def nothing(*args):
    pass


def random_ms(n):
    """So many times, from 1 to 1000 ms, in seconds."""
    chance = random.Random(n)
    return [chance.randint(1, 1000) / 1000 for _ in range(n)]


# -- green threads ------------------------------------------------------------


class Gevent:
    """What the rows need of a package with gevent's API."""

    def __init__(self, package):
        m = importlib.import_module(package)

        def part(name):
            return importlib.import_module(f"{package}.{name}")

        self.spawn, self.sleep, self.joinall = m.spawn, m.sleep, m.joinall
        self.join = m.Greenlet.join
        self.Event = part("event").Event
        self.Semaphore = part("lock").Semaphore
        self.Queue = part("queue").Queue
        self.map = part("pool").Pool(100).map
        self.Timeout = m.Timeout
        self.arm = m.Timeout.start_new
        self.execute = m.get_hub().threadpool.apply
        self.Popen = part("subprocess").Popen


class Eventlet:
    """The same of eventlet, or of a package with its API."""

    def __init__(self, package):
        m = importlib.import_module(package)

        def part(name):
            return importlib.import_module(f"{package}.{name}")

        class Event(m.Event):
            set = m.Event.send
            clear = m.Event.reset

        self.spawn, self.sleep = m.spawn, m.sleep
        self.join = part("greenthread").GreenThread.wait
        self.Event = Event
        self.Semaphore, self.Queue = m.Semaphore, m.Queue
        self.Timeout = self.arm = m.Timeout
        self.execute = part("tpool").execute
        self.pool = m.GreenPool(100)
        self._part = part

    @property
    def Popen(self):
        return self._part("green.subprocess").Popen

    def joinall(self, threads):
        for thread in threads:
            thread.wait()

    def map(self, function, items):
        return list(self.pool.imap(function, items))


GREEN = {}
TASKS = {}


def green(function):
    GREEN[function.__name__] = function
    return function


@green
def spawn_many(api, n):
    def batch():
        spawn = api.spawn
        api.joinall([spawn(nothing) for _ in repeat(None, n)])

    return batch


@green
def spawn_one(api, n):
    def batch():
        spawn, join = api.spawn, api.join
        for _ in repeat(None, n):
            join(spawn(nothing))

    return batch


def yielding(api, count, n):
    def run():
        sleep = api.sleep
        for _ in repeat(None, n // count):
            sleep(0)

    def batch():
        api.joinall([api.spawn(run) for _ in range(count)])

    return batch


@green
def yield_100(api, n):
    return yielding(api, 100, n)


@green
def yield_10k(api, n):
    return yielding(api, 10_000, n)


@green
def sleep(api, n):
    seconds = random_ms(n)

    def batch():
        spawn, wait = api.spawn, api.sleep
        api.joinall([spawn(wait, s) for s in seconds])

    return batch


@green
def event(api, n):
    ping, pong = api.Event(), api.Event()

    def one():
        for _ in repeat(None, n):
            ping.set()
            pong.wait()
            pong.clear()

    def other():
        for _ in repeat(None, n):
            ping.wait()
            ping.clear()
            pong.set()

    def batch():
        api.joinall([api.spawn(other), api.spawn(one)])

    return batch


@green
def event_10k(api, n):
    count = 10_000
    events = [api.Event(), api.Event()]
    all_ran = api.Event()
    ran = 0

    def run():
        nonlocal ran
        while True:
            for one in events:
                one.wait()
                ran += 1
                if ran == count:
                    all_ran.set()

    KEPT.append([api.spawn(run) for _ in range(count)])
    api.sleep(1)  # all wait
    turn = 0

    def batch():
        nonlocal ran, turn
        for _ in repeat(None, n // count):
            ran = 0
            events[turn].set()
            all_ran.wait()
            all_ran.clear()
            events[turn].clear()
            turn = 1 - turn

    return batch


@green
def semaphore(api, n):
    free = api.Semaphore(1)

    def batch():
        take, give = free.acquire, free.release
        for _ in repeat(None, n):
            take()
            give()

    return batch


@green
def semaphore_100(api, n):
    one = api.Semaphore(1)

    def run():
        sleep = api.sleep
        for _ in repeat(None, n // 100):
            one.acquire()
            sleep(0)
            one.release()

    def batch():
        api.joinall([api.spawn(run) for _ in range(100)])

    return batch


@green
def queue(api, n):
    there, back = api.Queue(), api.Queue()

    def one():
        for i in range(n):
            there.put(i)
            back.get()

    def other():
        for _ in repeat(None, n):
            back.put(there.get())

    def batch():
        api.joinall([api.spawn(other), api.spawn(one)])

    return batch


@green
def queue_100(api, n):
    items = api.Queue(100)

    def one():
        for i in range(n):
            items.put(i)

    def other():
        for _ in repeat(None, n):
            items.get()

    def batch():
        api.joinall([api.spawn(other), api.spawn(one)])

    return batch


@green
def pool_map(api, n):
    def batch():
        api.map(nothing, range(n))

    return batch


@green
def timeout(api, n):
    def batch():
        arm = api.arm
        for _ in repeat(None, n):
            arm(10).cancel()

    return batch


@green
def threadpool(api, n):
    def batch():
        execute = api.execute
        for _ in repeat(None, n):
            execute(nothing)

    return batch


@green
def popen(api, n):
    def batch():
        for _ in repeat(None, n):
            if api.Popen(["true"]).wait():
                raise AssertionError

    return batch


def run_green(api, name, sizes):
    """Measure one row; the first of `sizes` warms up."""
    clock = time.perf_counter_ns if name in WALL else time.thread_time_ns
    samples = []
    for n in sizes:
        batch = GREEN[name](api, n)
        gc.collect()
        start = clock()
        batch()
        samples.append((clock() - start) / n)
    return samples


def sleeping_green(api, count):
    seconds = 1000
    KEPT.append([api.spawn(api.sleep, seconds) for _ in range(count)])
    api.sleep(2)  # all have started


# -- coroutines ---------------------------------------------------------------


def task(function):
    TASKS[function.__name__.removeprefix("task_")] = function
    return function


async def coroutine(*args):
    pass


@task
def task_spawn_many(n):
    async def batch():
        spawn = asyncio.create_task
        await asyncio.gather(
            *[spawn(coroutine()) for _ in repeat(None, n)])

    return batch


@task
def task_spawn_one(n):
    async def batch():
        spawn = asyncio.create_task
        for _ in repeat(None, n):
            await spawn(coroutine())

    return batch


async def gather(function, count):
    await asyncio.gather(*[function() for _ in range(count)])


def task_yielding(count, n):
    async def run():
        sleep = asyncio.sleep
        for _ in repeat(None, n // count):
            await sleep(0)

    return lambda: gather(run, count)


@task
def task_yield_100(n):
    return task_yielding(100, n)


@task
def task_yield_10k(n):
    return task_yielding(10_000, n)


@task
def task_sleep(n):
    seconds = random_ms(n)

    async def batch():
        await asyncio.gather(*[asyncio.sleep(s) for s in seconds])

    return batch


@task
def task_event(n):
    ping, pong = asyncio.Event(), asyncio.Event()

    async def one():
        for _ in repeat(None, n):
            ping.set()
            await pong.wait()
            pong.clear()

    async def other():
        for _ in repeat(None, n):
            await ping.wait()
            ping.clear()
            pong.set()

    async def batch():
        await asyncio.gather(other(), one())

    return batch


@task
def task_event_10k(n):
    count = 10_000
    events = [asyncio.Event(), asyncio.Event()]
    all_ran = asyncio.Event()
    ran = turn = 0

    async def run():
        nonlocal ran
        while True:
            for one in events:
                await one.wait()
                ran += 1
                if ran == count:
                    all_ran.set()

    KEPT.append([asyncio.create_task(run()) for _ in range(count)])

    async def batch():
        nonlocal ran, turn
        for _ in repeat(None, n // count):
            ran = 0
            events[turn].set()
            await all_ran.wait()
            all_ran.clear()
            events[turn].clear()
            turn = 1 - turn

    return batch


@task
def task_semaphore(n):
    free = asyncio.Semaphore(1)

    async def batch():
        take, give = free.acquire, free.release
        for _ in repeat(None, n):
            await take()
            give()

    return batch


@task
def task_semaphore_100(n):
    one = asyncio.Semaphore(1)

    async def run():
        sleep = asyncio.sleep
        for _ in repeat(None, n // 100):
            await one.acquire()
            await sleep(0)
            one.release()

    return lambda: gather(run, 100)


@task
def task_queue(n):
    there, back = asyncio.Queue(), asyncio.Queue()

    async def one():
        for i in range(n):
            await there.put(i)
            await back.get()

    async def other():
        for _ in repeat(None, n):
            await back.put(await there.get())

    async def batch():
        await asyncio.gather(other(), one())

    return batch


@task
def task_queue_100(n):
    items = asyncio.Queue(100)

    async def one():
        for i in range(n):
            await items.put(i)

    async def other():
        for _ in repeat(None, n):
            await items.get()

    async def batch():
        await asyncio.gather(other(), one())

    return batch


@task
def task_pool_map(n):
    """As is done: a task for each, a hundred at work."""
    at_work = asyncio.Semaphore(100)

    async def run(item):
        async with at_work:
            await coroutine(item)

    async def batch():
        await asyncio.gather(*[run(i) for i in range(n)])

    return batch


@task
def task_timeout(n):
    async def batch():
        for _ in repeat(None, n):
            async with asyncio.timeout(10):
                pass

    return batch


@task
def task_threadpool(n):
    async def batch():
        execute = asyncio.get_running_loop().run_in_executor
        for _ in repeat(None, n):
            await execute(None, nothing)

    return batch


@task
def task_popen(n):
    async def batch():
        for _ in repeat(None, n):
            process = await asyncio.create_subprocess_exec("true")
            if await process.wait():
                raise AssertionError

    return batch


async def run_tasks(name, sizes):
    clock = time.perf_counter_ns if name in WALL else time.thread_time_ns
    samples = []
    for n in sizes:
        batch = TASKS[name](n)
        await asyncio.sleep(0.01)
        gc.collect()
        start = clock()
        await batch()
        samples.append((clock() - start) / n)
    return samples


async def sleeping_tasks(count):
    KEPT.append([asyncio.create_task(asyncio.sleep(1000))
                 for _ in range(count)])
    await asyncio.sleep(0.1)


# -- all of them --------------------------------------------------------------

KEPT = []


def statm_rss():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(argv):
    peer, name = argv[:2]
    quick = argv[2:] == ["--quick"]
    if peer in ("asyncio", "uvloop"):
        runner = asyncio.Runner(
            loop_factory=importlib.import_module(peer).new_event_loop)

        def run(sizes):
            return runner.run(run_tasks(name, sizes))

        def sleeping(count):
            runner.run(sleeping_tasks(count))
    else:
        is_eventlet = peer.rpartition(".")[2] == "eventlet"
        api = (Eventlet if is_eventlet else Gevent)(peer)

        def run(sizes):
            return run_green(api, name, sizes)

        def sleeping(count):
            sleeping_green(api, count)

    if name == "rss":
        count = SLEEPERS // 10 if quick else SLEEPERS
        sleeping(count // 20)  # what is allocated once
        gc.collect()
        before = statm_rss()
        sleeping(count)
        unit, samples = "B", [(statm_rss() - before) / count]
    elif argv[2:3] == ["--ops"]:
        unit, samples = "ns", run([int(argv[3])])
    else:
        n, count = SIZES[name]
        least = LEAST.get(name, 10)
        n = max(n // 10, least) if quick else n
        unit, samples = "ns", run([max(n // 10, least)] + count * [n])[1:]
    if not all(s > 0 for s in samples):
        raise AssertionError(f"no sensible time: {samples}")
    print(json.dumps({"unit": unit, "samples": samples, "note": {}}))
    sys.stdout.flush()
    os._exit(0)  # not the end of ten thousand that wait


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main(sys.argv[1:])
