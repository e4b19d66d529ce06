"""The name of eventlet's hub on ``epoll``; it is Coir's hub.

What Coir waits in does not depend on it, see `coir.eventlet.hubs`.
"""

from __future__ import annotations

from typing import Any

from . import poll

__all__ = ["Hub", "is_available"]


def is_available() -> bool:
    """True."""
    return True


class Hub(poll.Hub):
    """Coir's hub."""

    def __init__(self, clock: Any = None) -> None:
        super().__init__(clock)
