"""What only native threads can do, however much is patched.

For the thread pool: a lock, and a queue whose ``get`` blocks the thread.
"""

from __future__ import annotations

from _queue import Empty, SimpleQueue
from time import monotonic
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

    # A SimpleQueue's own timeout is of no use: before Python 3.13, who is
    # woken for an item that another one takes, at the end of its time, waits
    # for ever. Those who wait for some time wait for the bell.
    __slots__ = ("_bell", "_has_bell", "_items", "unfinished_tasks")

    def __init__(self) -> None:
        self._items: SimpleQueue[Any] = SimpleQueue()
        try:
            self._bell = Lock()
        except RuntimeError:  # so it says it
            raise MemoryError("no memory for a lock") from None
        self._bell.acquire()  # it has not rung
        self._has_bell = False
        self.unfinished_tasks = 0

    def put(self, item: Any) -> None:
        """Add an item, which counts as unfinished. Does not block."""
        self._items.put(item)
        self.unfinished_tasks += 1
        if self._has_bell:
            self._ring()

    def _ring(self) -> None:
        if self._bell.locked():
            try:
                self._bell.release()
            except RuntimeError:
                pass  # another one did

    def allocate_cookie(self) -> Any:
        """What a thread passes to `get`."""
        return None

    def get(self, cookie: Any = None, timeout: float = -1) -> Any:
        """Take an item; blocks the thread until there is one.

        :param timeout: seconds; -1 waits for ever.
        :raises EmptyTimeout: if the time is over.
        """
        if timeout < 0:
            return self._items.get()
        self._has_bell = True
        end = monotonic() + timeout
        while True:
            try:
                return self._items.get_nowait()
            except Empty:
                pass
            left = end - monotonic()
            if left <= 0:
                raise EmptyTimeout
            is_rung = self._bell.acquire(timeout=min(left, 3600))
            if is_rung and self._items.qsize() > 1:
                self._ring()  # for the next one

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
