"""What ``GEVENT_RESOLVER=ares`` gives: look-ups by c-ares, in the loop.

It asks DNS by itself, without threads, so that thousands of look-ups at once
cost little. What it does not know, it does not do: nsswitch.conf and its
modules (mDNS, LDAP), or a resolver that systemd has. The default, libc in
threads, always has the system's results.
"""

from __future__ import annotations

import _socket
import warnings
from typing import Any

from coir._core import Waiter
from coir.gevent._config import AresSettingMixin, config
from coir.gevent._hub_local import get_hub

from . import AbstractResolver
from ._numeric import is_numeric
from .cares import InvalidIP, channel

__all__ = ["Resolver"]

_FAMILIES = (_socket.AF_UNSPEC, _socket.AF_INET, _socket.AF_INET6)


def _services(port: Any, socktype: int, proto: int, flags: int) -> Any:
    """What libc makes of a service: (type, protocol, port) of each."""
    flags &= _socket.AI_NUMERICSERV
    # Of an address that needs no look-up: without one, a port is required.
    found = _socket.getaddrinfo(
        "127.0.0.1", port, _socket.AF_INET, socktype, proto, flags
    )
    return [(type, proto, at[1]) for _, type, proto, _, at in found]


class Resolver(AbstractResolver):
    """Looks names up by c-ares in the loop of `hub`.

    Services are libc's, as are addresses and the names of this host. Of
    aliases and of the order of addresses c-ares has its own idea.

    :param use_environ: take what is not given from the settings, such as
        ``resolver_nameservers``.
    :param kwargs: as :class:`gevent.resolver.cares.channel` has them.
    """

    #: What is made for the hub's loop.
    cares_class = channel

    cares: Any = None

    def __init__(
        self, hub: Any = None, use_environ: bool = True, **kwargs: Any
    ) -> None:
        self.hub = get_hub() if hub is None else hub
        if use_environ:
            for setting in config.settings.values():
                if isinstance(setting, AresSettingMixin):
                    value = setting.get()
                    if value is not None:
                        kwargs.setdefault(setting.kwarg_name, value)
        self.params = kwargs
        self.cares = self.cares_class(self.hub.loop, **kwargs)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__module__}.{type(self).__name__} at "
            f"{id(self):#x} ares={self.cares!r}>"
        )

    def close(self) -> None:
        """Look-ups in progress fail, and new ones."""
        if self.cares is not None:
            self.cares.destroy()
            self.cares = None

    def __del__(self) -> None:
        if self.cares is not None:
            warnings.warn(
                f"{self!r} was not closed",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
            self.close()

    def _ask(self, method: str, *args: Any) -> Any:
        if self.cares is None:
            raise _socket.gaierror(_socket.EAI_FAIL, "the resolver was closed")
        waiter = Waiter(self.hub)
        getattr(self.cares, method)(waiter, *args)
        return waiter.get()

    def _not_found(self) -> Exception:
        return _socket.gaierror(_socket.EAI_NONAME, self.EAI_NONAME_MSG)

    def _getaddrinfo(
        self,
        host_bytes: bytes,
        port: Any,
        family: int,
        socktype: int,
        proto: int,
        flags: int,
    ) -> Any:
        if family not in _FAMILIES:
            raise _socket.gaierror(_socket.EAI_FAMILY, self.EAI_FAMILY_MSG)
        services = _services(port, socktype, proto, flags)
        found = self._ask(
            "getaddrinfo",
            host_bytes,
            None,
            family,
            _socket.SOCK_STREAM,
            0,
            flags,
        )
        if not found:
            raise self._not_found()
        name = ""
        if flags & _socket.AI_CANONNAME:
            name = found[0][3] or host_bytes.decode("ascii")
        result = []
        for family, _, _, _, address in found:
            for kind, protocol, number in services:
                at = (address[0], number, *address[2:])
                result.append((family, kind, protocol, name, at))
                name = ""  # of the first one only, as libc does
        return result

    def _gethostbyname_ex(self, hostname_bytes: bytes, family: int) -> Any:
        try:
            result = self._ask("gethostbyname", hostname_bytes, family)
        except _socket.herror as exc:
            if exc.args[0] == 1:  # HOST_NOT_FOUND
                raise self._not_found() from None
            raise
        if not result[-1]:
            raise self._not_found()
        return tuple(result)

    def _gethostbyaddr(self, ip_address_bytes: bytes) -> Any:
        try:
            found = self._ask("gethostbyaddr", ip_address_bytes)
        except InvalidIP:
            address = self._getaddrinfo(
                ip_address_bytes, None, 0, _socket.SOCK_DGRAM, 0, 0
            )[0][-1][0]
            found = self._ask("gethostbyaddr", address.encode("ascii"))
        return tuple(found)

    def _getnameinfo(
        self, address_bytes: bytes, port: int, sockaddr: Any, flags: int
    ) -> Any:
        look_up = (
            _socket.getaddrinfo
            if is_numeric(address_bytes)
            else self._getaddrinfo
        )
        found = look_up(address_bytes, port, 0, _socket.SOCK_DGRAM, 0, 0)
        if len(found) != 1:
            raise OSError("sockaddr resolved to multiple addresses")
        family, address = found[0][0], found[0][-1]
        if family == _socket.AF_INET:
            if len(sockaddr) != 2:
                raise OSError("IPv4 sockaddr must be 2 tuple")
        else:
            address = address[:2] + sockaddr[2:]
        node, service = self._ask("getnameinfo", address, flags)
        if service is None:
            raise self._not_found()
        return node, service or "0"
