"""What only native threads can do, however much is patched.

For the thread pool: a lock, and a queue whose ``get`` blocks the thread.
"""

from __future__ import annotations

from _queue import Empty, SimpleQueue
from collections import deque
from time import monotonic
from typing import Any

from .monkey.api import get_original

__all__ = ["Lock", "Queue", "EmptyTimeout"]

start_new_thread, Lock, get_thread_ident = get_original(
    "_thread", ["start_new_thread", "allocate_lock", "get_ident"]
)


class EmptyTimeout(Exception):
    """There was no item in a queue for the time given."""


def _new_bell() -> Any:
    try:
        bell = Lock()
    except RuntimeError:  # so it says it
        raise MemoryError("no memory for a lock") from None
    bell.acquire()
    return bell


class Queue:
    """An unbounded queue between native threads, first in, first out."""

    # A SimpleQueue's own timeout is of no use: before Python 3.13, who is
    # woken for an item that another one takes, at the end of its time, waits
    # for ever. Those who wait for some time have a lock each, in _bells, that
    # is released once: by who puts an item there and takes the lock out.
    __slots__ = ("_bells", "_items", "unfinished_tasks")

    def __init__(self) -> None:
        self._items: SimpleQueue[Any] = SimpleQueue()
        self._bells: deque[Any] = deque()
        self.unfinished_tasks = 0

    def put(self, item: Any) -> None:
        """Add an item, which counts as unfinished. Does not block."""
        self._items.put(item)
        self.unfinished_tasks += 1
        self._ring()

    def _ring(self) -> None:
        if self._bells:
            try:
                self._bells.popleft().release()
            except IndexError:
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
        end = monotonic() + timeout
        while True:
            bell = _new_bell()
            self._bells.append(bell)
            try:
                item = self._items.get_nowait()
            except Empty:
                left = end - monotonic()
                if left > 0 and bell.acquire(timeout=min(left, 3600)):
                    continue
                if self._take_out(bell) and monotonic() >= end:
                    raise EmptyTimeout from None
            else:
                if not self._take_out(bell):
                    self._ring()  # it was for another item
                return item

    def _take_out(self, bell: Any) -> bool:
        """False: it has rung already."""
        try:
            self._bells.remove(bell)
        except (ValueError, MemoryError):  # or none for a ValueError
            return False
        return True

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
        self._bells = deque()
        self.unfinished_tasks = 0
