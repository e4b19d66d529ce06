"""The name of eventlet's hub on ``select``; it is Coir's hub.

What Coir waits in does not depend on it, see `coir.eventlet.hubs`.
"""

from __future__ import annotations

import errno
from typing import Any

from . import hub

__all__ = ["Hub", "is_available"]

#: Errors of a descriptor that is none.
BAD_SOCK = {errno.EBADF}


def is_available() -> bool:
    """True."""
    return True


class Hub(hub.BaseHub):
    """Coir's hub."""

    def __init__(self, clock: Any = None) -> None:
        super().__init__(clock)
