"""The standard library's :mod:`queue`, green.

A size of 0 is no limit, as with eventlet's queues None is.
"""

from __future__ import annotations

from .. import queue

__all__ = ["Empty", "Full", "LifoQueue", "PriorityQueue", "Queue"]
__patched__ = ["LifoQueue", "PriorityQueue", "Queue"]

Empty = queue.Empty
Full = queue.Full


class Queue(queue.Queue):
    """First in, first out."""

    def __init__(self, maxsize: int | None = 0) -> None:
        super().__init__(maxsize or None)


class PriorityQueue(queue.PriorityQueue):
    """The smallest first."""

    def __init__(self, maxsize: int | None = 0) -> None:
        super().__init__(maxsize or None)


class LifoQueue(queue.LifoQueue):
    """Last in, first out."""

    def __init__(self, maxsize: int | None = 0) -> None:
        super().__init__(maxsize or None)
