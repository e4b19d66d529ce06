"""What takes no look-up."""

from __future__ import annotations

import _socket
from typing import Any

from ._addresses import is_addr

__all__ = ["is_number", "is_numeric"]


def is_numeric(host: Any) -> bool:
    """Whether `host` is an address already, which takes no time."""
    return (
        host is None
        or is_addr(host, _socket.AF_INET)
        or is_addr(host, _socket.AF_INET6)
    )


def is_number(port: Any) -> bool:
    return (
        port is None
        or isinstance(port, int)
        or (isinstance(port, (str, bytes)) and port.isdigit())
    )
