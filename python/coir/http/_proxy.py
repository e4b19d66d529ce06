"""What proxies in front of the server say of the client.

A proxy that forwards a request connects by itself: to the application the
client seems to be the proxy, and the scheme plain http. What they really are
it says in fields of the request, which a client could have sent as well: they
are believed from the addresses that are trusted, and from nobody else.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["TrustedProxies"]

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class TrustedProxies:
    """A WSGI application in front of another, which sees the real client.

    :param app: the application behind.
    :param trusted: addresses and networks of proxies; ``"unix"`` for whoever
        comes by a Unix socket; ``"*"`` for everybody.

    ``REMOTE_ADDR`` becomes the last address in ``X-Forwarded-For`` that is
    none of a trusted proxy: what stands before it is the client's to write.
    ``wsgi.url_scheme`` becomes the last value of ``X-Forwarded-Proto`` if
    that is http or https, and ``HTTP_HOST`` the last of
    ``X-Forwarded-Host``. The peer itself is in ``coir.peer_addr``. From
    others the three fields are removed.
    """

    def __init__(
        self, app: Callable[..., Any], trusted: Iterable[str]
    ) -> None:
        self.app = app
        words = set(trusted)
        self._all = "*" in words
        self._unix = self._all or "unix" in words
        self._networks: list[_Network] = [
            ipaddress.ip_network(word, strict=False)
            for word in words - {"*", "unix"}
        ]

    def trusts(self, address: str) -> bool:
        """Is this the address of a proxy to be believed?"""
        if not address:
            return self._unix
        if self._all:
            return True
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = getattr(ip, "ipv4_mapped", None)
        return any(
            (mapped or ip) in network
            for network in self._networks
            if network.version == (mapped or ip).version
        )

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        peer: str = environ["REMOTE_ADDR"]
        environ["coir.peer_addr"] = peer
        if not self.trusts(peer):
            for name in ("FOR", "PROTO", "HOST"):
                environ.pop("HTTP_X_FORWARDED_" + name, None)
            return self.app(environ, start_response)
        client = self._client(environ.get("HTTP_X_FORWARDED_FOR", ""))
        if client:
            environ["REMOTE_ADDR"] = client
            environ["REMOTE_PORT"] = ""
        scheme = _last(environ.get("HTTP_X_FORWARDED_PROTO", "")).lower()
        if scheme in ("http", "https"):
            environ["wsgi.url_scheme"] = scheme
        host = _last(environ.get("HTTP_X_FORWARDED_HOST", ""))
        if host:
            environ["HTTP_HOST"] = host
        return self.app(environ, start_response)

    def _client(self, forwarded: str) -> str:
        address = ""
        for word in reversed(forwarded.split(",")):
            word = _without_port(word.strip())
            try:
                ipaddress.ip_address(word)
            except ValueError:
                break  # what stands before it is worth no more
            address = word
            if self._all or not self.trusts(word):
                break
        return address


def _last(value: str) -> str:
    return value.rpartition(",")[2].strip()


def _without_port(word: str) -> str:
    if word.startswith("["):
        return word[1:].partition("]")[0]
    host, colon, port = word.rpartition(":")
    return host if colon and "." in host and port.isdigit() else word
