"""What the programs on eventlet share. Import it after patching."""

import contextlib
import os
import socket
import time
import unittest

import eventlet


def together(function, items, within):
    """Call it for each item in a green thread of its own, and time that.

    :returns: the values, in order.
    :raises AssertionError: if it took longer than `within` seconds.
    """
    start = time.monotonic()
    threads = [eventlet.spawn(function, item) for item in items]
    values = [thread.wait() for thread in threads]
    seconds = time.monotonic() - start
    assert seconds < within, f"took {seconds:.2f} s, not {within} s"
    return values


@contextlib.contextmanager
def others_go_on(least):
    """See that another green thread runs meanwhile, so many times."""
    count = 0

    def tick():
        nonlocal count
        while True:
            count += 1
            eventlet.sleep(0.01)

    thread = eventlet.spawn(tick)
    try:
        yield
    finally:
        thread.kill()
    assert count >= least, f"another green thread ran {count} times only"


def server(name):
    """A value that the suite has for the servers it started."""
    return os.environ[f"COIR_PROGRAMS_{name}"]


def wait_for(port, process, seconds=40):
    """Wait until a process that was started listens."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def free_port():
    """A port at which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Whose(unittest.TestCase):

    def test_whose_eventlet(self):
        ours = "eventlet" in os.environ.get("COIR_AS", "")
        self.assertEqual("/coir/eventlet/" in eventlet.__file__, ours)
