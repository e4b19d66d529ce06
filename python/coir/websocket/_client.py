"""The client's side: from a URL to a WebSocket."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Sequence
from importlib import import_module
from time import monotonic
from typing import Any
from urllib.parse import unquote, urlsplit

from coir._core import WebSocketHandshake, WebSocketHandshakeError

from ._connection import (
    Deflate,
    WebSocket,
    deflate_of,
    limited,
    scheduler_of,
)

__all__ = ["connect"]

_MAX_HEAD = 65536
_STATUS_LINE = re.compile(r"HTTP/1\.[01] ([1-9][0-9][0-9])(?: (.*))?\Z")
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*\Z")


class _Url:
    """What a client needs of a ws: or wss: URL."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise ValueError(f"not a ws: or wss: URL: {url!r}")
        if parts.fragment:
            raise ValueError("a WebSocket's URL has no fragment")
        self.is_secure = parts.scheme == "wss"
        usual = 443 if self.is_secure else 80
        self.host = parts.hostname
        self.port = parts.port or usual
        name = f"[{self.host}]" if ":" in self.host else self.host
        self.authority = name if self.port == usual else f"{name}:{self.port}"
        self.target = (parts.path or "/") + (
            f"?{parts.query}" if parts.query else ""
        )
        self.authorization: str | None = None
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self.authorization = "Basic " + b64encode(pair.encode()).decode()


def _secured(sock: Any, context: ssl.SSLContext, name: str) -> Any:
    """TLS over one of our sockets, whatever class the context is of."""
    before = context.sslsocket_class
    context.sslsocket_class = import_module("coir.gevent.ssl").SSLSocket
    try:
        stream = context.wrap_socket(
            sock, server_hostname=name, do_handshake_on_connect=False
        )
    finally:
        context.sslsocket_class = before
    try:
        stream.do_handshake()
    except BaseException:
        stream.close()  # it took the number over
        raise
    return stream


def _open(
    url: _Url,
    timeout: float | None,
    ssl_context: Any,
    server_hostname: str | None,
) -> Any:
    from coir.gevent.socket import create_connection

    sock = create_connection((url.host, url.port), timeout)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not url.is_secure:
            return sock
        context = ssl_context or ssl.create_default_context()
        name = server_hostname or url.host
        return _secured(sock, context, name)
    except BaseException:
        sock.close()
        raise


def _read_head(stream: Any) -> tuple[str, bytes]:
    """The server's head, and what came after it."""
    data = bytearray()
    while (end := data.find(b"\r\n\r\n")) < 0:
        if len(data) > _MAX_HEAD:
            raise WebSocketHandshakeError(502, "the server's head is too long")
        some = stream.recv(4096)
        if not some:
            raise WebSocketHandshakeError(
                502, "the server closed the connection"
            )
        data += some
    return data[:end].decode("latin-1"), bytes(data[end + 4 :])


def _parse(head: str) -> tuple[int, str, list[tuple[str, str]]]:
    lines = head.split("\r\n")
    status = _STATUS_LINE.match(lines[0])
    if status is None:
        raise WebSocketHandshakeError(502, "the server does not speak HTTP/1")
    fields = []
    for line in lines[1:]:
        field = _FIELD.match(line)
        if field is None or "\r" in line or "\n" in line or "\0" in line:
            raise WebSocketHandshakeError(502, "the server's head is broken")
        fields.append((field[1], field[2]))
    return int(status[1]), status[2] or "", fields


def _shake_hands(
    stream: Any, shake: WebSocketHandshake, request: bytes
) -> tuple[list[tuple[str, str]], bytes]:
    stream.sendall(request)
    head, rest = _read_head(stream)
    status, reason, fields = _parse(head)
    if status != 101:
        raise WebSocketHandshakeError(
            status, f"the server answered {status} {reason}".rstrip()
        )
    for name, value in fields:
        shake.field(name, value)
    shake.check_response(status)
    return fields, rest


def connect(
    url: str,
    *,
    protocols: Sequence[str] = (),
    origin: str | None = None,
    headers: Sequence[tuple[str, str]] = (),
    deflate: bool | Deflate | None = True,
    timeout: float | None = 10.0,
    ssl_context: Any = None,
    server_hostname: str | None = None,
    sock: Any = None,
    max_message: int | None = 1 << 20,
    max_frame: int | None = None,
    max_fragments: int = 1 << 16,
    cls: type[WebSocket] = WebSocket,
) -> WebSocket:
    """Connect to a server, in the current greenlet.

    :param url: ``ws://`` or ``wss://``; with a name and password these are
        sent (Basic).
    :param protocols: subprotocols to offer, the best first.
    :param origin: value of the field Origin, for servers that want one.
    :param headers: more fields for the request.
    :param deflate: offer compression: True, False or a :class:`Deflate`.
    :param timeout: seconds, for all of it; None for no limit.
    :param ssl_context: for wss; the default checks the server's certificate.
    :param server_hostname: the name that is checked, if not the URL's.
    :param sock: a stream that is connected already, with TLS if there is to
        be; any socket-like object. It is closed if this fails.
    :param max_message: see :func:`accept`, as are the other limits.
    :raises HandshakeError: the server refuses: with its status and a text.
    :raises OSError: there is no connection; TimeoutError: not in time.
    """
    where = _Url(url)
    shake = WebSocketHandshake(
        "client", protocols=protocols, deflate=deflate_of(deflate)
    )
    more = [*headers]
    if origin is not None:
        more.append(("Origin", origin))
    if where.authorization is not None:
        more.append(("Authorization", where.authorization))
    request = shake.request(where.authority, where.target, more)
    codec_limits = {
        "max_message": max_message,
        "max_frame": max_frame,
        "max_fragments": max_fragments,
    }
    start = monotonic()
    scheduler = "coir" if sock is None else scheduler_of(sock)
    stream = sock
    try:
        with limited(scheduler, timeout):
            if stream is None:
                stream = _open(where, timeout, ssl_context, server_hostname)
            elif not scheduler and timeout is not None:
                stream.settimeout(max(0.001, start + timeout - monotonic()))
            fields, rest = _shake_hands(stream, shake, request)
    except BaseException:
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
        raise
    with contextlib.suppress(AttributeError):
        stream.settimeout(None)
    ws = cls(stream, shake.codec(**codec_limits), initial=rest)
    ws.protocol = shake.protocol
    ws.headers = fields
    return ws
