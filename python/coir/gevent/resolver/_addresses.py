"""Whether a host is an address already, as text or as bytes."""

from __future__ import annotations

import _socket
from typing import Any

__all__ = ["is_ipv4_addr", "is_ipv6_addr"]


def is_addr(host: Any, family: int) -> bool:
    """Whether it is one of that family, without a scope."""
    if isinstance(host, (bytes, bytearray)):
        try:
            host = host.decode("ascii")
        except UnicodeDecodeError:
            return False
    if not isinstance(host, str) or "\0" in host:
        return False
    try:
        _socket.inet_pton(family, host)
    except (OSError, UnicodeError):
        return False
    return True


def is_ipv4_addr(host: Any) -> bool:
    """Whether it is four numbers with dots between them."""
    return is_addr(host, _socket.AF_INET)


def is_ipv6_addr(host: Any) -> bool:
    """Whether it is an address of IPv6; a scope may follow: ``%eth0``."""
    if isinstance(host, (bytes, bytearray)):
        return is_addr(host.partition(b"%")[0], _socket.AF_INET6)
    if isinstance(host, str):
        return is_addr(host.partition("%")[0], _socket.AF_INET6)
    return False
