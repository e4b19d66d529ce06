"""The thread that looks after a hub.

It calls functions every so often; the first of them looks whether some
greenlet keeps all others of the hub's thread from running. For that a
``SwitchTracer`` counts switches there, at the cost of some instructions for
each: a greenlet that is still the one that runs, without a switch in between,
after ``max_blocking_time``, is reported with its stack.

The thread needs the GIL to look. What blocks while it holds that is seen when
it is over, if at all.
"""

from __future__ import annotations

import atexit
import os
import sys
import traceback
import warnings
from time import perf_counter
from typing import TYPE_CHECKING, Any
from weakref import ref

from coir._core import SwitchTracer, getcurrent

from ._compat import get_this_psutil_process
from ._config import config
from ._util import gmctime
from .events import (
    EventLoopBlocked,
    IPeriodicMonitorThread,
    MemoryUsageThresholdExceeded,
    MemoryUsageUnderThreshold,
    implementer,
    notify,
)
from .monkey import get_original

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PeriodicMonitoringThread"]

get_thread_ident: Any = get_original("_thread", "get_ident")
start_new_thread: Any = get_original("_thread", "start_new_thread")
thread_sleep: Any = get_original("time", "sleep")

# Held while functions are called: at its end, Python is not to take the GIL
# from a thread that is in the midst of printing, and then find stderr locked.
_looking = get_original("_thread", "allocate_lock")()


def _stop_all() -> None:
    _looking.acquire(timeout=1)  # and keep it


def _after_fork_in_child() -> None:
    global _looking
    _looking = get_original("_thread", "allocate_lock")()


atexit.register(_stop_all)
os.register_at_fork(after_in_child=_after_fork_in_child)


class MonitorWarning(RuntimeWarning):
    """Something cannot be monitored."""


class _MonitorEntry:
    """A function that is called every `period` seconds; never, if that is 0
    or less."""

    __slots__ = ("function", "last_run_time", "period")

    def __init__(self, function: Callable[[Any], Any], period: float) -> None:
        self.function = function
        self.period = period
        self.last_run_time = 0.0

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _MonitorEntry)
            and self.function == other.function
            and self.period == other.period
        )

    def __hash__(self) -> int:
        return hash((self.function, self.period))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.function!r} {self.period} s>"


