"""Another name for the semaphores of ``gevent.lock``."""

from __future__ import annotations

from coir._core import BoundedSemaphore, Semaphore

__all__ = ["Semaphore", "BoundedSemaphore"]
