"""coir.gevent's loop does not sleep while something is ready."""

import contextlib
import os
import signal
import subprocess
import sys
import threading

from coir.gevent.hub import get_hub
from coir.greenlet import getcurrent


def test_a_prepare_watcher_makes_a_greenlet_ready():
    hub = get_hub()
    late = []
    timer = hub.loop.timer(5)
    timer.start(late.append, 1)
    prepare = hub.loop.prepare()
    calls = []
    main = getcurrent()

    def call():
        calls.append(1)
        if len(calls) == 2:  # the loop would block now
            hub.loop.run_callback(main.switch)
        elif len(calls) == 1:
            hub.loop.run_callback(int)

    prepare.start(call)
    hub.switch()
    prepare.close()
    timer.close()
    assert len(calls) == 2
    assert not late


def test_a_thread_makes_something_ready_before_the_first_sleep():
    """While the pipe of signals is made other threads may run."""
    program = (
        "import sys, threading\n"
        "sys.setswitchinterval(1e-6)\n"
        "from coir.gevent.hub import get_hub\n"
        "from coir.greenlet import getcurrent\n"
        "hub = get_hub()\n"
        "timer = hub.loop.timer(30)\n"
        "timer.start(int)\n"
        "wake = getcurrent().switch\n"
        "run = hub.loop.run_callback_threadsafe\n"
        "threading.Thread(target=run, args=(wake,)).start()\n"
        "hub.switch()\n"
    )
    for _ in range(5):
        subprocess.run([sys.executable, "-c", program], check=True, timeout=20)


def test_closed_pipe_of_signals_is_replaced():
    hub = get_hub()

    def sleep():
        timer = hub.loop.timer(0.001)
        hub.wait(timer)
        timer.close()

    def ours():
        """The reading end of the pipe."""
        fd = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
        target = os.readlink(f"/proc/self/fd/{fd}")
        for name in os.listdir("/proc/self/fd"):
            try:
                same = os.readlink(f"/proc/self/fd/{name}") == target
            except FileNotFoundError:
                continue
            if same and int(name) != fd:
                return int(name)
        raise AssertionError("there is no pipe")

    sleep()
    active = hub.loop.activecnt
    os.close(ours())
    for _ in range(2000):  # until the loop looks at that descriptor
        sleep()
        with contextlib.suppress(AssertionError):
            ours()
            break
    assert ours() >= 0
    assert hub.loop.activecnt == active

    class Come(Exception):
        pass

    def come(*_args):
        raise Come

    previous = signal.signal(signal.SIGUSR1, come)
    try:
        me = threading.get_ident()
        sender = threading.Thread(
            target=signal.pthread_kill, args=(me, signal.SIGUSR1)
        )
        timer = hub.loop.timer(20)
        try:
            sender.start()
            hub.wait(timer)
        except Come:
            pass
        else:
            raise AssertionError("the signal did not end the sleep")
        finally:
            timer.close()
            sender.join()
    finally:
        signal.signal(signal.SIGUSR1, previous)
