"""What `threading` gets when it is patched: threads are greenlets then.

Its classes stay what they are, and so do subclasses that were made before;
they do their work by the functions that are replaced here. A greenlet that was
not started by `threading` gets an object of its own as its current thread
while it runs, with a name like ``Dummy-1``.
"""

from __future__ import annotations

import os
import sys
import threading as __threading__
import weakref
from collections.abc import Callable
from typing import Any

from coir._core import LockType, ThreadRLock, getcurrent

from .hub import sleep as _sleep
from .local import local
from .lock import RLock
from .thread import (
    _make_thread_handle,
    _ThreadHandle,
    start_joinable_thread,
    start_new_thread,
)
from .thread import allocate_lock as _allocate_lock
from .thread import get_ident as _get_ident

__implements__ = [
    "local",
    "_allocate_lock",
    "Lock",
    "get_ident",
    "_DummyThread",
    "_CRLock",
]
__extensions__: list[str] = []
if sys.version_info >= (3, 13):
    __implements__ += [
        "_start_joinable_thread",
        "_ThreadHandle",
        "_make_thread_handle",
    ]
    __extensions__ += ["_set_sentinel"]
else:
    __implements__ += ["_start_new_thread", "_set_sentinel"]

__all__ = [
    "Lock",
    "RLock",
    "Thread",
    "Timer",
    "allocate_lock",
    "get_ident",
    "getcurrent",
    "local",
    "main_native_thread",
    "start_new_thread",
]

_start_new_thread = start_new_thread
_start_joinable_thread = start_joinable_thread
Lock = allocate_lock = _allocate_lock
get_ident = _get_ident
_CRLock = ThreadRLock
Thread = __threading__.Thread
Timer = __threading__.Timer

_sleep = _sleep


def main_native_thread() -> Any:
    """The `threading` object of the main thread."""
    return __threading__.main_thread()


def _set_sentinel() -> LockType:
    """A lock for the calling greenlet, which is released at its end."""
    sentinel = LockType()

    def end(source: Any) -> None:
        if sentinel.locked():
            sentinel.release()

    rawlink = getattr(getcurrent(), "rawlink", None)
    if rawlink is not None:
        rawlink(end)
    return sentinel


# --- current_thread() of greenlets that are no threads -----------------------

#: What a thread has its handle in; none before 3.13.
_HANDLE = next(
    (
        name
        for name in ("_os_thread_handle", "_handle")
        if hasattr(__threading__.main_thread(), name)
    ),
    None,
)

_started = __threading__.Event()
_started.set()

#: What Thread.__init__() would set, and takes long to.
_ATTRIBUTES: dict[str, Any] = {
    "_args": (),
    "_context": None,
    "_daemonic": True,
    "_initialized": True,
    "_is_stopped": False,
    "_kwargs": {},
    "_started": _started,
    "_stderr": None,
    "_target": None,
    "_tstate_lock": None,
}


def _forgetter(ident: int) -> Callable[[Any], None]:
    def forget(source: Any) -> None:
        __threading__._active.pop(ident, None)  # type: ignore[attr-defined]

    return forget


class _DummyThread(__threading__._DummyThread):
    """The thread of a greenlet that was not started by `threading`.

    It is forgotten with the greenlet. Made by each greenlet that logs
    something, so it does little.
    """

    #: In the child of a fork it becomes the main thread.
    _NEEDS_CLASS_FORK_FIXUP = True

    def __init__(self) -> None:
        current = getcurrent()
        ident = _get_ident(current)
        vars(self).update(_ATTRIBUTES)
        self._name = __threading__._newname(  # type: ignore[attr-defined]
            "Dummy-%d"
        )
        self._ident = ident
        self._native_id = __threading__.get_native_id()
        if _HANDLE is not None:
            setattr(self, _HANDLE, _make_thread_handle(ident))
        __threading__._active[ident] = self  # type: ignore[attr-defined]
        forget = _forgetter(ident)
        rawlink = getattr(current, "rawlink", None)
        if rawlink is not None:
            rawlink(forget)
        else:
            self._forget = weakref.ref(current, forget)

    def _stop(self) -> None:
        """It ends with its greenlet."""

    def _wait_for_tstate_lock(self, *args: Any, **kwargs: Any) -> bool:
        """It has none, and is alive."""
        return False


# --- patching and forking ----------------------------------------------------


def _after_fork_in_child() -> None:
    """Have the greenlet that forked be the main thread.

    After threading's own, which takes whatever ran for that.
    """
    main: Any = __threading__.main_thread()
    dummy: Any = __threading__._DummyThread
    if isinstance(main, dummy):
        main.__class__ = __threading__._MainThread  # type: ignore[attr-defined]
        main._name = "MainThread"
        main._daemonic = False
    if _HANDLE is None and main._tstate_lock is None and not main._is_stopped:
        main._set_tstate_lock()
    handle = getattr(main, _HANDLE, None) if _HANDLE is not None else None
    if isinstance(handle, _ThreadHandle):
        handle._after_fork_in_child()


_hooks_are_there = False


def _gevent_will_monkey_patch(
    native_module: Any, items: Any, warn: Callable[[str], None]
) -> None:
    """Called before `threading` is patched."""
    global _hooks_are_there
    if __threading__.current_thread() is not main_native_thread():
        warn(
            "Monkey-patching outside the main native thread. Some APIs "
            "will not be available. Expect a KeyError to be printed at "
            "shutdown."
        )
        return
    main: Any = main_native_thread()
    active = __threading__._active  # type: ignore[attr-defined]
    ident = _get_ident()
    if ident not in active:
        active.pop(main.ident, None)
        main._ident = ident
        active[ident] = main
    if not _hooks_are_there:
        _hooks_are_there = True
        os.register_at_fork(after_in_child=_after_fork_in_child)
