"""Locks and semaphores.

What waits longest is served first. Greenlets of all threads, and threads
without any, may use the same object. An `RLock` belongs to a greenlet.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from coir._core import BoundedSemaphore, RLock, Semaphore

__all__ = ["Semaphore", "BoundedSemaphore", "DummySemaphore", "RLock"]


def atomic(meth: Callable[..., Any]) -> Callable[..., Any]:
    """Make it a method during which the lock ``self._atomic`` is held."""

    @wraps(meth)
    def with_lock(self: Any, *args: Any) -> Any:
        with self._atomic:
            return meth(self, *args)

    return with_lock


class DummySemaphore:
    """A semaphore of which there is always one more: it never blocks.

    For code that limits something if it is given a real one.
    """

    def __init__(self, value: Any = None) -> None:
        """The value is ignored."""

    def __str__(self) -> str:
        return f"<{type(self).__name__}>"

    def locked(self) -> bool:
        """False."""
        return False

    def ready(self) -> bool:
        """True."""
        return True

    def release(self) -> None:
        """Do nothing."""

    def rawlink(self, callback: Any) -> None:
        """Do nothing."""

    def unlink(self, callback: Any) -> None:
        """Do nothing."""

    def wait(self, timeout: float | None = None) -> int:
        """1, at once."""
        return 1

    def acquire(
        self, blocking: bool = True, timeout: float | None = None
    ) -> bool:
        """True, at once."""
        return True

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, typ: Any, val: Any, tb: Any) -> None:
        """Do nothing."""