@implementer(IPeriodicMonitorThread)
class PeriodicMonitoringThread:
    """Looks after `hub`, in a native thread that is started at once.

    Is to be made in the thread of the hub; ends when that is destroyed or
    collected.

    Behaves as that of gevent 26.9; the cost per switch does not.
    """

    #: Seconds between two looks, if no function has a period.
    inactive_sleep_time = 2.0

    #: Seconds; it never sleeps less.
    min_sleep_time = 0.005

    #: Seconds; memory is not looked at more often.
    min_memory_monitor_period = 2

    # Bytes that were in use when there last were too many, else 0.
    _memory_exceeded = 0

    def __init__(self, hub: Any) -> None:
        if get_thread_ident() != hub.thread_ident:
            raise RuntimeError("the monitor is made in the hub's own thread")
        self._hub_ref = ref(hub, self._on_hub_gc)
        self.should_run = True
        self.pid = os.getpid()
        self._process: Any = _UNKNOWN
        self._blocked_since = perf_counter()
        self._turns: int | None = None  # of the loop, if the hub ran
        self._monitoring_functions = [
            _MonitorEntry(self.monitor_blocking, config.max_blocking_time)
        ]
        self._calculated_sleep_time = config.max_blocking_time
        self._greenlet_tracer = SwitchTracer()
        try:
            self.monitor_thread_ident = start_new_thread(self, ())
        except BaseException:
            self._greenlet_tracer.kill()
            raise

    def _on_fork(self) -> None:
        # In the child there is no such thread.
        if self.pid != os.getpid():
            self.pid = os.getpid()
            self.monitor_thread_ident = start_new_thread(self, ())

    @property
    def hub(self) -> Any:
        """The hub; None if it is no more."""
        return self._hub_ref()

    def kill(self) -> None:
        """Have the thread end, soon. Any thread."""
        if self.should_run:
            self.should_run = False
            self._greenlet_tracer.kill()

    def _on_hub_gc(self, _dead: Any) -> None:
        self.kill()

    # What is called, and when

    def monitoring_functions(self) -> list[_MonitorEntry]:
        """The functions with their periods; `monitor_blocking` is first."""
        blocking = self._monitoring_functions[0]
        if blocking.period != config.max_blocking_time:
            blocking.period = config.max_blocking_time
            self._update_sleep_time()
        return self._monitoring_functions

    def add_monitoring_function(
        self, function: Callable[[Any], Any], period: float | None
    ) -> None:
        """Call ``function(hub)`` every `period` seconds, in this thread.

        :param period: None: not any more.
        :raises ValueError: if that is not positive, or there is no function.
        """
        if not callable(function):
            raise ValueError(f"not a function: {function!r}")
        if period is not None and period <= 0:
            raise ValueError(f"the period must be positive, not {period}")
        # A new list: the thread may be at the old one.
        entries = list(self._monitoring_functions)
        at = [e.function for e in entries]
        if period is None:
            entries = [e for e in entries if e.function != function]
        elif function in at:
            entries[at.index(function)] = _MonitorEntry(function, period)
        else:
            entries.append(_MonitorEntry(function, period))
        self._monitoring_functions = entries
        self._update_sleep_time()

    def _update_sleep_time(self) -> None:
        self._calculated_sleep_time = min(
            entry.period for entry in self._monitoring_functions
        )

    def calculate_sleep_time(self) -> float:
        """Seconds until it looks again."""
        seconds: float = self._calculated_sleep_time
        if seconds <= 0:
            # Nothing to do; but that may change.
            return self.inactive_sleep_time
        return max(seconds, self.min_sleep_time)

    # The thread

    def __call__(self) -> None:
        # For those who list greenlets.
        getcurrent().gevent_monitoring_thread = ref(self)  # type: ignore
        try:
            while self.should_run:
                entries = self.monitoring_functions()
                thread_sleep(self.calculate_sleep_time())
                self._look(entries)
        except SystemExit:
            pass
        except BaseException:
            self._failed()

    def _look(self, entries: list[_MonitorEntry]) -> None:
        hub = self.hub
        if not hub:
            self.kill()
        if not self.should_run:
            return
        now = perf_counter()
        with _looking:
            for entry in entries:
                if 0 < entry.period <= now - entry.last_run_time:
                    entry.last_run_time = now
                    entry.function(hub)

    def _failed(self) -> None:
        if not sys or not sys.stderr:
            return  # Python is shutting down
        hub = self.hub
        if hub is None:
            return
        error = sys.exc_info()
        if get_thread_ident() == hub.thread_ident:
            hub.handle_error(self, *error)
        else:
            hub.loop.run_callback_threadsafe(hub.handle_error, self, *error)

    # Greenlets that block

    def ignore_current_greenlet_blocking(self) -> None:
        """Do not report the current greenlet until the next switch."""
        self._greenlet_tracer.active_greenlet = None

    def monitor_current_greenlet_blocking(self) -> None:
        """The contrary."""
        self._greenlet_tracer.active_greenlet = getcurrent()

    def monitor_blocking(self, hub: Any) -> Any:
        """Look whether one greenlet has run all the time since the last look.

        The hub itself blocks if one of its callbacks does.

        :returns: that greenlet, and the lines of a report, which was given to
            the subscribers of :mod:`gevent.events` and then printed; None if
            all is well.
        """
        tracer = self._greenlet_tracer
        switches = tracer.greenlet_switch_counter
        tracer.greenlet_switch_counter = 0
        active = tracer.active_greenlet
        now = perf_counter()
        # The hub need not switch to do its work: it is seen by its turns.
        turns = _turns(hub.loop) if active is hub else None
        if switches or active is None or turns != self._turns:
            self._turns = turns
            self._blocked_since = now
            return None
        if turns == _NO_TURN:
            self._blocked_since = now
            return None
        report = self._report(hub, active, now - self._blocked_since)
        notify(
            EventLoopBlocked(active, config.max_blocking_time, report, hub=hub)
        )
        return self._show_blocking_report(hub, report, active)

    def _report(self, hub: Any, active: Any, seconds: float) -> list[str]:
        from .util import format_run_info

        ident = hub.thread_ident
        report = [
            "=" * 79,
            f"{gmctime()} : Greenlet {active} appears to be blocked: it has "
            f"let no other run for {seconds:.3f} seconds",
            f"    Reported by {self}",
            f"Blocked Stack (for thread id {ident:#x}):",
        ]
        # Only the one that runs is in there, which is the one we want.
        frame = sys._current_frames().get(ident)
        if frame is not None:
            report.append("".join(traceback.format_stack(frame)))
        else:
            report.append(f"Unknown: no thread of {hub!r}")
        del frame
        report.append("Info:")
        report.extend(
            format_run_info(
                greenlet_stacks=False,
                current_thread_ident=self.monitor_thread_ident,
            )
        )
        return report

    def _show_blocking_report(
        self, hub: Any, report: list[str], active_greenlet: Any
    ) -> Any:
        # May be replaced, to have reports somewhere else.
        if config.print_blocking_reports:
            for line in report:
                print(line, file=hub.exception_stream)
        return active_greenlet, report

    # Memory

    def _get_process(self) -> Any:
        if self._process is _UNKNOWN:
            self._process = get_this_psutil_process()
        return self._process

    def can_monitor_memory_usage(self) -> bool:
        """Whether psutil can tell how much memory is in use."""
        return self._get_process() is not None

    def install_monitor_memory_usage(self) -> None:
        """Look at the memory, too, every ``memory_monitor_period``."""
        if not self.can_monitor_memory_usage():
            warnings.warn(
                "psutil is needed to monitor the use of memory: install it",
                MonitorWarning,
                stacklevel=2,
            )
            return
        self.add_monitoring_function(
            self.monitor_memory_usage,
            max(config.memory_monitor_period, self.min_memory_monitor_period),
        )

    def monitor_memory_usage(self, _hub: Any) -> Any:
        """Tell the subscribers if more than ``max_memory_usage`` is in use.

        They are told again while it grows, and when it is less again.

        :returns: the event; None if there is nothing to tell, -1 if there is
            no limit.
        """
        limit = config.max_memory_usage
        if not limit:
            return -1
        info = self._get_process().memory_full_info()
        used = getattr(info, "uss", 0) or info.rss
        before = self._memory_exceeded
        event: Any = None
        if used > limit:
            if used > before:
                event = MemoryUsageThresholdExceeded(used, limit, info)
            self._memory_exceeded = used
        else:
            if before:
                event = MemoryUsageUnderThreshold(used, limit, info, before)
            self._memory_exceeded = 0
        if event is not None:
            notify(event)
        return event

    def __repr__(self) -> str:
        ident = getattr(self, "monitor_thread_ident", 0)
        return (
            f"<{type(self).__name__} at {id(self):#x} in thread {ident:#x} "
            f"for {self.hub!r}>"
        )


_UNKNOWN = object()
_NO_TURN = -1


def _turns(loop: Any) -> int:
    """How often it has looked for events; -1 if it sleeps."""
    try:
        return _NO_TURN if loop.waits else loop.iteration
    except (AttributeError, ValueError):
        return _NO_TURN  # it was destroyed
