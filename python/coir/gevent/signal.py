"""The standard library's :mod:`signal`; handlers of SIGCHLD may wait.

Handlers of other signals are called as ever: in the main thread, in whichever
greenlet it runs, possibly the hub, which must not wait. One of SIGCHLD is
called in a greenlet of its own if the thread has a hub. For other signals
there is :func:`gevent.signal_handler`.
"""

from __future__ import annotations

import signal as _signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from coir._core import signals_elsewhere

from ._hub_local import get_hub_if_exists as _get_hub
from ._util import copy_globals
from .os import __implements__ as _of_os

__implements__ = ["signal", "getsignal", "set_wakeup_fd"]
__extensions__: list[str] = []

if "waitpid" not in _of_os:
    __implements__, __extensions__ = __extensions__, __implements__

_signal_signal = _signal.signal
_signal_getsignal = _signal.getsignal
_signal_set_wakeup_fd = _signal.set_wakeup_fd

#: The program's own; None: nobody has asked yet.
_wakeup_fd: int | None = None


class _InGreenlet:
    """A handler, to be called in a greenlet of its own."""

    def __init__(self, handler: Callable[[int, Any], object]) -> None:
        self.handler = handler

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        hub = _get_hub()
        if hub is None or hub.loop is None:
            self.handler(signum, frame)
            return
        from .greenlet import Greenlet

        Greenlet.spawn(self.handler, signum, None)


def getsignal(signalnum: int) -> Any:
    """As ``signal.getsignal``."""
    handler = _signal_getsignal(signalnum)
    return handler.handler if isinstance(handler, _InGreenlet) else handler


def signal(signalnum: int, handler: Any) -> Any:
    """As ``signal.signal``; one for SIGCHLD is called in a greenlet.

    Its `frame` then is None, and its errors go to the hub.
    """
    if signalnum == _signal.SIGCHLD and callable(handler):
        handler = _InGreenlet(handler)
    old = _signal_signal(signalnum, handler)
    return old.handler if isinstance(old, _InGreenlet) else old


def set_wakeup_fd(fd: int, /, *, warn_on_full_buffer: bool = True) -> int:
    """As ``signal.set_wakeup_fd``.

    Without one the main thread's loop has its own there, so that it does not
    sleep through a signal. While the program has one, as an event loop of
    asyncio has, that loop looks for signals some 20 times a second.
    """
    global _wakeup_fd
    if fd >= 0:
        was = _signal_set_wakeup_fd(
            fd, warn_on_full_buffer=warn_on_full_buffer
        )
        own = signals_elsewhere(True)
    else:
        was = _signal_set_wakeup_fd(fd)
        own = signals_elsewhere(False)
        if own >= 0:
            _signal_set_wakeup_fd(own, warn_on_full_buffer=False)
    old = (-1 if was == own else was) if _wakeup_fd is None else _wakeup_fd
    _wakeup_fd = fd
    return old


def _gevent_did_monkey_patch(target_module: Any, *args: Any) -> None:
    """The functions are that module's own now."""
    for name in __implements__:
        globals()[name].__module__ = target_module.__name__


__imports__ = copy_globals(
    _signal,
    globals(),
    names_to_ignore=__implements__ + __extensions__,
    dunder_names_to_keep=(),
)

__all__ = __implements__ + __extensions__
