"""What eventlet's programs call the hub: a view of this thread's scheduler.

There is one scheduler for a thread, whichever API its code uses, and one
greenlet that runs it: ``get_hub().greenlet`` is ``coir.gevent.get_hub()``.
The object here gives it the methods of eventlet's hubs: timers, listeners for
descriptors, and what is done about errors.

Callbacks of timers and listeners are called in the hub's greenlet, in the
order in which they are due; they must not block. Of one hub all methods
belong to its thread.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from operator import itemgetter
from time import monotonic
from typing import Any

from coir._core import (
    GreenletExit,
    ev_alarm,
    ev_count_canceled,
    ev_forget_canceled,
    ev_note_canceled,
    ev_pending,
    ev_stamp,
    getcurrent,
)
from coir._core import get_hub as _get_engine
from coir.gevent import greenlet as _gevent_greenlet
from coir.gevent import hub as _gevent_hub

from . import timer as _timer

_when = itemgetter(0)

__all__ = [
    "BaseHub",
    "DebugListener",
    "FdListener",
    "READ",
    "WRITE",
    "alarm_handler",
    "arm_alarm",
    "closed_callback",
    "noop",
]

READ = "read"
WRITE = "write"

#: Whether a second green thread that waits for the same is an error.
g_prevent_multiple_readers = True


def arm_alarm(seconds: float) -> None:
    """Have SIGALRM sent to this process once, in so many seconds."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


alarm_itimer = arm_alarm


def alarm_handler(signum: int, frame: Any) -> None:
    """Tell whom `debug.hub_blocking_detection` has caught."""
    import inspect

    where = inspect.getframeinfo(frame)
    raise RuntimeError(f"Blocking detector ALARMED at{where}")


def closed_callback(fileno: int) -> None:
    """Stand for the callback of a listener that is of no use any more."""


class FdListener:
    """What waits for a descriptor.

    :param cb: called with the descriptor, in the hub, when it is ready.
    :param tb: called with an exception if the descriptor is gone.
    :param mark_as_closed: called without arguments in that case; or None.
    """

    def __init__(
        self,
        evtype: str,
        fileno: int,
        cb: Callable[[int], Any],
        tb: Callable[[BaseException], Any],
        mark_as_closed: Callable[[], Any] | None,
    ) -> None:
        if evtype not in (READ, WRITE):
            raise AssertionError(f"not a type of event: {evtype!r}")
        self.evtype = evtype
        self.fileno = fileno
        self.cb = cb
        self.tb = tb
        self.mark_as_closed = mark_as_closed
        self.spent = False
        self.greenlet = getcurrent()

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.evtype!r}, {self.fileno!r}, "
            f"{self.cb!r}, {self.tb!r})"
        )

    __str__ = __repr__

    def defang(self) -> None:
        """Have it call nothing from now on; its owner is told."""
        self.cb = closed_callback
        self.spent = True
        if self.mark_as_closed is not None:
            self.mark_as_closed()


class DebugListener(FdListener):
    """The same, with the stack of who made it."""

    def __init__(
        self,
        evtype: str,
        fileno: int,
        cb: Callable[[int], Any],
        tb: Callable[[BaseException], Any],
        mark_as_closed: Callable[[], Any] | None,
    ) -> None:
        self.where_called = traceback.format_stack()
        super().__init__(evtype, fileno, cb, tb, mark_as_closed)

    def __repr__(self) -> str:
        return (
            f"DebugListener({self.evtype!r}, {self.fileno!r}, {self.cb!r}, "
            f"{self.tb!r}, {self.mark_as_closed!r}, {self.greenlet!r})\n"
            f"{''.join(self.where_called)}EndDebugFdListener"
        )

    __str__ = __repr__


def _nothing(*args: Any) -> None:
    pass


noop = FdListener(READ, 0, _nothing, _nothing, None)

_EVENTS = {READ: 1, WRITE: 2}


