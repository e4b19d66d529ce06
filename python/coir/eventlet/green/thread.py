"""Threads that are green, with the interface of :mod:`_thread`.

A lock may be acquired and released by green threads of all native threads,
and by native threads without any.
"""

from __future__ import annotations

import _thread as __thread
from collections.abc import Callable
from typing import Any

from coir._core import GreenletExit, LockType, getcurrent
from coir.gevent.event import Event as _Event

from .. import greenthread
from ..corolocal import local as _local  # noqa: F401
from ..timeout import with_timeout  # noqa: F401

__patched__ = [
    "Lock",
    "LockType",
    "_ThreadHandle",
    "_count",
    "_get_main_thread_ident",
    "_local",
    "_make_thread_handle",
    "allocate",
    "allocate_lock",
    "exit",
    "get_ident",
    "interrupt_main",
    "lock",
    "stack_size",
    "start_joinable_thread",
    "start_new",
    "start_new_thread",
]

error = __thread.error
TIMEOUT_MAX = __thread.TIMEOUT_MAX
exit_thread = __thread.exit_thread

#: What stays the interpreter's, where it has it; not RLock: the one that
#: :mod:`threading` has in Python is on the locks here.
for __name in (
    "_ExceptHookArgs",
    "_excepthook",
    "_is_main_interpreter",
    "_shutdown",
    "daemon_threads_allowed",
    "get_native_id",
):
    if hasattr(__thread, __name):
        globals()[__name] = getattr(__thread, __name)

Lock = lock = LockType
__get_ident = __thread.get_ident
__count = 0

#: Locks that are released when their thread ends, by its ident.
__sentinels: dict[int, Any] = {}


def _count() -> int:
    """How many threads run that were started here."""
    return __count


def get_ident(gr: Any = None) -> int:
    """A number for a green thread, the calling one by default."""
    if gr is not None:
        return id(gr)
    try:
        return id(getcurrent())
    except RuntimeError:  # this native thread has ended, or is about to
        return __get_ident()


def allocate_lock(*args: Any) -> Any:
    """A new lock."""
    return LockType()


allocate = allocate_lock


def _set_sentinel() -> Any:
    """A lock that is released when the calling thread ends."""
    sentinel = LockType()
    __sentinels[get_ident()] = sentinel
    return sentinel


def _get_main_thread_ident() -> int:
    """That of the green thread in which this native thread began."""
    greenlet: Any = getcurrent()
    while greenlet.parent is not None:
        greenlet = greenlet.parent
    return get_ident(greenlet)


class _ThreadHandle:
    """What is known of a thread that was, or is to be, started."""

    def __init__(self, greenthread: Any = None) -> None:
        self._greenthread = greenthread
        self._ended: Any = _Event()

    def _start(self, green: Any) -> None:
        self._greenthread = green
        green.link(lambda green: self._ended.set())

    def _set_done(self) -> None:
        self._ended.set()

    def is_done(self) -> bool:
        """Whether it has ended; False if it was not started."""
        green = self._greenthread
        return self._ended.is_set() or (green is not None and green.dead)

    @property
    def ident(self) -> int:
        """The number of its green thread."""
        return get_ident(self._greenthread)

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended; at most `timeout` seconds, if not < 0."""
        if timeout is not None and timeout < 0:
            timeout = None
        if self._greenthread is getcurrent():
            raise RuntimeError("Cannot join current thread")
        if not self.is_done():
            self._ended.wait(timeout)


def _make_thread_handle(ident: int) -> _ThreadHandle:
    """The handle of the calling thread."""
    return _ThreadHandle(getcurrent())


def __body(func: Callable[..., Any], args: Any, kwargs: Any) -> None:
    global __count
    __count += 1
    try:
        func(*args, **kwargs)
    finally:
        __count -= 1
        sentinel = __sentinels.pop(get_ident(), None)
        if sentinel is not None and sentinel.locked():
            sentinel.release()


def start_joinable_thread(
    function: Callable[[], Any],
    handle: _ThreadHandle | None = None,
    daemon: bool = True,
) -> _ThreadHandle:
    """Run a function in a green thread, soon; returns what to join it by."""
    if handle is None:
        handle = _ThreadHandle()
    handle._start(greenthread.spawn(__body, function, (), {}))
    return handle


def start_new_thread(
    function: Callable[..., Any], args: Any = (), kwargs: Any = None
) -> int:
    """Run ``function(*args, **kwargs)`` in a green thread, soon; its ident."""
    green = greenthread.spawn_n(__body, function, args, kwargs or {})
    return get_ident(green)


start_new = start_new_thread


def exit() -> None:
    """End the calling green thread."""
    raise GreenletExit


def interrupt_main(signum: int = 2) -> None:
    """Raise KeyboardInterrupt in the green thread of the main program."""
    parent: Any = getcurrent().parent
    if parent is not None and not parent.dead:
        parent.throw(KeyboardInterrupt())
    raise KeyboardInterrupt


__stack_size = __thread.stack_size


def stack_size(size: int | None = None) -> int:
    """Tell, or raise, how large the stacks of native threads will be.

    Not those of green threads. It is never made smaller.
    """
    if size is None or size <= __stack_size():
        return __stack_size()
    return __stack_size(size)
