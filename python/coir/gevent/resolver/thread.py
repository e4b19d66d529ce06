"""The default: libc's own look-ups, in the hub's pool of threads.

Results, their order and errors are therefore the system's.
"""

from __future__ import annotations

import _socket
import encodings.idna  # noqa: F401  threads are not to import it
from collections.abc import Callable
from typing import Any

from coir.gevent._hub_local import get_hub

__all__ = ["Resolver"]


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


def _is_number(port: Any) -> bool:
    return (
        port is None
        or isinstance(port, int)
        or (isinstance(port, (str, bytes)) and port.isdigit())
    )


def _result_of(func: Callable[..., Any], args: Any) -> Any:
    # The pool reports errors of its jobs; this one is the caller's.
    try:
        return func(*args), None
    except Exception as exc:
        return None, exc


class Resolver:
    """Looks names up in ``hub.threadpool``; addresses at once, without it.

    Each method takes and gives what the function of that name in
    :mod:`socket` does, and blocks the current greenlet.
    """

    def __init__(self, hub: Any = None) -> None:
        self._hub = hub or get_hub()

    @property
    def pool(self) -> Any:
        """The hub's pool; it is made if there is none."""
        return self._hub.threadpool

    def __repr__(self) -> str:
        return (
            f"<{type(self).__module__}.{type(self).__name__} at "
            f"{id(self):#x} pool={self._hub._threadpool!r}>"
        )

    def close(self) -> None:
        """Nothing is held."""

    def _ask(self, func: Callable[..., Any], *args: Any) -> Any:
        result, exc = self.pool.apply(_result_of, (func, args))
        if exc is None:
            return result
        try:
            raise exc
        finally:
            del exc

    def getaddrinfo(
        self,
        host: Any,
        port: Any,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        args = host, port, family, type, proto, flags
        if is_numeric(host) and _is_number(port):
            return _socket.getaddrinfo(*args)
        return self._ask(_socket.getaddrinfo, *args)

    def gethostbyname(self, hostname: Any) -> Any:
        if isinstance(hostname, str) and is_numeric(hostname):
            return _socket.gethostbyname(hostname)
        return self._ask(_socket.gethostbyname, hostname)

    def gethostbyname_ex(self, hostname: Any) -> Any:
        return self._ask(_socket.gethostbyname_ex, hostname)

    def gethostbyaddr(self, ip_address: Any) -> Any:
        return self._ask(_socket.gethostbyaddr, ip_address)

    def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        numeric = _socket.NI_NUMERICHOST | _socket.NI_NUMERICSERV
        if isinstance(flags, int) and flags & numeric == numeric:
            return _socket.getnameinfo(sockaddr, flags)
        return self._ask(_socket.getnameinfo, sockaddr, flags)
