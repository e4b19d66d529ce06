"""A lock of green threads."""

from __future__ import annotations

from .semaphore import Semaphore

__all__ = ["Lock"]


class Lock(Semaphore):
    def release(self, blocking: bool = True) -> bool:
        if self.counter > 0:
            raise RuntimeError("release unlocked lock")
        return super().release(blocking)

    def _at_fork_reinit(self) -> None:
        self.counter = 1
        self._waiters.clear()