class BaseHub:
    """The hub of the thread it is made in.

    :param clock: what `schedule_call_global` and `sleep_until` read; timers
        themselves are kept by the engine's monotonic clock.
    """

    SYSTEM_EXCEPTIONS = (KeyboardInterrupt, SystemExit)

    READ = READ
    WRITE = WRITE

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self.listeners: dict[str, dict[int, FdListener]] = {
            READ: {},
            WRITE: {},
        }
        self.secondaries: dict[str, dict[int, list[FdListener]]] = {
            READ: {},
            WRITE: {},
        }
        self.closed: list[FdListener] = []
        self.clock = monotonic if clock is None else clock
        self.lclass: type[FdListener] = FdListener
        self.stopping = False
        self.debug_exceptions = True
        self.debug_blocking_resolution: float = 1
        self._watchers: dict[tuple[str, int], Any] = {}
        self._timers: dict[_timer.Timer, float] = {}
        self._blocking: Any = None
        self._old_signal_handler: Any = None
        self._engine = _get_engine()
        _gevent_hub._all_survive_forks = True
        self._use(self._engine)

    def _use(self, engine: Any) -> None:
        engine._eventlet = self
        engine._uses_eventlet = True
        self._engine = engine

    # --- the greenlet

    @property
    def greenlet(self) -> Any:
        """The greenlet that runs the loop of this thread."""
        engine = self._engine
        if engine.loop is None or engine.dead:
            self.ensure_greenlet()
        return self._engine

    @property
    def running(self) -> bool:
        """Whether the loop was started, and not aborted."""
        engine = self._engine
        return bool(engine) and not engine._aborted

    def ensure_greenlet(self) -> None:
        """See to it that there is a greenlet to switch to."""
        engine = self._engine
        if engine.loop is not None and not engine.dead:
            return
        fresh = _get_engine()
        if fresh is engine:
            fresh = _replace(engine)
        self._use(fresh)

    def switch(self) -> Any:
        """Let others run until somebody switches back to the caller.

        :returns: what that brings.
        """
        current: Any = getcurrent()
        engine = self.greenlet
        if current is engine:
            raise AssertionError("Cannot switch to MAINLOOP from MAINLOOP")
        adopt(current, engine)
        return engine.switch()

    def run(self, *args: Any, **kwargs: Any) -> None:
        """Run the loop until it is aborted; from the hub's parent only."""
        if self.running:
            raise RuntimeError("Already running!")
        self.greenlet.switch()

    def abort(self, wait: bool = False) -> None:
        """Stop the loop, and forget its timers, at the end of this turn.

        :param wait: switch to the hub at once; only of use for the main
            greenlet of the thread, to which the hub returns.
        """
        if self.running:
            self.stopping = True
            self._engine.loop.run_callback(self._engine.loop.break_)
        if wait:
            if self.greenlet is getcurrent():
                raise AssertionError(
                    "Can't abort with wait from inside the hub's greenlet."
                )
            self.schedule_call_global(0, _nothing)
            self.switch()

    def _stop(self) -> None:
        """Forget what was to happen; called where the loop has ended."""
        for timer in list(self._timers):
            timer.cancel()
        ev_forget_canceled()
        self.stopping = False

    # --- timers

    @property
    def timers(self) -> list[tuple[float, Any]]:
        """What is to happen, as (time, timer), the next one first.

        Timers that were made for it, and others that stand for green threads
        that sleep, wait for a limited time, or are about to go on.
        """
        found: list[tuple[float, Any]] = [
            (when, timer) for timer, when in self._timers.items()
        ]
        now = self.clock()
        for seconds, green, timeout in ev_pending():
            if timeout is None:
                timer = _timer.Timer(seconds, green.switch)
            else:
                timer = _timer.Timer(seconds, green.throw, timeout)
            found.append((now + seconds, timer))
        found.sort(key=_when)
        return found

    @property
    def next_timers(self) -> list[tuple[float, Any]]:
        """Nothing: timers are in their place from the start."""
        return []

    @property
    def timers_canceled(self) -> int:
        """How many were cancelled, and would be in eventlet's heap still."""
        return ev_count_canceled()

    def get_timers_count(self) -> int:
        """How many are in `timers`, or would be had they not been cancelled
        lately."""
        return len(self._timers) + len(ev_pending()) + ev_count_canceled()

    def add_timer(self, timer: Any) -> float:
        """Have `timer` called in ``timer.seconds``; returns the time."""
        when: float = self.clock() + timer.seconds
        timer._stamp = ev_stamp()
        self.ensure_greenlet()
        timer._handle = ev_alarm(timer.seconds, self._fire, timer)
        self._timers[timer] = when
        return when

    def timer_canceled(self, timer: Any) -> None:
        """Take it out; called by its `cancel()`."""
        when = self._timers.pop(timer, None)
        handle = timer._handle
        timer._handle = None
        if handle is not None:
            handle.stop()
        if when is not None:
            ev_note_canceled(when - self.clock(), timer._stamp)

    def prepare_timers(self) -> None:
        """Nothing is to be done: kept for callers."""

    def fire_timers(self, when: float) -> None:
        """Call what is due at `when`, now."""
        for due, timer in self.timers:
            if due > when:
                return
            handle = timer._handle
            if handle is not None:
                handle.stop()
            self._fire(timer)

    def _fire(self, timer: Any) -> None:
        if self._timers.pop(timer, None) is None:
            return
        timer._handle = None
        try:
            timer()
        except self.SYSTEM_EXCEPTIONS:
            self._engine.handle_system_error(*sys.exc_info())
        except BaseException:
            self.squelch_timer_exception(timer, sys.exc_info())

    def schedule_call_local(
        self, seconds: float, cb: Callable[..., Any], *args: Any, **kw: Any
    ) -> Any:
        """Call ``cb(*args, **kw)`` in the hub, in so many seconds.

        Not if the calling greenlet has ended by then. Returns the timer.
        """
        timer = _timer.LocalTimer(seconds, cb, *args, **kw)
        self.add_timer(timer)
        return timer

    def schedule_call_global(
        self, seconds: float, cb: Callable[..., Any], *args: Any, **kw: Any
    ) -> Any:
        """Call ``cb(*args, **kw)`` in the hub, in so many seconds.

        Returns the timer.
        """
        timer = _timer.Timer(seconds, cb, *args, **kw)
        self.add_timer(timer)
        return timer

    def sleep_until(self) -> float | None:
        """When the next timer is due, by `clock`; None without any."""
        return min(self._timers.values(), default=None)

    def default_sleep(self) -> float:
        """Seconds that other hubs wait if there are no timers."""
        return 60.0

    def wait(self, seconds: float | None = None) -> None:
        """Let the loop look at descriptors; from outside the hub only."""
        from coir._core import sleep

        sleep(seconds or 0)

    # --- descriptors

    def add(
        self,
        evtype: str,
        fileno: int,
        cb: Callable[[int], Any],
        tb: Callable[[BaseException], Any],
        mark_as_closed: Callable[[], Any] | None,
    ) -> FdListener:
        """Call ``cb(fileno)`` in the hub whenever the descriptor is ready.

        :param evtype: `READ` or `WRITE`.
        :param tb: called with an exception if the descriptor is gone.
        :raises RuntimeError: if somebody waits for the same already, unless
            `debug.hub_prevent_multiple_readers` was switched off.
        :raises OSError: if the descriptor is not open.
        """
        listener = self.lclass(evtype, fileno, cb, tb, mark_as_closed)
        bucket = self.listeners[evtype]
        first = bucket.get(fileno)
        if first is not None:
            if g_prevent_multiple_readers:
                raise RuntimeError(second_simultaneous(
                    evtype, fileno, cb, first))
            self.secondaries[evtype].setdefault(fileno, []).append(listener)
            return listener
        self._watch(evtype, fileno)
        bucket[fileno] = listener
        return listener

    def _watch(self, evtype: str, fileno: int) -> None:
        os.fstat(fileno)  # raises at once if it is not open
        watcher = self.greenlet.loop.io(fileno, _EVENTS[evtype])
        self._watchers[evtype, fileno] = watcher
        watcher.start(self._ready, evtype, fileno)

    def _unwatch(self, evtype: str, fileno: int) -> None:
        watcher = self._watchers.pop((evtype, fileno), None)
        if watcher is not None:
            watcher.stop()
            watcher.close()

    def _ready(self, evtype: str, fileno: int) -> None:
        listener = self.listeners[evtype].get(fileno, noop)
        try:
            listener.cb(fileno)
        except self.SYSTEM_EXCEPTIONS:
            self._engine.handle_system_error(*sys.exc_info())
        except BaseException:
            self.squelch_exception(fileno, sys.exc_info())

    def remove(self, listener: FdListener) -> None:
        """Forget a listener; another for the same takes its place."""
        if listener.spent:
            return
        evtype, fileno = listener.evtype, listener.fileno
        others = self.secondaries[evtype].get(fileno)
        if self.listeners[evtype].get(fileno) is listener:
            if others:
                self.listeners[evtype][fileno] = others.pop(0)
            else:
                del self.listeners[evtype][fileno]
                self._unwatch(evtype, fileno)
        elif others is not None and listener in others:
            others.remove(listener)
        if others is not None and not others:
            self.secondaries[evtype].pop(fileno, None)

    def _listeners_of(self, fileno: int) -> Iterable[FdListener]:
        for evtype in (READ, WRITE):
            first = self.listeners[evtype].get(fileno)
            if first is not None:
                yield first
            yield from self.secondaries[evtype].get(fileno, ())

    def _forget(self, fileno: int) -> None:
        for evtype in (READ, WRITE):
            self.listeners[evtype].pop(fileno, None)
            self.secondaries[evtype].pop(fileno, None)
            self._unwatch(evtype, fileno)

    def remove_descriptor(self, fileno: int) -> None:
        """Call all listeners of a descriptor once more and forget them."""
        for listener in list(self._listeners_of(fileno)):
            try:
                listener.cb(fileno)
            except Exception:
                self.squelch_generic_exception(sys.exc_info())
        self._forget(fileno)

    def _obsolete(self, fileno: int) -> bool:
        """Have the listeners of a descriptor that is gone told, soon."""
        found = list(self._listeners_of(fileno))
        if not found:
            return False
        self._forget(fileno)
        for listener in found:
            self.closed.append(listener)
            listener.defang()
        loop = self.greenlet.loop
        for _ in found:
            loop.run_callback(self.close_one)
        return True

    def mark_as_reopened(self, fileno: int) -> None:
        """The number is in use for something new: who waits is told."""
        self._obsolete(fileno)

    def mark_as_closed(self, fileno: int) -> None:
        """The descriptor is closed: who waits is told."""
        self._obsolete(fileno)

    def notify_close(self, fileno: int) -> None:
        """The descriptor was closed; nothing is to be done before the
        number is used again."""

    def close_one(self) -> None:
        """Raise `IOClosed` in the next one whose descriptor is gone."""
        if not self.closed:
            return
        listener = self.closed.pop()
        if listener.greenlet.dead:
            return
        from . import IOClosed

        try:
            listener.tb(
                IOClosed(errno.ENOTCONN, "Operation on closed file")
            )
        except self.SYSTEM_EXCEPTIONS:
            self._engine.handle_system_error(*sys.exc_info())
        except BaseException:
            self.squelch_generic_exception(sys.exc_info())

    # --- errors

    def squelch_exception(self, fileno: int, exc_info: Any) -> None:
        """Report an error of a listener, which loses its descriptor."""
        traceback.print_exception(*exc_info)
        sys.stderr.write(f"Removing descriptor: {fileno!r}\n")
        sys.stderr.flush()
        try:
            self.remove_descriptor(fileno)
        except Exception as exc:
            sys.stderr.write(f"Exception while removing descriptor! {exc!r}\n")
            sys.stderr.flush()

    def squelch_generic_exception(self, exc_info: Any) -> None:
        """Print an error, unless `debug.hub_exceptions(False)`."""
        if self.debug_exceptions:
            traceback.print_exception(*exc_info)
            sys.stderr.flush()

    def squelch_timer_exception(self, timer: Any, exc_info: Any) -> None:
        """Print an error of a timer or a green thread, unless the same."""
        self.squelch_generic_exception(exc_info)

    # --- for debugging

    def get_readers(self) -> Any:
        """The listeners that wait to read."""
        return self.listeners[READ].values()

    def get_writers(self) -> Any:
        """The listeners that wait to write."""
        return self.listeners[WRITE].values()

    def set_debug_listeners(self, value: bool) -> None:
        """Whether listeners keep the stack of who made them."""
        self.lclass = DebugListener if value else FdListener

    def set_timer_exceptions(self, value: bool) -> None:
        """Whether errors of green threads and timers are printed."""
        self.debug_exceptions = value

    @property
    def debug_blocking(self) -> bool:
        """Whether SIGALRM interrupts who runs too long; main thread."""
        return self._blocking is not None

    @debug_blocking.setter
    def debug_blocking(self, value: bool) -> None:
        if not value:
            if self._blocking is not None:
                for watcher in self._blocking:
                    watcher.stop()
                self._blocking = None
            return
        if self._blocking is None:
            loop = self.greenlet.loop
            before, after = loop.prepare(ref=False), loop.check(ref=False)
            before.start(self.block_detect_post)
            after.start(self.block_detect_pre)
            self._blocking = before, after
            loop.run_callback(self.block_detect_pre)

    def block_detect_pre(self) -> None:
        """Set the alarm: who runs from now on has so much time."""
        if not self.debug_blocking:
            return
        old = signal.signal(signal.SIGALRM, alarm_handler)
        if old != alarm_handler:
            self._old_signal_handler = old
        arm_alarm(self.debug_blocking_resolution)

    def block_detect_post(self) -> None:
        """Stop the alarm."""
        if self._old_signal_handler:
            signal.signal(signal.SIGALRM, self._old_signal_handler)
            self._old_signal_handler = None
        arm_alarm(0)


