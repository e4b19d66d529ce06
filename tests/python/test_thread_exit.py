"""The end of a thread: what its suspended greenlets do, and don't."""

import subprocess
import sys
import textwrap


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
