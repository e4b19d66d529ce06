"""Futures of asyncio, where threads are greenlets: gevent's or eventlet's.

asyncio keeps which of its loops runs for a native thread. Newer ones ask this
when a future of :mod:`concurrent.futures` is done, and do not wake the loop if
it is the one that runs: what sets the future must have been called by it. But
that may be a greenlet of the same native thread, while the loop waits.
"""

from __future__ import annotations

import sys
from typing import Any

from ._state import is_object_patched
from .api import patch_item


def adopt() -> None:
    """Have futures tell the greenlet of a loop from others; once.

    Does nothing where threads are native, or nobody has imported asyncio.
    """
    futures: Any = sys.modules.get("asyncio.futures")
    if (
        hasattr(futures, "events")
        and is_object_patched("threading", "get_ident")
        and not is_object_patched("asyncio.futures", "events")
    ):
        patch_item(futures, "events", _Events(futures.events))


class _Events:
    """``asyncio.events``, for who asks for the loop that called it."""

    def __init__(self, events: Any) -> None:
        self._events = events

    def __getattr__(self, name: str) -> Any:
        return getattr(self._events, name)

    def _get_running_loop(self) -> Any:
        loop = self._events._get_running_loop()
        ident = getattr(loop, "_thread_id", None)
        # By what the loop, too, asked who runs it; that may be patched.
        threading: Any = sys.modules["asyncio.base_events"].threading
        return loop if ident in (None, threading.get_ident()) else None