def second_simultaneous(evtype: str, fileno: int, mine: Any, other: Any
                        ) -> str:
    """The text of the error when two wait for the same."""
    return (
        f"Second simultaneous {evtype} on fileno {fileno} detected: one "
        f"green thread at a time can {evtype} there. Have others wait for "
        "their turn, by eventlet.pools.Pool for instance, or, if they are "
        "meant to compete, allow it by "
        "eventlet.debug.hub_prevent_multiple_readers(False). "
        f"MY THREAD={mine}; THAT THREAD={other}"
    )


def _replace(engine: Any) -> Any:
    """A new hub for the loop of one that has ended."""
    fresh = type(engine)(loop=engine.loop)
    fresh._uses_eventlet = engine._uses_eventlet
    fresh._eventlet = engine._eventlet
    _gevent_hub.set_hub(fresh)
    # Who still has the old one as its parent ends in the new one.
    engine.parent = fresh
    return fresh


def adopt(current: Any, engine: Any) -> None:
    """Who waits is from now on a child of the hub, as eventlet has it."""
    parent = current.parent
    if parent is not engine and parent is not None:
        try:
            current.parent = engine
        except ValueError:
            pass  # it is an ancestor of the hub


# --- what the engine's hub leaves to this module -----------------------------


def _report(engine: Any, context: Any, kind: Any, value: Any, tb: Any) -> bool:
    """Deal with an error that arrived in the hub; False: it is not ours."""
    if context is None:
        # A signal handler's: the caller of what waits handles it, or not.
        engine.handle_system_error(kind, value, tb)
        return True
    if not isinstance(context, _gevent_hub.RawGreenlet):
        return False
    if isinstance(context, _gevent_greenlet.Greenlet):
        return False
    if issubclass(kind, BaseHub.SYSTEM_EXCEPTIONS):
        engine.handle_system_error(kind, value, tb)
    elif not issubclass(kind, GreenletExit):
        report = getattr(engine._eventlet, "squelch_timer_exception", None)
        if report is not None:
            report(None, (kind, value, tb))
        else:
            traceback.print_exception(kind, value, tb)
    return True


def _idle(engine: Any) -> None:
    """The loop has returned; it is to be run again after this."""
    hub = engine._eventlet
    if hub is not None and hub.stopping:
        hub._stop()
        engine._aborted = True
        engine.parent.switch()
        engine._aborted = False
        return
    # Somebody may yet come: a signal handler, another thread.
    loop = engine.loop
    loop.ref()
    loop.error_handler = engine
    try:
        loop.run(once=True)
    finally:
        loop.error_handler = None
        loop.unref()


def revive() -> None:
    """Make this thread another hub: the greenlet of the one it has ended."""
    from . import get_hub

    hub = get_hub()
    if isinstance(hub, BaseHub):
        hub.ensure_greenlet()
    engine = _get_engine()
    if engine.dead:
        _replace(engine)


_gevent_hub.Hub._eventlet_report = staticmethod(_report)
_gevent_hub.Hub._eventlet_idle = staticmethod(_idle)

