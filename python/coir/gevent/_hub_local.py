"""This thread's hub.

The engine keeps it; it is made when it is first asked for, and destroyed when
the thread ends. Calls are of the calling thread, and never block.
"""

from __future__ import annotations

from _thread import _local
from typing import Any

from coir._core import (
    get_hub,
    get_hub_class,
    get_hub_if_exists,
    set_hub,
    set_hub_class,
)

__all__ = ["get_hub", "get_hub_noargs", "get_hub_if_exists", "set_hub"]

get_hub_noargs = get_hub


class _Threadlocal(_local):
    loop: Any = None


_threadlocal = _Threadlocal()


def get_loop() -> Any:
    """The loop that this thread's next hub is to run, or None.

    A hub that is destroyed without its loop leaves it there.
    """
    return _threadlocal.loop


def set_loop(loop: Any) -> None:
    """Have this thread's next hub run `loop`; None: one of its own."""
    _threadlocal.loop = loop


def set_default_hub_class(hubtype: Any) -> None:
    """Make hubs of threads that have none yet by calling `hubtype`."""
    set_hub_class(hubtype)


__all__ += ["get_hub_class", "set_default_hub_class", "get_loop", "set_loop"]
