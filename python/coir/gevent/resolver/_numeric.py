"""What takes no look-up."""

from __future__ import annotations

import _socket
from typing import Any

__all__ = ["is_number", "is_numeric"]


def is_numeric(host: Any) -> bool:
    """Whether `host` is an address already, which takes no time."""
    if host is None:
        return True
    if isinstance(host, (bytes, bytearray)):
        try:
            host = host.decode("ascii")
        except UnicodeDecodeError:
            return False
    if not isinstance(host, str) or "\0" in host:
        return False
    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            _socket.inet_pton(family, host)
        except (OSError, UnicodeError):
            continue
        return True
    return False


def is_number(port: Any) -> bool:
    return (
        port is None
        or isinstance(port, int)
        or (isinstance(port, (str, bytes)) and port.isdigit())
    )
