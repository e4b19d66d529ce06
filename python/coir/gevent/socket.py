"""Sockets that block the current greenlet only.

Has the names of the standard library's :mod:`socket`; those in
``__implements__`` are ours, those in ``__extensions__`` exist here only.
"""

from __future__ import annotations

from typing import Any

from . import _socket3 as _source
from ._socket3 import socket
from ._socketcommon import (
    _GLOBAL_DEFAULT_TIMEOUT,
    SOCK_STREAM,
    __socket__,  # noqa: F401
    error,
    getaddrinfo,
)
from ._util import copy_globals

copy_globals(_source, globals())

__implements__ = _source.__implements__
__extensions__ = _source.__extensions__
__imports__ = _source.__imports__
__dns__ = _source.__dns__
__all__ = __implements__ + __extensions__ + __imports__


def create_connection(
    address: Any,
    timeout: Any = _GLOBAL_DEFAULT_TIMEOUT,
    source_address: Any = None,
    *,
    all_errors: bool = False,
) -> Any:
    """Connect to ``(host, port)``, and return the socket.

    The addresses of the host are tried in turn.

    :param timeout: seconds, for each attempt and then for the socket; by
        default that of ``setdefaulttimeout()``.
    :param source_address: ``(host, port)`` to bind to before.
    :param all_errors: raise an ExceptionGroup of the errors of all addresses
        if none can be connected to; else the last one is raised.
    """
    host, port = address
    errors: list[BaseException] = []
    for family, kind, proto, _, addr in getaddrinfo(
        host, port, 0, SOCK_STREAM
    ):
        sock = None
        try:
            sock = socket(family, kind, proto)
            if timeout is not _GLOBAL_DEFAULT_TIMEOUT:
                sock.settimeout(timeout)
            if source_address:
                sock.bind(source_address)
            sock.connect(addr)
            return sock
        except error as exc:
            if sock is not None:
                sock.close()
            if not all_errors:
                errors.clear()
            errors.append(exc)
        except BaseException:
            if sock is not None:
                sock.close()
            raise
    try:
        if not errors:
            raise error("getaddrinfo returns an empty list")
        if not all_errors:
            raise errors[0]
        raise ExceptionGroup(  # type: ignore[type-var]
            "create_connection failed",
            errors,  # type: ignore[arg-type]
        )
    finally:
        errors.clear()  # they refer to this frame
