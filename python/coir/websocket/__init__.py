"""WebSocket (RFC 6455) with compressed messages (RFC 7692), for servers and
clients, on any socket-like object.

Servers: :func:`accept` takes over the connection of a WSGI request, or
:func:`wsgi_app` makes an application of a function::

    def echo(ws):
        for message in ws:
            ws.send(message)

    app = coir.websocket.wsgi_app(echo)

Clients: :func:`connect`::

    with coir.websocket.connect("wss://example.org/chat") as ws:
        ws.send("hello")
        print(ws.recv(timeout=5))

The codec itself, without input and output, is
:class:`coir._core.WebSocketCodec`.
"""

from __future__ import annotations

from coir._core import (
    WebSocketCodec,
    WebSocketError,
)
from coir._core import (
    WebSocketConnectionClosed as ConnectionClosed,
)
from coir._core import (
    WebSocketHandshakeError as HandshakeError,
)
from coir._core import (
    WebSocketProtocolError as ProtocolError,
)

from ._client import connect
from ._connection import Deflate, WebSocket
from ._server import accept, refuse, wsgi_app

__all__ = [
    "ConnectionClosed",
    "Deflate",
    "HandshakeError",
    "ProtocolError",
    "WebSocket",
    "WebSocketCodec",
    "WebSocketError",
    "accept",
    "connect",
    "refuse",
    "wsgi_app",
]
