"""Loops of asyncio in greenlets: each runs its own, none sees another's."""

import pytest
from program_helper import run

GEVENT = """
    from coir.gevent import monkey; monkey.patch_all()
    from coir.gevent import spawn, sleep
"""
EVENTLET = """
    from coir import eventlet; eventlet.monkey_patch()
    from coir.eventlet import spawn, sleep
"""
both = pytest.mark.parametrize(
    "start", [GEVENT, EVENTLET], ids=["gevent", "eventlet"]
)


@both
def test_each_greenlet_runs_a_loop_of_its_own(start):
    run(
        start
        + """
    import asyncio, threading

    turns = []

    async def main(number):
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        for _ in range(3):
            turns.append(number)
            await asyncio.sleep(0.001)
            assert asyncio.get_running_loop() is loop
            sleep(0)  # of the greenlet, in the task
            assert asyncio.get_running_loop() is loop
            assert asyncio.current_task() is task
            assert asyncio.all_tasks() == {task}
        return await asyncio.to_thread(threading.get_ident), number

    got = []

    def job(number):
        got.append(asyncio.run(main(number)))

    threads = [threading.Thread(target=job, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    greenlets = [spawn(job, n) for n in range(4, 8)]
    job(8)
    for thread in threads:
        thread.join()
    while len(got) < 9:
        sleep(0.001)
    assert sorted(number for _, number in got) == list(range(9))
    assert turns != sorted(turns)  # side by side
    """
    )


@both
def test_no_loop_runs_for_those_who_run_while_one_waits(start):
    run(
        start
        + """
    import asyncio

    seen = []

    def look():
        for _ in range(20):
            try:
                seen.append(asyncio.get_running_loop())
            except RuntimeError:
                seen.append(None)
            sleep(0)

    async def main():
        for _ in range(5):
            await asyncio.sleep(0.001)
            sleep(0.001)

    spawn(look)
    asyncio.run(main())
    assert seen == [None] * 20
    assert asyncio._get_running_loop() is None
    """
    )


@both
def test_generators_are_ended_by_the_loop_that_began_them(start):
    run(
        start
        + """
    import asyncio, sys

    ended = []

    async def numbers(name):
        try:
            for n in range(100):
                yield n
                await asyncio.sleep(0.001)
        finally:
            ended.append((name, asyncio.get_running_loop()))

    kept = []

    async def main(name, count):
        generator = numbers(name)
        kept.append(generator)
        async for n in generator:
            if n == count:
                return asyncio.get_running_loop()

    loops = {}

    def job(name, count):
        with asyncio.Runner() as runner:
            loops[name] = runner.run(main(name, count))

    for name, count in [("a", 9), ("b", 3), ("c", 6)]:
        spawn(job, name, count)
    while len(ended) < 3:
        sleep(0.001)
    assert dict(ended) == loops and len(loops) == 3
    assert tuple(sys.get_asyncgen_hooks()) == (None, None)
    """
    )


def test_greenlets_that_a_task_switches_to_share_its_loop():
    run(
        GEVENT
        + """
    import asyncio
    from coir.greenlet import getcurrent, greenlet

    # As sync code in an asynchronous program awaits.
    async def call(func):
        result = (child := greenlet(func)).switch()
        while not child.dead:
            result = child.switch(await result)
        return result

    def sync():
        loop = asyncio.get_running_loop()
        got = getcurrent().parent.switch(asyncio.sleep(0.001, 1))
        assert asyncio.get_running_loop() is loop
        sleep(0.001)
        assert asyncio.get_running_loop() is loop
        return got, loop

    async def main():
        return await call(sync) == (1, asyncio.get_running_loop())

    jobs = [spawn(asyncio.run, main()) for _ in range(3)]
    assert [job.get() for job in jobs] == [True] * 3
    """
    )


def test_a_killed_greenlet_ends_its_loop():
    run(
        GEVENT
        + """
    import asyncio

    ended = []

    async def main():
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append(asyncio.get_running_loop())

    first, second = spawn(asyncio.run, main()), spawn(asyncio.run, main())
    sleep(0.01)
    first.kill()
    assert len(ended) == 1 and first.ready() and not second.ready()
    second.kill()
    assert len(set(ended)) == 2
    assert asyncio.run(asyncio.sleep(0, 5)) == 5
    """
    )


def test_a_loop_that_runs_unknown_to_us_is_woken_by_futures():
    """As in tests of asyncio itself, which put its own functions back."""
    run(
        GEVENT
        + """
    import asyncio, concurrent.futures, time

    own = asyncio.events._set_running_loop
    asyncio.run(asyncio.sleep(0))
    asyncio.events._set_running_loop = own

    async def main():
        loop = asyncio.get_running_loop()
        with concurrent.futures.ThreadPoolExecutor() as pool:
            await loop.run_in_executor(pool, time.sleep, 0.01)
        return await asyncio.to_thread(max, 1, 2)

    assert asyncio.run(main()) == 2
    """
    )


@pytest.mark.parametrize("end", ["throw", "collect"])
def test_who_is_ended_from_within_a_loop_has_their_own(end):
    run(
        f"""
    end = {end!r}
    """
        """
    import asyncio
    from coir.gevent import get_hub, spawn
    from coir.gevent.selectors import GeventSelector
    from coir.greenlet import getcurrent, greenlet

    ended = []

    def forever(loop):
        asyncio._set_running_loop(loop)
        try:
            get_hub().switch()
        finally:
            ended.append(asyncio._get_running_loop() is loop)
            asyncio._set_running_loop(None)

    def make_loop():
        return asyncio.SelectorEventLoop(GeventSelector())

    async def main():
        loop = asyncio.get_running_loop()
        other = greenlet(forever, get_hub())
        get_hub().loop.run_callback(other.switch, make_loop())
        await asyncio.sleep(0.001)
        assert asyncio.get_running_loop() is loop
        assert not other.dead
        if end == "throw":
            other.parent = getcurrent()
            other.throw()
        del other  # the last reference
        assert ended == [True], ended
        assert asyncio.get_running_loop() is loop
        await asyncio.sleep(0.001)
        assert asyncio.get_running_loop() is loop

    loop = make_loop()
    loop.run_until_complete(main())
    loop.close()
    """
    )


def test_a_loop_goes_on_in_the_child_of_a_fork():
    run(
        GEVENT
        + """
    import asyncio, os

    async def main():
        await asyncio.sleep(0.001)
        pid = os.fork()
        if pid == 0:
            sleep(0.001)  # the parent's loop is not the child's
            status = 0 if asyncio._get_running_loop() is None else 1
            os._exit(status)
        loop = asyncio.get_running_loop()
        sleep(0.001)
        assert asyncio.get_running_loop() is loop
        return await asyncio.to_thread(os.waitpid, pid, 0), pid

    (done, status), pid = asyncio.run(main())
    assert (done, status) == (pid, 0)
    """
    )
