"""What only native threads can do, however much is patched.

For the thread pool: a lock, and a queue whose ``get`` blocks the thread.
"""

from __future__ import annotations

from _queue import Empty, SimpleQueue
from typing import Any

from .monkey.api import get_original

__all__ = ["Lock", "Queue", "EmptyTimeout"]

start_new_thread, Lock, get_thread_ident = get_original(
    "_thread", ["start_new_thread", "allocate_lock", "get_ident"]
)


class EmptyTimeout(Exception):
    """There was no item in a queue for the time given."""


class Queue:
    """An unbounded queue between native threads, first in, first out."""

    __slots__ = ("_items", "unfinished_tasks")

    def __init__(self) -> None:
        self._items: SimpleQueue[Any] = SimpleQueue()
        self.unfinished_tasks = 0

    def put(self, item: Any) -> None:
        """Add an item, which counts as unfinished. Does not block."""
        self._items.put(item)
        self.unfinished_tasks += 1

    def allocate_cookie(self) -> Any:
        """What a thread passes to `get`."""
        return None

    def get(self, cookie: Any = None, timeout: float = -1) -> Any:
        """Take an item; blocks the thread until there is one.

        :param timeout: seconds; -1 waits for ever.
        :raises EmptyTimeout: if the time is over.
        """
        try:
            return self._items.get(True, None if timeout < 0 else timeout)
        except Empty:
            raise EmptyTimeout from None

    def task_done(self) -> None:
        """An item that was taken has been dealt with."""
        if self.unfinished_tasks <= 0:
            raise ValueError("task_done() called too many times")
        self.unfinished_tasks -= 1

    def qsize(self) -> int:
        """How many items are in the queue, about."""
        return self._items.qsize()

    def empty(self) -> bool:
        """Whether there is no item, about."""
        return self._items.empty()

    def full(self) -> bool:
        """False: there is no limit."""
        return False

    def kill(self) -> None:
        """Forget all items; after a fork, in which others were cut off."""
        self._items = SimpleQueue()
        self.unfinished_tasks = 0
