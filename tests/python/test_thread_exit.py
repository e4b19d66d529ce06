"""The end of a thread: what its suspended greenlets do, and don't."""

import subprocess
import sys
import textwrap

import pytest


def run(code):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, timeout=30, check=False)


# Known as eventlet's by its name; its loop swallows what is thrown into it.
HUB = """
    import threading, time
    from coir import greenlet

    resumed = []

    class BaseHub:
        __module__ = "eventlet.hubs.hub"

        def run(self, main):
            while True:
                try:
                    main.switch("from the hub")
                except BaseException:
                    pass
                resumed.append(1)
                time.sleep(60)

    class Hub(BaseHub):
        pass
"""


def test_scheduler_is_not_resumed_when_its_thread_ends():
    result = run(HUB + """
    kept = []

    def work():
        hub = greenlet.greenlet(Hub().run)
        kept.append(hub)
        assert hub.switch(greenlet.getcurrent()) == "from the hub"

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    print(resumed, kept[0].dead)
    """)
    assert result.stderr == ""
    assert result.stdout == "[] True\n"


def test_switch_to_a_scheduler_of_an_ending_thread_is_an_error():
    result = run(HUB + """
    kept = []
    seen = []

    def work():
        main = greenlet.getcurrent()
        hub = greenlet.greenlet(Hub().run)
        hub.switch(main)

        def wait():
            try:
                main.switch()
            finally:
                try:
                    hub.switch()
                except greenlet.error as exc:
                    seen.append(str(exc))

        waiting = greenlet.greenlet(wait, hub)
        kept.extend([hub, waiting])
        waiting.switch()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    print(resumed, seen)
    """)
    assert result.stderr == ""
    assert result.stdout == (
        "[] ['cannot switch to a scheduler whose thread ends']\n")


def test_ending_thread_starts_no_scheduler():
    """A hub that was made while a greenlet unwound waited for ever."""
    result = run(HUB + """
    kept = []
    seen = []

    def work():
        main = greenlet.getcurrent()

        def wait():
            try:
                main.switch()
            finally:
                hub = greenlet.greenlet(Hub().run)
                kept.append(hub)
                try:
                    hub.switch(main)
                except greenlet.error as exc:
                    seen.append(str(exc))

        waiting = greenlet.greenlet(wait)
        kept.append(waiting)
        waiting.switch()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    print(resumed, seen, [bool(g) for g in kept])
    """)
    assert result.stderr == ""
    assert result.stdout == (
        "[] ['cannot switch to a scheduler whose thread ends'] "
        "[False, False]\n")


def test_asyncio_loop_is_not_resumed_when_its_thread_ends():
    """As in programs that call Playwright and never stop it."""
    result = run("""
    import asyncio, threading
    from coir.greenlet import getcurrent, greenlet

    kept = []

    def work():
        main = getcurrent()

        def dispatch():
            async def serve():
                loop.call_soon(main.switch)
                await asyncio.Event().wait()

            loop = asyncio.new_event_loop()
            kept.append(loop)
            loop.run_until_complete(serve())

        kept.append(greenlet(dispatch))
        kept[0].switch()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    print(kept[0].dead)
    kept[1].call_soon = None  # not a word from its __del__
    kept[1]._closed = True
    """)
    assert result.stderr == ""
    assert result.stdout == "True\n"


def test_greenlet_in_which_an_asyncio_loop_has_ended_unwinds():
    result = run("""
    import asyncio, threading
    from coir.greenlet import getcurrent, greenlet

    log = []

    def work():
        main = getcurrent()

        def dispatch():
            asyncio.run(asyncio.sleep(0))
            try:
                main.switch()
            finally:
                asyncio.run(asyncio.sleep(0.001))
                log.append("unwound")

        log.append(greenlet(dispatch))
        log[0].switch()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    print(log[0].dead, log[1:])
    """)
    # On stderr CPython 3.13.0 complains of threading's dummy thread, which
    # asyncio makes when it runs so late.
    assert result.returncode == 0
    assert result.stdout == "True ['unwound']\n"


LOOP = """
    import gc, threading, time
    from coir.greenlet import getcurrent, greenlet

    resumed = []

    class Loop(greenlet):
        is_scheduler = {value!r}

        def run(self):
            try:
                self.parent.switch()
            except BaseException:
                resumed.append(1)

    def work():
        loop = Loop()
        {keep}
        loop.switch()

    kept = []
"""


@pytest.mark.parametrize("value, expected", [
    (True, "[]"), (False, "[1]"), (1, "[1]"), ("yes", "[1]")])
def test_class_attribute_is_scheduler_keeps_it_from_unwinding(value, expected):
    result = run(LOOP.format(value=value, keep="kept.append(loop)") + """
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    print(resumed)
    """)
    assert result.stderr == ""
    assert result.stdout == expected + "\n"


@pytest.mark.parametrize("value, expected", [(True, "[]"), (False, "[1]")])
def test_collector_does_not_resume_a_scheduler(value, expected):
    result = run(LOOP.format(value=value, keep="loop.me = loop") + """
    work()
    for _ in range(3):
        gc.collect()
    print(resumed)
    """)
    assert result.stderr == ""
    assert result.stdout == expected + "\n"


def test_last_reference_to_a_scheduler_unwinds_it_as_on_greenlet():
    result = run("""
    from coir.greenlet import getcurrent, greenlet

    main = getcurrent()
    resumed = []

    class Loop(greenlet):
        is_scheduler = True

    def wait():
        try:
            main.switch()
        finally:
            resumed.append(1)

    loop = Loop(wait)
    loop.switch()
    del loop
    print(resumed)
    """)
    assert result.stderr == ""
    assert result.stdout == "[1]\n"
