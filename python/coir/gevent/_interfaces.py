"""What event loops, watchers and callbacks have in common, as interfaces.

Real ones if :mod:`zope.interface` is installed; else only for reading.
"""

# mypy: disable-error-code="no-untyped-def, misc, import-untyped"
# In interfaces, methods have no `self`.

from __future__ import annotations

from coir import _core

from .events import Attribute, Interface

__all__ = ["ILoop", "IWatcher", "ICallback"]


class ILoop(Interface):
    """An event loop.

    Methods that make a watcher take `ref`, whether the watcher keeps the loop
    running while it is started, and, most of them, `priority`, from -2 to 2,
    for the order of those that are pending at the same time.
    """

    default = Attribute("Whether it is the loop of the main thread.")
    approx_timer_resolution = Attribute(
        "By how many seconds timers are late, about, if the loop is idle."
    )

    def run(nowait=False, once=False):  # noqa: N805
        """Run what is ready, until nothing is left to wait for.

        With `once`, for one turn; with `nowait`, for one that does not block.
        """

    def now():
        """The time of day in seconds, as read at the begin of the turn."""

    def update_now():
        """Read the clock."""

    def destroy():
        """Stop the watchers, and free what the loop has of the system."""

    def io(fd, events, ref=True, priority=None):  # noqa: N805
        """A watcher of a descriptor; events: 1 to read, 2 to write, or 3."""

    def closing_fd(fd):  # noqa: N805
        """The descriptor is about to be closed: its watchers end.

        Returns whether there are any.
        """

    def timer(after, repeat=0.0, ref=True, priority=None):  # noqa: N805
        """A watcher of time: after so many seconds; then repeatedly."""

    def signal(signum, ref=True, priority=None):  # noqa: N805
        """A watcher of a signal."""

    def idle(ref=True, priority=None):  # noqa: N805
        """A watcher that is called while nothing else happens."""

    def prepare(ref=True, priority=None):  # noqa: N805
        """A watcher that is called before the loop blocks."""

    def check(ref=True, priority=None):  # noqa: N805
        """A watcher that is called after the loop has blocked."""

    def fork(ref=True, priority=None):  # noqa: N805
        """A watcher that is called in the child after a fork."""

    def async_(ref=True, priority=None):  # noqa: N805
        """A watcher whose ``send()`` any thread may call."""

    def child(pid, trace=0, ref=True):  # noqa: N805
        """A watcher of the end of a child process."""

    def stat(path, interval=0.0, ref=True, priority=None):  # noqa: N805
        """A watcher of changes of a file."""

    def run_callback(func, *args):  # noqa: N805
        """Call the function, soon, in the hub. Returns an ICallback."""

    def run_callback_threadsafe(func, *args):  # noqa: N805
        """The same, from any thread."""


class IWatcher(Interface):
    """Something that the loop watches, and calls a function for."""

    def start(callback, *args, **kwargs):  # noqa: N805
        """Begin; ``callback(*args)`` is called in the hub."""

    def stop():
        """End; it can be started again."""

    def close():
        """End for good."""


class ICallback(Interface):
    """A function that is to be called once; true as long as it will be."""

    pending = Attribute("Whether it is still to be called.")

    def stop():
        """Do not call it."""

    def close():
        """The same."""


try:
    from zope.interface import classImplements
except ImportError:
    pass
else:
    classImplements(_core.Loop, ILoop)
    classImplements(_core.watcher, IWatcher)
    classImplements(_core.callback, ICallback)
