"""Look-ups by dnspython, a resolver in Python, in the hub's pool of threads.

For names that the file of hosts has, for addresses, and for services by name
it is libc that is asked, as by :mod:`gevent.resolver.thread`. The modules of
dnspython are the ordinary ones, with the settings that the program makes in
``dns.resolver``.
"""

from __future__ import annotations

import _socket
from typing import Any

import dns.resolver
import dns.reversename

from . import AbstractResolver
from ._numeric import is_number, is_numeric
from .thread import Resolver as ThreadResolver

__all__ = ["Resolver"]


class Resolver(ThreadResolver, AbstractResolver):
    """Looks names up with ``dns.resolver.get_default_resolver()``."""

    def __init__(self, hub: Any = None) -> None:
        super().__init__(hub)
        if dns.resolver._resolver is None:
            # What its functions of the kind of getaddrinfo() use.
            dns.resolver._resolver = dns.resolver.get_default_resolver()

    @property
    def resolver(self) -> Any:
        """dnspython's resolver."""
        return dns.resolver.get_default_resolver()

    def _is_known(self, host: Any) -> bool:
        """Whether it is not for DNS."""
        if is_numeric(host):
            return True
        if isinstance(host, (bytes, bytearray)):
            host = host.decode("ascii", "replace")
        if not isinstance(host, str) or not host:
            return True  # libc says what is wrong
        name = host.rstrip(".").lower()
        self._hosts.reload()
        return (
            name == "localhost"
            or name.endswith(".localhost")
            or name in self._hosts.v4
            or name in self._hosts.v6
        )

    def getaddrinfo(
        self,
        host: Any,
        port: Any,
        family: int = 0,
        socktype: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        args = host, port, family, socktype, proto, flags
        if self._is_known(host) or not is_number(port):
            return super().getaddrinfo(*args)
        return self._ask(dns.resolver._getaddrinfo, *args)

    def gethostbyname(
        self, hostname: Any, family: int = _socket.AF_INET
    ) -> Any:
        if family != _socket.AF_INET:
            return self.gethostbyname_ex(hostname, family)[-1][0]
        if self._is_known(hostname):
            return super().gethostbyname(hostname)
        return self._ask(dns.resolver._gethostbyname, hostname)

    def gethostbyname_ex(
        self, hostname: Any, family: int = _socket.AF_INET
    ) -> Any:
        if family != _socket.AF_INET:
            return self._gethostbyname_ex(hostname, family)
        if self._is_known(hostname):
            return super().gethostbyname_ex(hostname)
        return self._ask(dns.resolver._gethostbyname_ex, hostname)

    def gethostbyaddr(self, ip_address: Any) -> Any:
        if not is_numeric(ip_address):
            [found, *_] = self.getaddrinfo(ip_address, None)
            ip_address = found[4][0]
        self._hosts.reload()
        if ip_address in self._hosts.reverse:
            return super().gethostbyaddr(ip_address)
        return self._ask(dns.resolver._gethostbyaddr, ip_address)

    def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        if flags & _socket.NI_NUMERICHOST or (
            isinstance(sockaddr, tuple) and self._is_known(sockaddr[0])
        ):
            return super().getnameinfo(sockaddr, flags)
        return self._ask(dns.resolver._getnameinfo, sockaddr, flags)
