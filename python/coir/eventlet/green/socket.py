"""The standard library's :mod:`socket`, green.

Hosts are looked up by `eventlet.support.greendns`, if dnspython is installed
and ``EVENTLET_NO_GREENDNS`` is not ``yes`` in the environment; else by the
resolver of Coir's hub, which gives what the system gives.
"""

from __future__ import annotations

import os as __os
from typing import Any

from coir.gevent import socket as __engine

from ..patcher import slurp_properties
from . import _socket_nodns as __socket

__all__ = __socket.__all__
__patched__ = [
    *__socket.__patched__,
    "create_connection",
    "getaddrinfo",
    "gethostbyname",
    "gethostbyname_ex",
    "getnameinfo",
]

slurp_properties(__socket, globals(), srckeys=dir(__socket))

__names: Any = __engine
if __os.environ.get("EVENTLET_NO_GREENDNS", "").lower() != "yes":
    try:
        from ..support import greendns as __names
    except ImportError:
        pass

getaddrinfo = __names.getaddrinfo
gethostbyname = __names.gethostbyname
gethostbyname_ex = __names.gethostbyname_ex
getnameinfo = __names.getnameinfo

_GLOBAL_DEFAULT_TIMEOUT = __socket._GLOBAL_DEFAULT_TIMEOUT


def create_connection(
    address: Any,
    timeout: Any = _GLOBAL_DEFAULT_TIMEOUT,
    source_address: Any = None,
    *,
    all_errors: bool = False,
) -> Any:
    """Connect to ``(host, port)``; each address of the host is tried in turn.

    :param timeout: seconds, for each attempt and for the socket that is
        returned; by default that of ``setdefaulttimeout()``.
    :param source_address: ``(host, port)`` to bind to before.
    :param all_errors: raise an ExceptionGroup of all errors, not the last.
    """
    host, port = address
    errors: list[Any] = []
    kind = __socket.SOCK_STREAM
    for family, type_, proto, _, addr in getaddrinfo(host, port, 0, kind):
        sock = None
        try:
            sock = __socket.socket(family, type_, proto)
            if timeout is not _GLOBAL_DEFAULT_TIMEOUT:
                sock.settimeout(timeout)
            if source_address:
                sock.bind(source_address)
            sock.connect(addr)
            return sock
        except OSError as exc:
            errors.append(exc)
            if sock is not None:
                sock.close()
        except BaseException:
            if sock is not None:
                sock.close()
            raise
    try:
        if not errors:
            raise OSError("getaddrinfo returns an empty list")
        if all_errors:
            raise ExceptionGroup("create_connection failed", errors)
        raise errors[-1]
    finally:
        errors.clear()  # they refer to this frame
