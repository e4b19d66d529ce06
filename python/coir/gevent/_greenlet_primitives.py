"""Greenlets without a result, and the list of all greenlets."""

from __future__ import annotations

import gc
from typing import Any

from coir._core import HubBase, greenlet, queued_greenlets

from ._hub_primitives import TrackedRawGreenlet

__all__ = ["SwitchOutGreenletWithLoop", "TrackedRawGreenlet"]

SwitchOutGreenletWithLoop = HubBase


def get_reachable_greenlets() -> list[Any]:
    """All greenlets of the process, of any thread, finished ones as well.

    Those with a true ``greenlet_tree_is_ignored`` are left out.
    """
    found = [obj for obj in gc.get_objects() if isinstance(obj, greenlet)]
    for hub in [obj for obj in found if isinstance(obj, HubBase)]:
        if hub.loop is not None:
            found += queued_greenlets(hub.loop)  # not known to gc
    return [
        g for g in found if not getattr(g, "greenlet_tree_is_ignored", False)
    ]


def get_memory(data: Any) -> Any:
    """A memoryview of the data; bytes, if they have no shape."""
    view = data if isinstance(data, memoryview) else memoryview(data)
    return view if view.shape else view.tobytes()
