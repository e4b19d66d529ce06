"""Where one greenlet waits for what callbacks bring."""

from __future__ import annotations

from coir._core import MultipleWaiter, Waiter

__all__ = ["Waiter", "MultipleWaiter"]
