"""Queues of green threads, with the interface of the standard library's.

One of size 0 is a channel, unlike there: `put` waits until somebody gets the
item. None, or less than 0, is no limit.
"""

from __future__ import annotations

from queue import Empty, Full
from typing import Any

from coir._core import EvLifoQueue as LifoQueue
from coir._core import EvLightQueue as LightQueue
from coir._core import EvPriorityQueue as PriorityQueue
from coir._core import EvQueue as Queue
from coir._core import getcurrent

from .event import Event  # noqa: F401
from .hubs import get_hub
from .timeout import Timeout  # noqa: F401

__all__ = [
    "Queue",
    "PriorityQueue",
    "LifoQueue",
    "LightQueue",
    "Full",
    "Empty",
]


class Waiter:
    """Where one greenlet waits for a value or an exception.

    `switch` and `throw` are for callbacks of the hub; they do nothing if
    nobody waits.
    """

    __slots__ = ["greenlet"]

    def __init__(self) -> None:
        self.greenlet: Any = None

    def __repr__(self) -> str:
        waiting = " waiting" if self.waiting else ""
        return (
            f"<{type(self).__name__} at {id(self):#x}{waiting} "
            f"greenlet={self.greenlet!r}>"
        )

    def __str__(self) -> str:
        waiting = " waiting" if self.waiting else ""
        return f"<{type(self).__name__}{waiting} greenlet={self.greenlet}>"

    def __bool__(self) -> bool:
        return self.greenlet is not None

    __nonzero__ = __bool__

    @property
    def waiting(self) -> bool:
        """Whether somebody waits."""
        return self.greenlet is not None

    def _call(self, method: str, args: tuple[Any, ...]) -> None:
        if getcurrent() is not get_hub().greenlet:
            raise AssertionError(
                f"Can only use Waiter.{method} method from the mainloop"
            )
        if self.greenlet is None:
            return
        try:
            getattr(self.greenlet, method)(*args)
        except Exception:
            import traceback

            traceback.print_exc()

    def switch(self, value: Any = None) -> None:
        """Bring a value to who waits."""
        self._call("switch", (value,))

    def throw(self, *throw_args: Any) -> None:
        """Raise an exception there."""
        self._call("throw", throw_args)

    def wait(self) -> Any:
        """Wait until `switch` or `throw` is called."""
        if self.greenlet is not None:
            raise AssertionError(
                f"This Waiter is already used by {self.greenlet!r}"
            )
        self.greenlet = getcurrent()
        try:
            return get_hub().switch()
        finally:
            self.greenlet = None


class ItemWaiter(Waiter):
    """One that brings an item."""

    __slots__ = ["item", "block"]

    def __init__(self, item: Any, block: bool) -> None:
        super().__init__()
        self.item = item
        self.block = block
