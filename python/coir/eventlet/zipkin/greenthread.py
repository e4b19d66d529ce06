"""Have green threads inherit the trace of who spawns them."""

from __future__ import annotations

from typing import Any

from .. import greenthread
from . import api

__original_init__ = greenthread.GreenThread.__init__
__original_main__ = greenthread.GreenThread.main


def _patched__init(self: Any, parent: Any) -> None:
    if api.is_tracing():
        self.trace_data = api.get_trace_data()
    __original_init__(self, parent)


def _patched_main(self: Any, function: Any, args: Any, kwargs: Any) -> Any:
    if hasattr(self, "trace_data"):
        api.set_trace_data(self.trace_data)
    return __original_main__(self, function, args, kwargs)


def patch() -> None:
    """Do so from now on."""
    greenthread.GreenThread.__init__ = _patched__init
    greenthread.GreenThread.main = _patched_main


def unpatch() -> None:
    """Do so no more."""
    greenthread.GreenThread.__init__ = __original_init__
    greenthread.GreenThread.main = __original_main__
