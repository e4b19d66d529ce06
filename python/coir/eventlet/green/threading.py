"""The standard library's :mod:`threading`, whose threads are green."""

from __future__ import annotations

import sys as __sys
from typing import Any

from coir._core import getcurrent

from .. import patcher
from . import thread, time

__patched__ = [
    "Lock",
    "_ThreadHandle",
    "_active",
    "_allocate_lock",
    "_get_main_thread_ident",
    "_limbo",
    "_make_thread_handle",
    "_set_name",
    "_set_sentinel",
    "_shutdown",
    "_sleep",
    "_start_joinable_thread",
    "_start_new_thread",
    "currentThread",
    "current_thread",
    "get_ident",
    "local",
    "stack_size",
]

__native = patcher.original("threading")
#: Green threads of each native one that were not started as threads.
__others = __native.local()
__count = 0

patcher.inject("threading", globals(), ("_thread", thread), ("time", time))
#: The module that the names here are of.
__copy = patcher.inject("threading", None)

local = thread._local
_sleep = time.sleep
_active: Any = __copy._active
_limbo: Any = __copy._limbo

if hasattr(__native, "_set_name"):

    def _set_name(name: str) -> None:
        """Nothing: it is not a green thread's name by which `ps` knows it."""

    __copy._set_name = _set_name


class _GreenThread:
    """The thread object of a green thread that `threading` did not start."""

    def __init__(self, g: Any) -> None:
        global _count
        self._g = g
        _count += 1
        self._name = f"GreenThread-{_count}"

    def __repr__(self) -> str:
        return f"<_GreenThread({self._name}, {self._g!r})>"

    def join(self, timeout: float | None = None) -> Any:
        """Wait for its result."""
        return self._g.wait()

    def getName(self) -> str:
        """Its name."""
        return self._name

    def setName(self, name: Any) -> None:
        """Set its name."""
        self._name = str(name)

    get_name = getName
    set_name = setName
    name = property(getName, setName)

    @property
    def ident(self) -> int:
        """The number of its green thread."""
        return id(self._g)

    native_id = property(lambda self: __import__("_thread").get_native_id())

    def isAlive(self) -> bool:
        """True: only it itself, and who got it there, have this object."""
        return not self._g.dead

    is_alive = isAlive
    daemon = property(lambda self: True)

    def isDaemon(self) -> bool:
        """True."""
        return True

    is_daemon = isDaemon


_count = 0


def current_thread() -> Any:
    """The thread object of the calling green thread.

    The native thread's if it has none: in the hub, say.
    """
    green = getcurrent()
    ident = id(green)
    found = _active.get(ident)
    if found is not None:
        return found
    try:
        others = __others.by_ident
    except AttributeError:
        others = __others.by_ident = {}
    found = others.get(ident)
    if found is not None:
        return found
    link = getattr(green, "link", None)
    if link is None:
        native = __native.current_thread()
        return _main if native is __native.main_thread() else native
    found = others[ident] = _GreenThread(green)
    link(lambda green: others.pop(ident, None))
    return found


currentThread = current_thread

#: The main program's; `adopt` puts another one in its place.
_main: Any = __copy.main_thread()


def _adopt(module: Any) -> None:
    """Have the main thread of `module`, which is patched, be that here."""
    global _main
    main = module.main_thread()
    if (
        main is _main
        or __native.current_thread() is not __native.main_thread()
    ):
        return
    _active.pop(_main.ident, None)
    main._ident = _main.ident
    _main = __copy._main_thread = globals()["_main_thread"] = main
    _active[main.ident] = main


def _shutdown() -> None:
    """At the exit of the interpreter: green threads end with the program.

    What was to be called then, by whichever copy of the module, is: pools of
    native threads end so.
    """
    patched = __sys.modules.get("threading")
    if patched is not __native:
        for call in reversed(getattr(patched, "_threading_atexits", ())):
            call()
    __native._shutdown()


__copy.current_thread = __copy.currentThread = current_thread
