"""The standard library's :mod:`queue`, green: a size of 0 is no limit."""

from __future__ import annotations

from .. import queue

__all__ = ["Empty", "Full", "LifoQueue", "PriorityQueue", "Queue"]
__patched__ = ["LifoQueue", "PriorityQueue", "Queue"]

Empty = queue.Empty
Full = queue.Full


class Queue(queue.Queue):
    """First in, first out."""

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(maxsize if maxsize > 0 else None)


class PriorityQueue(queue.PriorityQueue):
    """The smallest first."""

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(maxsize if maxsize > 0 else None)


class LifoQueue(queue.LifoQueue):
    """Last in, first out."""

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(maxsize if maxsize > 0 else None)
