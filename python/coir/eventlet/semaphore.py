"""Semaphores of green threads."""

from __future__ import annotations

import collections
from typing import Any

from coir._core import getcurrent

from . import hubs, timeout as _timeout

__all__ = ["BoundedSemaphore", "CappedSemaphore", "Semaphore"]


class Semaphore:
    def __init__(self, value: Any = 1) -> None:
        try:
            value = int(value)
        except ValueError as exc:
            raise TypeError(f"Semaphore() expect value :: int, actual: {type(value)} {exc}")
        if value < 0:
            raise ValueError(f"Semaphore() expect value >= 0, actual: {value!r}")
        self.counter = value
        self._waiters: Any = collections.deque()

    def locked(self) -> bool:
        return self.counter <= 0

    def bounded(self) -> bool:
        return False

    def acquire(self, blocking: bool = True, timeout: Any = None) -> bool:
        if timeout == -1:
            timeout = None
        if timeout is not None and timeout < 0:
            raise ValueError("timeout value must be strictly positive")
        if not blocking:
            if timeout is not None:
                raise ValueError("can't specify timeout for non-blocking acquire")
            if self.locked():
                return False
            self.counter -= 1
            return True
        me = getcurrent()
        if self.counter <= 0 or self._waiters:
            self._waiters.append(me)
            try:
                with _timeout.Timeout(timeout, False):
                    while True:
                        hubs.get_hub().switch()
                        if self.counter > 0:
                            break
                    self.counter -= 1
                    return True
                return False
            finally:
                if me in self._waiters:
                    self._waiters.remove(me)
        self.counter -= 1
        return True

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *args: Any) -> None:
        self.release()

    def release(self, blocking: bool = True) -> bool:
        self.counter += 1
        if self._waiters:
            hubs.get_hub().schedule_call_global(0, self._do_acquire)
        return True

    def _do_acquire(self) -> None:
        if self._waiters and self.counter > 0:
            self._waiters.popleft().switch()

    @property
    def balance(self) -> int:
        return self.counter - len(self._waiters)


class BoundedSemaphore(Semaphore):
    def __init__(self, value: Any = 1) -> None:
        super().__init__(value)
        self.original_counter = value

    def release(self, blocking: bool = True) -> bool:
        if self.counter >= self.original_counter:
            raise ValueError("Semaphore released too many times")
        return super().release(blocking)


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
