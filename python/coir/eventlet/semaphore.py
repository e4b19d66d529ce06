"""Semaphores of green threads.

Those of `Semaphore` and `BoundedSemaphore` are the engine's: a native thread
may release what a green thread waits for, and the reverse.
"""

from __future__ import annotations

from typing import Any

from coir._core import EvBoundedSemaphore as BoundedSemaphore
from coir._core import EvSemaphore as Semaphore

__all__ = ["BoundedSemaphore", "CappedSemaphore", "Semaphore"]


class CappedSemaphore:
    """A semaphore whose count has an upper limit, too.

    `acquire` waits while the count is zero, `release` while it is `limit`.
    """

    def __init__(self, count: int, limit: int) -> None:
        if count < 0:
            raise ValueError(
                "CappedSemaphore must be initialized with a positive number, "
                f"got {count}"
            )
        if count > limit:
            raise ValueError("'count' cannot be more than 'limit'")
        self.lower_bound = Semaphore(count)
        self.upper_bound = Semaphore(limit - count)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} at {id(self):#x} b={self.balance} "
            f"l={self.lower_bound} u={self.upper_bound}>"
        )

    def __str__(self) -> str:
        return (
            f"<{type(self).__name__} b={self.balance} l={self.lower_bound} "
            f"u={self.upper_bound}>"
        )

    def locked(self) -> bool:
        """Whether `acquire` would wait."""
        return self.lower_bound.locked()

    def bounded(self) -> bool:
        """Whether `release` would wait."""
        return self.upper_bound.locked()

    def acquire(self, blocking: bool = True) -> bool:
        """Take one; False if it is not `blocking` and would have to wait."""
        if not blocking and self.locked():
            return False
        self.upper_bound.release()
        try:
            return self.lower_bound.acquire()
        except BaseException:
            # It may be less than zero for a while; nobody waits for that.
            self.upper_bound.counter -= 1
            raise

    def __enter__(self) -> None:
        self.acquire()

    def release(self, blocking: bool = True) -> bool:
        """Put one back; False if it is not `blocking` and would wait."""
        if not blocking and self.bounded():
            return False
        self.lower_bound.release()
        try:
            return self.upper_bound.acquire()
        except BaseException:
            self.lower_bound.counter -= 1
            raise

    def __exit__(self, kind: Any, value: Any, tb: Any) -> None:
        self.release()

    @property
    def balance(self) -> int:
        """How many may be taken before somebody waits; less than zero: how
        many have to be put back before nobody does."""
        return self.lower_bound.balance - self.upper_bound.balance
