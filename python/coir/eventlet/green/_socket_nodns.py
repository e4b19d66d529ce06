"""The standard library's :mod:`socket`, green but for names of hosts."""

from __future__ import annotations

import socket as __socket
from typing import Any

from .. import greenio
from ..patcher import slurp_properties

__all__ = __socket.__all__
__patched__ = ["fromfd", "socketpair", "ssl", "socket", "timeout"]

slurp_properties(
    __socket, globals(), ignore=__patched__, srckeys=dir(__socket)
)

socket = greenio.GreenSocket
_GLOBAL_DEFAULT_TIMEOUT = greenio._GLOBAL_DEFAULT_TIMEOUT
timeout = greenio.socket_timeout

__fromfd = __socket.fromfd
__socketpair = __socket.socketpair


def fromfd(*args: Any) -> Any:
    """A green socket on a duplicate of a descriptor."""
    return _own(__fromfd(*args))


def socketpair(*args: Any) -> tuple[Any, Any]:
    """Two green sockets that are connected to each other."""
    one, two = __socketpair(*args)
    return _own(one), _own(two)


def _own(sock: Any) -> Any:
    """The same, but green; it takes the descriptor over."""
    family, kind, proto = sock.family, sock.type, sock.proto
    return socket(family, kind, proto, sock.detach())
