"""coir.eventlet with an asyncio loop in the same thread."""

import os
import subprocess
import sys
import textwrap

from asyncio_helper import MAIN, MAIN_PRINTS


def run(code):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        text=True,
        capture_output=True,
        timeout=60,
        env={**os.environ, "EVENTLET_HUB": "asyncio"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_coroutines_and_green_threads_wait_for_each_other():
    out = run(
        """
        import asyncio, time
        from coir import eventlet
        from coir.eventlet.asyncio import spawn_for_awaitable

        def green(n):
            eventlet.sleep(0.05)
            return n

        async def coroutine(n):
            await asyncio.sleep(0.05)
            return await eventlet.spawn(green, n) + 1

        async def fails():
            return await eventlet.spawn(lambda: 1 / 0)

        start = time.monotonic()
        threads = [spawn_for_awaitable(coroutine(n)) for n in range(50)]
        assert [t.wait() for t in threads] == list(range(1, 51))
        assert time.monotonic() - start < 2
        eventlet.debug.hub_exceptions(False)
        try:
            spawn_for_awaitable(fails()).wait()
        except ZeroDivisionError:
            print("raised")
        """.replace("from coir import eventlet",
                    "from coir import eventlet\n"
                    "        import coir.eventlet.debug")
    )
    assert out == "raised\n"


def test_killing_and_cancelling():
    out = run(
        """
        import asyncio
        from coir import eventlet
        from coir._core import GreenletExit
        from coir.eventlet.asyncio import spawn_for_awaitable

        async def forever():
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                print("cancelled")
                raise

        thread = spawn_for_awaitable(forever())
        eventlet.sleep(0.01)
        thread.kill()
        eventlet.sleep(0.01)

        green = eventlet.spawn(eventlet.sleep, 100)

        async def awaits():
            await green

        loop = asyncio.get_running_loop()
        task = loop.create_task(awaits())
        eventlet.sleep(0.01)
        task.cancel()
        eventlet.sleep(0.01)
        try:
            green.wait()
        except GreenletExit:
            print("killed")
        """
    )
    assert out == "cancelled\nkilled\n"


def test_streams_and_names():
    out = run(
        """
        import asyncio
        from coir import eventlet
        from coir.eventlet import hubs
        from coir.eventlet.asyncio import spawn_for_awaitable

        async def serve(reader, writer):
            writer.write((await reader.readline()).upper())
            await writer.drain()
            writer.close()

        async def talk():
            server = await asyncio.start_server(serve, "localhost", 0)
            host, port = server.sockets[0].getsockname()[:2]
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"hello\\n")
            answer = await reader.readline()
            writer.close()
            server.close()
            return answer

        ticks = []
        def tick():
            while True:
                ticks.append(1)
                eventlet.sleep(0.001)
        ticker = eventlet.spawn(tick)
        for _ in range(5):
            print(spawn_for_awaitable(talk()).wait())
        assert ticks
        """
    )
    assert out == "b'HELLO\\n'\n" * 5


def test_threads_call_into_it():
    out = run(
        """
        import asyncio
        from coir import eventlet
        from coir.eventlet.asyncio import spawn_for_awaitable

        async def work():
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(None, lambda: 42)

        print(spawn_for_awaitable(work()).wait())
        """
    )
    assert out == "42\n"


def test_an_idle_loop_costs_nothing():
    out = run(
        """
        import asyncio, time
        from coir import eventlet
        from coir.eventlet.asyncio import spawn_for_awaitable
        spawn_for_awaitable(asyncio.sleep(0)).wait()
        before = time.process_time()
        eventlet.sleep(0.3)
        print(time.process_time() - before < 0.1)
        """
    )
    assert out == "True\n"


def test_it_goes_on_in_the_child_of_a_fork():
    out = run(
        """
        import asyncio, os, warnings
        warnings.simplefilter("ignore")
        from coir import eventlet
        from coir.eventlet.asyncio import spawn_for_awaitable

        async def one():
            await asyncio.sleep(0.01)
            return 1

        assert spawn_for_awaitable(one()).wait() == 1
        pid = os.fork()
        if pid == 0:
            print("child", spawn_for_awaitable(one()).wait(), flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
        print("parent", spawn_for_awaitable(one()).wait())
        """
    )
    assert out == "child 1\nparent 1\n"


def test_other_hubs_are_refused():
    done = subprocess.run(
        [sys.executable, "-c",
         "from coir.eventlet.asyncio import spawn_for_awaitable\n"
         "async def f(): pass\n"
         "c = f()\n"
         "try: spawn_for_awaitable(c)\n"
         "except RuntimeError as exc: print('EVENTLET_HUB' in str(exc))\n"
         "c.close()"],
        text=True, capture_output=True, timeout=60)
    assert done.stdout == "True\n", done.stderr


def test_pools_of_native_threads_end_with_the_program():
    """Though `threading` is patched, and asyncio's is not."""
    out = run(
        """
        from coir import eventlet
        eventlet.monkey_patch()
        import asyncio, time
        from coir.eventlet.asyncio import spawn_for_awaitable

        async def work():
            return await asyncio.gather(
                *(asyncio.to_thread(lambda: 1) for _ in range(3)))

        print(spawn_for_awaitable(work()).wait())
        """
    )
    assert out == "[1, 1, 1]\n"


def test_executors_wake_the_loop_when_patched():
    """Loops on the default hub, where what works for them is green."""
    out = run(
        """
import os
del os.environ["EVENTLET_HUB"]
from coir import eventlet
eventlet.monkey_patch()
import asyncio, time
"""
        + MAIN
        + "asyncio.run(main())\n"
    )
    assert out == MAIN_PRINTS
