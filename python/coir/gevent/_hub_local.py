"""This thread's hub.

The engine keeps it; it is made when it is first asked for, and destroyed when
the thread ends. Calls are of the calling thread, and never block.
"""

from __future__ import annotations

from typing import Any

from coir._core import (
    get_hub,
    get_hub_class,
    get_hub_if_exists,
    get_loop,
    set_hub,
    set_hub_class,
    set_loop,
)

__all__ = ["get_hub", "get_hub_noargs", "get_hub_if_exists", "set_hub"]

get_hub_noargs = get_hub


def set_default_hub_class(hubtype: Any) -> None:
    """Make hubs of threads that have none yet by calling `hubtype`."""
    set_hub_class(hubtype)


__all__ += ["get_hub_class", "set_default_hub_class", "get_loop", "set_loop"]
