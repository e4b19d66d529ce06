"""Pools of things that green threads take turns with."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from . import queue

__all__ = ["Pool", "TokenPool"]


class Pool:
    """Lends items, of which it makes up to `max_size` when they are needed.

    :param min_size: how many are made at once.
    :param order_as_stack: lend the one that came back last first.
    :param create: makes an item; or a subclass has its own `create`.
    """

    def __init__(
        self,
        min_size: int = 0,
        max_size: int = 4,
        order_as_stack: bool = False,
        create: Callable[[], Any] | None = None,
    ) -> None:
        self.min_size = min_size
        self.max_size = max_size
        self.order_as_stack = order_as_stack
        self.current_size = 0
        self.channel: queue.LightQueue[Any] = queue.LightQueue(0)
        self.free_items: collections.deque[Any] = collections.deque()
        if create is not None:
            self.create = create  # type: ignore[method-assign]
        for _ in range(min_size):
            self.current_size += 1
            self.free_items.append(self.create())

    def create(self) -> Any:
        """Make an item."""
        raise NotImplementedError("Implement in subclass")

    def get(self) -> Any:
        """Borrow an item, waiting for one."""
        if self.free_items:
            return self.free_items.popleft()
        if self.current_size >= self.max_size:
            return self.channel.get()
        self.current_size += 1
        try:
            return self.create()
        except BaseException:
            self.current_size -= 1
            raise

    @contextmanager
    def item(self) -> Iterator[Any]:
        """Borrow an item for a ``with`` block."""
        obj = self.get()
        try:
            yield obj
        finally:
            self.put(obj)

    def put(self, item: Any) -> None:
        """Give an item back; it is dropped if there are too many."""
        if self.current_size > self.max_size:
            self.current_size -= 1
            return
        if self.waiting():
            try:
                self.channel.put(item, block=False)
                return
            except queue.Full:
                pass
        if self.order_as_stack:
            self.free_items.appendleft(item)
        else:
            self.free_items.append(item)

    def resize(self, new_size: int) -> None:
        """Have so many at most, from now on; none is taken from anybody."""
        self.max_size = new_size

    def free(self) -> int:
        """How many could be borrowed without waiting."""
        return len(self.free_items) + self.max_size - self.current_size

    def waiting(self) -> int:
        """How many wait for an item."""
        return max(0, self.channel.getting() - self.channel.putting())


class Token:
    """Stands for the right to something."""


class TokenPool(Pool):
    """A pool of tokens that are good for nothing but counting."""

    def create(self) -> Any:
        return Token()
