"""The name of eventlet's hub on BSD's kqueue, which Linux has not."""

from __future__ import annotations

from typing import Any

from . import hub

__all__ = ["Hub", "is_available"]


def is_available() -> bool:
    """False: Coir runs on Linux."""
    return False


class Hub(hub.BaseHub):
    """Cannot be made."""

    def __init__(self, clock: Any = None) -> None:
        raise RuntimeError("kqueue is not available on this system")
