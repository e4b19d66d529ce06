"""What tests of objects that greenlets wait for share."""

from coir._core import get_hub
from coir.greenlet import getcurrent, greenlet


class Stop(Exception):
    """What greenlets of tests are ended by."""


def start(func, *args):
    """As spawn(), but the parent of what it returns can be set."""
    g = greenlet(func, get_hub())
    get_hub().loop.run_callback(g.switch, *args)
    return g


def kill(g, exc=Stop):
    """End it now, before anybody else runs; its end leads back here."""
    g.parent = getcurrent()
    try:
        g.throw(exc)
    except exc:
        pass
