"""c-ares, as far as look-ups need it.

ImportError where Coir was built without c-ares.
"""

from __future__ import annotations

import _socket
import functools
from collections.abc import Callable, Sequence
from typing import Any

try:
    from coir._core import AresChannel
except ImportError:
    raise ImportError(
        "this build of Coir has no c-ares; GEVENT_RESOLVER=thread does "
        "without it"
    ) from None

__all__ = ["channel"]


class InvalidIP(ValueError):
    """It is not an address."""


class Result:
    """The end of a look-up, as :class:`channel` hands it over.

    :ivar value: what was found.
    :ivar exception: None, or why nothing was.
    """

    __slots__ = ("exception", "value")

    def __init__(self, value: Any = None, exception: Any = None) -> None:
        self.value = value
        self.exception = exception

    def __repr__(self) -> str:
        if self.exception is not None:
            return f"{type(self).__name__}(exception={self.exception!r})"
        return f"{type(self).__name__}({self.value!r})"

    def successful(self) -> bool:
        return self.exception is None

    def get(self) -> Any:
        """The value; raises the exception, if it is that."""
        if self.exception is not None:
            raise self.exception
        return self.value


class ares_host_result(tuple[str, list[str], list[str]]):
    """(name, aliases, addresses); `family` is that of the addresses."""

    family: int

    def __new__(cls, family: int, iterable: Any) -> ares_host_result:
        self = super().__new__(cls, iterable)
        self.family = family
        return self

    def __getnewargs__(self) -> Any:
        return self.family, tuple(self)


def _call(callback: Callable[[Result], Any], value: Any, exc: Any) -> None:
    callback(Result(value, exc))


def _call_with_host(
    callback: Callable[[Result], Any], value: Any, exc: Any
) -> None:
    if exc is None:
        family, *rest = value
        value = ares_host_result(family, rest)
    callback(Result(value, exc))


def _checked(
    bound: Callable[..., None], callback: Callable[[Result], Any]
) -> Callable[..., None]:
    if not callable(callback):
        raise TypeError(f"{callback!r} cannot be called")
    return functools.partial(bound, callback)


def _packed(address: str | bytes) -> bytes:
    text = address.decode("latin-1") if isinstance(address, bytes) else address
    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            return _socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
    raise InvalidIP(repr(address))


def _number(value: Any) -> int:
    return -1 if value is None else int(value)


class channel:
    """Look-ups in the loop, without threads.

    Each method returns at once and calls ``callback(Result)`` in the hub; a
    :class:`gevent.hub.Waiter` is such a callback. Settings that are None are
    those of the system's resolv.conf.

    :param timeout: seconds for the first try with a server.
    :param servers: addresses, in a list or a text with commas.
    """

    def __init__(
        self,
        loop: Any,
        flags: Any = None,
        timeout: Any = None,
        tries: Any = None,
        ndots: Any = None,
        udp_port: Any = None,
        tcp_port: Any = None,
        servers: str | Sequence[str] | None = None,
    ) -> None:
        self._ares = AresChannel(
            loop,
            _number(flags),
            -1 if timeout is None else int(float(timeout) * 1000),
            _number(tries),
            _number(ndots),
            _number(udp_port),
            _number(tcp_port),
        )
        if servers is not None:
            self.set_servers(servers)

    @property
    def loop(self) -> Any:
        """In which it works."""
        return self._ares.loop

    @property
    def destroyed(self) -> bool:
        """Whether it was."""
        return self._ares.destroyed

    @property
    def watched(self) -> list[int]:
        """Descriptors by which it talks to servers now."""
        return self._ares.watched

    def destroy(self) -> None:
        """End all look-ups, with an error. Idempotent."""
        self._ares.destroy()

    def __repr__(self) -> str:
        state = " destroyed" if self.destroyed else ""
        return f"<{type(self).__name__} at {id(self):#x}{state}>"

    def set_servers(self, servers: Any = None) -> None:
        """Ask these from now on; InvalidIP for what is no address."""
        if isinstance(servers, str):
            servers = servers.split(",")
        names = [
            s.decode() if isinstance(s, bytes) else s.strip()
            for s in servers or ()
        ]
        for name in names:
            _packed(name)
        if names or self.destroyed:
            self._ares.set_servers(",".join(names).encode())

    def getaddrinfo(
        self,
        callback: Callable[[Result], Any],
        name: bytes,
        service: bytes | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> None:
        """As :func:`socket.getaddrinfo`, whose list is the value."""
        self._ares.getaddrinfo(
            _checked(_call, callback),
            name,
            service,
            family,
            type,
            proto,
            flags,
        )

    def gethostbyname(
        self,
        callback: Callable[[Result], Any],
        name: bytes,
        family: int = _socket.AF_INET,
    ) -> None:
        """The value is an :class:`ares_host_result`."""
        self._ares.gethostbyname(
            _checked(_call_with_host, callback), name, family
        )

    def gethostbyaddr(
        self, callback: Callable[[Result], Any], addr: bytes
    ) -> None:
        """The same of an address, InvalidIP if it is none."""
        self._ares.gethostbyaddr(
            _checked(_call_with_host, callback), _packed(addr)
        )

    def getnameinfo(
        self, callback: Callable[[Result], Any], sockaddr: Any, flags: int
    ) -> None:
        """The value is (host, service); InvalidIP if it has no address."""
        host, port, *rest = sockaddr
        self._ares.getnameinfo(
            _checked(_call, callback),
            _packed(host),
            port,
            flags,
            *rest,
        )
