"""Loops of asyncio that wait as green threads do: gevent's or eventlet's.

asyncio keeps which of its loops runs, and in Python 3.14 which task, for a
native thread. Here it is kept for a greenlet: what runs while a loop waits
was not called by it, may run another one, and is to set futures from outside
of it.

Newer versions ask which loop runs when a future of :mod:`concurrent.futures`
is done, and do not wake that one. For loops that were set to run without our
knowing, by who has asyncio's own function still, that is answered by the
greenlet, too.
"""

from __future__ import annotations

import sys
from types import BuiltinFunctionType
from typing import Any

from coir._core import running_loop_setter

from ._state import is_object_patched
from .api import patch_item


def adopt() -> None:
    """Have each greenlet run a loop of its own; once.

    Does nothing if nobody has imported asyncio, or if that is without its
    extension.
    """
    asyncio: Any = sys.modules.get("asyncio")
    # All that is looked for below is there when this is.
    if not hasattr(asyncio, "SelectorEventLoop"):
        return
    futures: Any = sys.modules["asyncio.futures"]
    if is_object_patched(
        "threading", "get_ident"
    ) and not is_object_patched("asyncio.futures", "events"):
        patch_item(futures, "events", _Events(futures.events))
    events: Any = sys.modules["asyncio.events"]
    if not is_object_patched(
        "asyncio.events", "_set_running_loop"
    ) and isinstance(events._set_running_loop, BuiltinFunctionType):
        _adopt_running(asyncio, events)


def _adopt_running(asyncio: Any, events: Any) -> None:
    tasks: Any = sys.modules["asyncio.tasks"]
    setter = running_loop_setter(
        events._set_running_loop,
        events._get_running_loop,
        tasks._swap_current_task if sys.version_info >= (3, 14) else None,
    )
    for module in (events, asyncio):
        patch_item(module, "_set_running_loop", setter)
    # Where select() is what waits, that is the first to be asked.
    loop = events._get_running_loop()
    if loop is not None and _is_ours(loop):
        setter(loop)


def _is_ours(loop: Any) -> bool:
    # By what the loop, too, asked who runs it; that may be patched.
    threading: Any = sys.modules["asyncio.base_events"].threading
    ident = getattr(loop, "_thread_id", None)
    return ident in (None, threading.get_ident())


class _Events:
    """``asyncio.events``, for who asks for the loop that called it."""

    def __init__(self, events: Any) -> None:
        self._events = events

    def __getattr__(self, name: str) -> Any:
        return getattr(self._events, name)

    def _get_running_loop(self) -> Any:
        loop = self._events._get_running_loop()
        return loop if loop is None or _is_ours(loop) else None
