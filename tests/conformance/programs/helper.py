"""What the programs share. Import it after patching."""

import contextlib
import os
import time

import gevent


def together(function, items, within):
    """Call it for each item in a greenlet of its own, and time that.

    :returns: the values, in order.
    :raises AssertionError: if it took longer than `within` seconds.
    """
    start = time.monotonic()
    greenlets = [gevent.spawn(function, item) for item in items]
    gevent.joinall(greenlets, raise_error=True)
    seconds = time.monotonic() - start
    assert seconds < within, f"took {seconds:.2f} s, not {within} s"
    return [greenlet.value for greenlet in greenlets]


@contextlib.contextmanager
def others_go_on(least):
    """See that another greenlet runs meanwhile, at least so many times."""
    count = 0

    def tick():
        nonlocal count
        while True:
            count += 1
            gevent.sleep(0.01)

    greenlet = gevent.spawn(tick)
    try:
        yield
    finally:
        greenlet.kill()
    assert count >= least, f"another greenlet ran {count} times only"


def server(name):
    """A value that the suite has for the servers it started."""
    return os.environ[f"COIR_PROGRAMS_{name}"]
