"""Look-ups that block the whole thread. For programs that make few."""

from __future__ import annotations

import _socket
from typing import Any

__all__ = ["Resolver"]


class Resolver:
    """The functions of the standard library, as they are."""

    method = "block"

    def __init__(self, hub: Any = None) -> None:
        pass

    def close(self) -> None:
        """Nothing is held."""

    gethostbyname = staticmethod(_socket.gethostbyname)
    gethostbyname_ex = staticmethod(_socket.gethostbyname_ex)
    getaddrinfo = staticmethod(_socket.getaddrinfo)
    gethostbyaddr = staticmethod(_socket.gethostbyaddr)
    getnameinfo = staticmethod(_socket.getnameinfo)
