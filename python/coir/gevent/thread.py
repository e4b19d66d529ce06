"""Threads that are greenlets, with the interface of `_thread`.

For `gevent.monkey`: after patching these are what `_thread` has. A lock may be
acquired and released by greenlets of all threads, and by threads without any.
"""

from __future__ import annotations

import _thread as __thread__
import os
import sys
import weakref
from collections.abc import Callable
from typing import Any

from coir._core import LockType, get_green_ident, get_hub_if_exists, getcurrent

from .event import Event
from .greenlet import Greenlet
from .hub import GreenletExit, sleep
from .local import local as _local

__implements__ = [
    "allocate_lock",
    "get_ident",
    "exit",
    "LockType",
    "stack_size",
    "start_new_thread",
    "_local",
]
if sys.version_info >= (3, 13):
    __implements__ += [
        "start_joinable_thread",
        "lock",
        "_ThreadHandle",
        "_make_thread_handle",
    ]

#: What stays the interpreter's, if it has it.
__imports__ = [
    name
    for name in (
        "error",
        "TIMEOUT_MAX",
        "allocate",
        "exit_thread",
        "interrupt_main",
        "start_new",
        "get_native_id",
        "daemon_threads_allowed",
        "RLock",
        "set_name",
    )
    if hasattr(__thread__, name)
]
globals().update({name: getattr(__thread__, name) for name in __imports__})

__target__ = "_thread"

__all__ = [name for name in __implements__ if name != "_local"] + __imports__

allocate_lock = lock = LockType
get_ident = get_green_ident


def start_new_thread(
    function: Callable[..., Any],
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
) -> int:
    """Run ``function(*args, **kwargs)`` in a greenlet, soon; its ident."""
    if not callable(function):
        raise TypeError("first arg must be callable")
    if not isinstance(args, tuple):
        raise TypeError("2nd arg must be a tuple")
    if kwargs is None:
        kwargs = {}
    elif not isinstance(kwargs, dict):
        raise TypeError("optional 3rd arg must be a dictionary")
    return get_ident(Greenlet.spawn(function, *args, **kwargs))


def exit() -> None:
    """End the calling greenlet."""
    raise GreenletExit


_original_stack_size = __thread__.stack_size


def stack_size(size: int | None = None) -> int | None:
    """Tell, or raise, how large the stacks of native threads will be.

    Not those of greenlets. It is never made smaller.
    """
    if size is None:
        return _original_stack_size()
    if size < 0:
        raise ValueError("size must be 0 or a positive value")
    if size > _original_stack_size():
        return _original_stack_size(size)
    if 0 < size < 32768:
        raise ValueError(f"size not valid: {size} bytes")
    return _original_stack_size()


class _ThreadHandle:
    """What is known about a thread that was, or will be, started.

    It does not keep the greenlet alive. In the child of a fork all are done
    but the one of the greenlet that forked.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._ref: Any = None
        self._pid = 0
        self._done: Any = None
        self._ident: int | None = None

    def _set_greenlet(self, glet: Any) -> None:
        self._ref = weakref.ref(glet)
        self._ident = get_ident(glet)
        self._pid = os.getpid()
        self._done = Event()

    def _get_greenlet(self) -> Any:
        return self._ref() if self._ref is not None else None

    @property
    def _had_greenlet(self) -> bool:
        return self._done is not None

    def join(self, timeout: float | None = -1) -> None:
        """Block until it is done, for `timeout` seconds, -1 for no limit."""
        if not self._had_greenlet:
            raise RuntimeError("thread not started")
        if timeout is not None and timeout < 0:
            timeout = None
        glet = self._get_greenlet()
        if glet is getcurrent():
            raise RuntimeError("Cannot join current thread")
        if self.is_done():
            return
        if isinstance(glet, Greenlet):
            glet.join(timeout)
            return
        del glet
        self._poll(timeout)

    def _poll(self, timeout: float | None) -> None:
        # Nobody tells when a greenlet that has no links ends.
        from time import monotonic

        end = None if timeout is None else monotonic() + timeout
        while not self.is_done():
            step = 0.01
            if end is not None:
                step = min(step, end - monotonic())
                if step <= 0:
                    return
            self._done.wait(step)

    @property
    def ident(self) -> int | None:
        """That of its greenlet, also after its end; None: none was started."""
        return self._ident

    def is_done(self) -> bool:
        """Whether it has ended; also if it was never started."""
        if not self._had_greenlet:
            return True
        glet = self._get_greenlet()
        if glet is None or glet.dead or self._done.is_set():
            return True
        return os.getpid() != self._pid and glet is not getcurrent()

    def _set_done(self, enter_hub: bool = True) -> None:
        """It is done, whatever its greenlet does; lets those who join run."""
        if not self._had_greenlet:
            raise RuntimeError("thread not started")
        self._ref = None
        self._done.set()
        if enter_hub and get_hub_if_exists() is not None:
            sleep(0)

    def _after_fork_in_child(self) -> None:
        """The calling greenlet, which is this thread, has forked."""
        self._pid = os.getpid()

    def __repr__(self) -> str:
        cls = type(self)
        return (
            f"<{cls.__module__}.{cls.__name__} at {id(self):#x} "
            f"greenlet={self._get_greenlet()!r}>"
        )


def start_joinable_thread(
    function: Callable[[], Any],
    handle: _ThreadHandle | None = None,
    daemon: bool = True,
) -> _ThreadHandle:
    """Run a function in a greenlet, soon; returns what to join it by.

    For `threading`, which waits at the exit for those that are no daemons.
    """
    if not callable(function):
        raise TypeError("thread function must be callable")
    if handle is None:
        handle = _ThreadHandle()
    elif not isinstance(handle, _ThreadHandle):
        raise TypeError("'handle' must be a _ThreadHandle")
    elif handle._had_greenlet:
        raise RuntimeError("thread already started")
    handle._set_greenlet(Greenlet.spawn(function))
    return handle


def _make_thread_handle(*args: Any) -> _ThreadHandle:
    """The handle of the calling greenlet, whatever is given."""
    handle = _ThreadHandle()
    handle._set_greenlet(getcurrent())
    return handle


