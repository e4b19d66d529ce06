"""Who looks up the names of hosts.

The setting ``resolver`` (``GEVENT_RESOLVER``) chooses: ``thread``, the
default, ``block``, ``dnspython``, ``ares``, or the name of a class. Such a
class has the methods of :class:`AbstractResolver`.
"""

from __future__ import annotations

import _socket
import functools
from collections.abc import Callable
from typing import Any

from ._numeric import is_numeric

__all__: list[str] = []

_LOCAL = frozenset({b"", b"localhost", b"ip6-localhost"})


class AbstractResolver:
    """For resolvers that know names, and nothing else.

    What no server has to be asked for, addresses and the names of this host,
    is taken from libc, whose functions check the arguments, too. A subclass
    defines ``_getaddrinfo``, ``_gethostbyaddr`` and ``_getnameinfo``, which
    get names as bytes.
    """

    HOSTNAME_ENCODING = "idna"
    EAI_NONAME_MSG = "Name or service not known"
    EAI_FAMILY_MSG = "ai_family not supported"

    def close(self) -> None:
        """Release what it holds. Nothing, if a subclass does not say so."""

    @staticmethod
    def fixup_gaierror(func: Callable[..., Any]) -> Callable[..., Any]:
        """Decorate a method: EAI_NONAME without a text is given one."""

        @functools.wraps(func)
        def resolve(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return func(self, *args, **kwargs)
            except _socket.gaierror as exc:
                if exc.args == (_socket.EAI_NONAME,):
                    raise _socket.gaierror(
                        _socket.EAI_NONAME, self.EAI_NONAME_MSG
                    ) from exc
                raise

        return resolve

    def _hostname_to_bytes(self, hostname: Any) -> bytes:
        if isinstance(hostname, str):
            return hostname.encode(self.HOSTNAME_ENCODING)
        if isinstance(hostname, (bytes, bytearray)):
            return bytes(hostname)
        raise TypeError(
            f"Expected str, bytes or bytearray, not {type(hostname).__name__}"
        )

    @staticmethod
    def _is_local(host: bytes) -> bool:
        return host in _LOCAL or host == b"<broadcast>" or is_numeric(host)

    # --- the functions of the module socket -----------------------------

    def gethostbyname(
        self, hostname: Any, family: int = _socket.AF_INET
    ) -> str:
        host = self._hostname_to_bytes(hostname)
        if self._is_local(host) and b":" not in host:
            return _socket.gethostbyname(hostname)
        addresses: list[str] = self.gethostbyname_ex(host, family)[-1]
        return addresses[0]

    def gethostbyname_ex(
        self, hostname: Any, family: int = _socket.AF_INET
    ) -> Any:
        host = self._hostname_to_bytes(hostname)
        if self._is_local(host) and b":" not in host:
            return _socket.gethostbyname_ex(hostname)
        return self._gethostbyname_ex(host, family)

    def getaddrinfo(
        self,
        host: Any,
        port: Any,
        family: int = 0,
        socktype: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        name = None if host is None else self._hostname_to_bytes(host)
        if (
            name is None
            or flags & _socket.AI_NUMERICHOST
            or self._is_local(name)
            or b"%" in name
        ):
            return _socket.getaddrinfo(
                host, port, family, socktype, proto, flags
            )
        result: list[Any] = self._getaddrinfo(
            name, port, family, socktype, proto, flags
        )
        return result

    def gethostbyaddr(self, ip_address: Any) -> Any:
        host = self._hostname_to_bytes(ip_address)
        if host in _LOCAL or host in (b"127.0.0.1", b"::1", b"<broadcast>"):
            return _socket.gethostbyaddr(ip_address)
        return self._gethostbyaddr(host)

    def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        numeric = _socket.NI_NUMERICHOST | _socket.NI_NUMERICSERV
        if (
            not isinstance(flags, int)
            or not isinstance(sockaddr, tuple)
            or len(sockaddr) < 2
            or not isinstance(sockaddr[1], int)
        ):
            return _socket.getnameinfo(sockaddr, flags)  # which refuses it
        host = self._hostname_to_bytes(sockaddr[0])
        if is_numeric(host) and (
            flags & numeric == numeric or host in (b"127.0.0.1", b"::1")
        ):
            return _socket.getnameinfo(sockaddr, flags)
        if len(sockaddr) > 2 and sockaddr[2] > 0xFFFFF:
            raise OverflowError("getnameinfo(): flowinfo must be 0-1048575.")
        return self._getnameinfo(host, sockaddr[1] & 0xFFFF, sockaddr, flags)

    # --- for subclasses -------------------------------------------------

    def _getaddrinfo(
        self,
        host_bytes: bytes,
        port: Any,
        family: int,
        socktype: int,
        proto: int,
        flags: int,
    ) -> Any:
        raise NotImplementedError

    def _gethostbyaddr(self, ip_address_bytes: bytes) -> Any:
        raise NotImplementedError

    def _getnameinfo(
        self, address_bytes: bytes, port: int, sockaddr: Any, flags: int
    ) -> Any:
        raise NotImplementedError

    def _getaliases(self, hostname: bytes, family: int) -> list[str]:
        return []

    def _gethostbyname_ex(self, hostname_bytes: bytes, family: int) -> Any:
        found = self.getaddrinfo(
            hostname_bytes,
            0,
            family,
            _socket.SOCK_STREAM,
            _socket.IPPROTO_TCP,
            _socket.AI_CANONNAME,
        )
        return (
            found[0][3],
            self._getaliases(hostname_bytes, family),
            [entry[4][0] for entry in found],
        )
