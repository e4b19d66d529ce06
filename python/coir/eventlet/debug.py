"""Looking at what green threads do; switches for finding mistakes."""

from __future__ import annotations

import inspect
import linecache
import os
import re
import sys
from collections.abc import Iterable
from typing import Any

__all__ = [
    "spew",
    "unspew",
    "format_hub_listeners",
    "format_hub_timers",
    "hub_listener_stacks",
    "hub_exceptions",
    "tpool_exceptions",
    "hub_prevent_multiple_readers",
    "hub_timer_stacks",
    "hub_blocking_detection",
    "format_asyncio_info",
    "format_threads_info",
]

_WORDS = re.compile(r"\W+")


def _hub() -> Any:
    from . import hubs

    return hubs.get_hub()


class Spew:
    """A trace function that prints each line of Python that runs.

    :param trace_names: only of these modules; None: of all.
    :param show_values: also the variables that the line names.
    """

    def __init__(
        self,
        trace_names: Iterable[str] | None = None,
        show_values: bool = True,
    ) -> None:
        self.trace_names = trace_names
        self.show_values = show_values

    def __call__(self, frame: Any, event: str, arg: Any) -> Any:
        if event != "line":
            return self
        name, line = self._where(frame)
        if self.trace_names is not None and name not in self.trace_names:
            return self
        print(f"{name}:{frame.f_lineno}: {line.rstrip()}")
        if self.show_values:
            values = [
                f"{word}={scope[word]!r}"
                for word in _WORDS.split(line)
                for scope in (frame.f_globals, frame.f_locals)
                if word in scope
            ]
            if values:
                print("\t" + " ".join(values))
        return self

    @staticmethod
    def _where(frame: Any) -> tuple[str, str]:
        number = frame.f_lineno
        file = frame.f_globals.get("__file__")
        if file is not None:
            if file.endswith((".pyc", ".pyo")):
                file = file[:-1]
            return frame.f_globals["__name__"], linecache.getline(file, number)
        try:
            lines, first = inspect.getsourcelines(frame)
            return "[unknown]", lines[number - (first or 1)]
        except (OSError, IndexError):
            code = frame.f_code.co_name
            return (
                "[unknown]",
                f"Unknown code named [{code}].  "
                f"VM instruction #{frame.f_lasti}",
            )


def spew(
    trace_names: Iterable[str] | None = None, show_values: bool = False
) -> None:
    """Print each line of Python that runs from now on."""
    sys.settrace(Spew(trace_names, show_values))


def unspew() -> None:
    """Undo `spew`."""
    sys.settrace(None)


def format_hub_listeners() -> str:
    """What waits for descriptors by `hubs.trampoline` or ``hub.add``."""
    hub = _hub()
    return os.linesep.join(
        [
            "READERS:",
            *map(repr, hub.get_readers()),
            "WRITERS:",
            *map(repr, hub.get_writers()),
        ]
    )


def format_hub_timers() -> str:
    """What is scheduled in the hub of this thread."""
    return os.linesep.join(["TIMERS:", *map(repr, _hub().timers)])


def format_asyncio_info() -> str:
    """The tasks of asyncio, and its loop; for the hub ``asyncio``."""
    import asyncio

    loop = asyncio.get_event_loop()
    return os.linesep.join(
        ["TASKS:", repr(asyncio.all_tasks(loop)), f"EVENTLOOP: {loop}"]
    )


def format_threads_info() -> str:
    """The threads that `threading` knows."""
    import threading

    active = threading._active  # type: ignore[attr-defined]
    return os.linesep.join(["THREADS:", repr(active)])


def hub_listener_stacks(state: bool = False) -> None:
    """Have listeners keep the stack of who made them."""
    _hub().set_debug_listeners(state)


def hub_timer_stacks(state: bool = False) -> None:
    """Have timers keep the stack of who made them."""
    from .hubs import timer

    timer._g_debug = state


def hub_prevent_multiple_readers(state: bool = True) -> None:
    """Whether it is an error that two wait to read, or write, the same.

    If it is not, nobody knows who gets which data.
    """
    from .hubs import asyncio, hub

    if not state and isinstance(_hub(), asyncio.Hub):
        raise RuntimeError(
            "Multiple readers are not yet supported by asyncio hub"
        )
    hub.g_prevent_multiple_readers = state


def hub_exceptions(state: bool = True) -> None:
    """Whether errors that end green threads, and of timers, are printed."""
    from . import greenpool

    _hub().set_timer_exceptions(state)
    greenpool.DEBUG = state


def tpool_exceptions(state: bool = False) -> None:
    """Whether errors in `tpool` are printed where they are raised, too."""
    from . import tpool

    tpool.QUIET = not state


def hub_blocking_detection(state: bool = False, resolution: float = 1) -> None:
    """Interrupt whatever runs for `resolution` seconds without waiting.

    It gets a RuntimeError, by SIGALRM: for finding blocking calls in tests,
    not for production; in the main thread.
    """
    if resolution <= 0:
        raise AssertionError("resolution must be positive")
    hub = _hub()
    hub.debug_blocking_resolution = resolution
    hub.debug_blocking = state
    if not state:
        hub.block_detect_post()
