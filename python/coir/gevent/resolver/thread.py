"""The default: libc's own look-ups, in the hub's pool of threads.

Results, their order and errors are therefore the system's.
"""

from __future__ import annotations

import _socket
import encodings.idna  # noqa: F401  threads are not to import it
from collections.abc import Callable
from typing import Any

from coir.gevent._hub_local import get_hub

from ._hostsfile import HostsFile
from ._numeric import is_number, is_numeric

__all__ = ["Resolver"]


def _result_of(func: Callable[..., Any], args: Any) -> Any:
    # The pool reports errors of its jobs; this one is the caller's.
    try:
        return func(*args), None
    except Exception as exc:
        return None, exc


def _files_first() -> bool:
    """Whether the system looks into the file of hosts before it asks DNS."""
    try:
        with open("/etc/nsswitch.conf", encoding="utf-8") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() == "hosts":
                    return value.split()[:1] == ["files"]
    except (OSError, UnicodeError):
        return False
    return False


class Resolver:
    """Looks names up in ``hub.threadpool``.

    Addresses are taken at once, without it, and so are names that the file of
    hosts has, where the system is set up to look there first.

    Each method takes and gives what the function of that name in
    :mod:`socket` does, and blocks the current greenlet.
    """

    def __init__(self, hub: Any = None) -> None:
        self._hub = hub or get_hub()
        self._hosts = HostsFile()
        self._files_first = _files_first()

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

    def _is_at_hand(self, host: Any, family: int) -> bool:
        """Whether libc needs nobody else to know `host`."""
        if is_numeric(host):
            return True
        if not self._files_first or not isinstance(host, str):
            return False
        self._hosts.reload()
        name = host.lower()
        # Where it has none of the family asked for it asks DNS.
        return (
            name in self._hosts.v4
            and family in (_socket.AF_UNSPEC, _socket.AF_INET)
        ) or (
            name in self._hosts.v6
            and family in (_socket.AF_UNSPEC, _socket.AF_INET6)
        )

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
        if self._is_at_hand(host, family) and is_number(port):
            return _socket.getaddrinfo(*args)
        return self._ask(_socket.getaddrinfo, *args)

    def gethostbyname(self, hostname: Any) -> Any:
        if isinstance(hostname, str) and self._is_at_hand(
            hostname, _socket.AF_INET
        ):
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
