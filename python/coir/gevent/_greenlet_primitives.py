"""Greenlets without a result, and the list of all greenlets."""

from __future__ import annotations

import gc
from typing import Any
from weakref import ref

from coir._core import HubBase as SwitchOutGreenletWithLoop
from coir.greenlet import getcurrent, greenlet

__all__ = ["SwitchOutGreenletWithLoop", "TrackedRawGreenlet"]


class TrackedRawGreenlet(greenlet):
    """A plain greenlet that knows by whom it was spawned.

    ``spawning_greenlet`` is a weak reference to that one;
    ``spawn_tree_locals``, a dict, is shared by all that descend from the same
    greenlet, whose parent, in turn, is none but the main one.
    """

    def __init__(self, function: Any, parent: Any) -> None:
        super().__init__(function, parent)
        current: Any = getcurrent()
        self.spawning_greenlet = ref(current)
        try:
            self.spawn_tree_locals = current.spawn_tree_locals
        except AttributeError:
            self.spawn_tree_locals = {}
            if current.parent is not None:
                current.spawn_tree_locals = self.spawn_tree_locals


def get_reachable_greenlets() -> list[Any]:
    """All greenlets of the process, of any thread, finished ones as well.

    Those with a true ``greenlet_tree_is_ignored`` are left out.
    """
    return [
        obj
        for obj in gc.get_objects()
        if isinstance(obj, greenlet)
        and not getattr(obj, "greenlet_tree_is_ignored", False)
    ]


def get_memory(data: Any) -> Any:
    """A memoryview of the data; bytes, if they have no shape."""
    view = data if isinstance(data, memoryview) else memoryview(data)
    return view if view.shape else view.tobytes()
