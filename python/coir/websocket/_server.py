"""The server's side: from a WSGI request to a WebSocket.

How a connection is taken over is each server's own affair; the ones that are
known are in :func:`_taken_over`.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from coir._core import (
    WebSocketError,
    WebSocketHandshake,
    WebSocketHandshakeError,
)

from ._connection import Deflate, WebSocket, deflate_of

__all__ = ["accept", "refuse", "wsgi_app"]

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Origins = Iterable[str] | Callable[[str | None, Environ], bool]

_FIELDS = {
    "HTTP_UPGRADE": "Upgrade",
    "HTTP_CONNECTION": "Connection",
    "HTTP_SEC_WEBSOCKET_KEY": "Sec-WebSocket-Key",
    "HTTP_SEC_WEBSOCKET_VERSION": "Sec-WebSocket-Version",
    "HTTP_SEC_WEBSOCKET_PROTOCOL": "Sec-WebSocket-Protocol",
    "HTTP_SEC_WEBSOCKET_EXTENSIONS": "Sec-WebSocket-Extensions",
}

_REASONS = {
    400: "Bad Request",
    403: "Forbidden",
    405: "Method Not Allowed",
    426: "Upgrade Required",
    501: "Not Implemented",
}


def _check_origin(environ: Environ, origins: Origins | None) -> None:
    if origins is None:
        return
    origin = environ.get("HTTP_ORIGIN")
    if callable(origins):
        is_allowed = origins(origin, environ)
    else:
        is_allowed = origin in set(origins)
    if not is_allowed:
        raise WebSocketHandshakeError(403, "origin is not allowed")


def _shake_hands(
    environ: Environ, protocols: Sequence[str], deflate: Deflate | None
) -> WebSocketHandshake:
    shake = WebSocketHandshake("server", protocols=protocols, deflate=deflate)
    for key, name in _FIELDS.items():
        value = environ.get(key)
        if value is not None:
            shake.field(name, value)
    minor = 1
    # eventlet's server says "HTTP/1.0" whatever the client does.
    if "eventlet.input" not in environ:
        minor = environ.get("SERVER_PROTOCOL") not in ("HTTP/1.0", "HTTP/0.9")
    shake.check_request(environ["REQUEST_METHOD"], minor)
    return shake


def _response_headers(shake: WebSocketHandshake) -> list[tuple[str, str]]:
    headers = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", shake.accept),
    ]
    if shake.protocol is not None:
        headers.append(("Sec-WebSocket-Protocol", shake.protocol))
    if shake.extensions:
        headers.append(("Sec-WebSocket-Extensions", shake.extensions))
    return headers


def _below(reader: Any) -> tuple[Any, bytes]:
    """The socket that a server's reader of requests reads from, or None, and
    what it has read beyond the request, if it can tell."""
    reader = getattr(reader, "rfile", reader)
    sock = getattr(getattr(reader, "raw", None), "_sock", None)
    take = getattr(reader, "take_buffered", None)
    return sock, b"" if sock is None or take is None else take()


def _taken_over(environ: Environ) -> tuple[Any, Any, bytes]:
    """The connection of a request, what the application must return so that
    the server lets go of it, and what was read of it already.

    Some servers cannot tell the latter. It matters to none but clients that
    send messages before they have our answer, which they must not.

    :raises WebSocketHandshakeError: 501: no way is known.
    """
    source = environ.get("eventlet.input")
    if source is not None:
        module = sys.modules.get(type(source).__module__)
        response = getattr(module, "ALREADY_HANDLED", ())
        return source.get_socket(), response, b""
    sock = environ.get("gunicorn.socket")
    if sock is not None:
        worker = sys.modules.get("gunicorn.workers.base_async")
        return sock, getattr(worker, "ALREADY_HANDLED", ()), b""
    sock = environ.get("werkzeug.socket")
    rest = b""
    if sock is None:
        sock, rest = _below(environ.get("wsgi.input"))
    if sock is None:
        raise WebSocketHandshakeError(
            501, "this server does not give its connection away"
        )
    return sock, (), rest


def accept(
    environ: Environ,
    start_response: StartResponse | None = None,
    *,
    protocols: Sequence[str] = (),
    origins: Origins | None = None,
    deflate: bool | Deflate | None = True,
    headers: Sequence[tuple[str, str]] = (),
    max_message: int | None = 1 << 20,
    max_frame: int | None = None,
    max_fragments: int = 1 << 16,
    cls: type[WebSocket] = WebSocket,
) -> WebSocket:
    """Answer a WSGI request for a WebSocket by 101, and take over its
    connection.

    Works under :mod:`coir.http`, gevent's and :mod:`coir.gevent.pywsgi`,
    eventlet's WSGI server, and gunicorn's workers for these. The application
    is to use the WebSocket, close it, and then return its ``response``.

    :param start_response: not called; :func:`refuse` needs it.
    :param protocols: subprotocols that are known; the first one of the
        client's list that is in here is chosen.
    :param origins: who may connect: values of the field Origin, or a function
        of that (None if there is none) and the environ. None allows all; a
        site that tells users by cookies must not.
    :param deflate: accept compression; False: never; a :class:`Deflate`.
    :param headers: more fields for the answer.
    :param max_message: bytes, unpacked; None for no limit.
    :param max_frame: bytes, as they are sent.
    :raises HandshakeError: with a status and a text: it is refused. Nothing
        was sent.
    """
    shake = _shake_hands(environ, protocols, deflate_of(deflate))
    _check_origin(environ, origins)
    codec = shake.codec(
        max_message=max_message,
        max_frame=max_frame,
        max_fragments=max_fragments,
    )
    upgrade = environ.get("coir.upgrade")
    if upgrade is not None:
        stream = upgrade(
            "101 Switching Protocols", _response_headers(shake) + [*headers]
        )
        # When the server begins to stop, recv() is to tell the client.
        heed_stop = getattr(stream, "heed_stop", None)
        if heed_stop is not None:
            heed_stop(True)
        ws = cls(stream, codec)
    else:
        head = shake.response(headers)
        stream, response, rest = _taken_over(environ)
        with contextlib.suppress(OSError, AttributeError):
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.sendall(head)
        # The server still has it, and will close it.
        ws = cls(stream, codec, initial=rest, owns_stream=False)
        ws.response = response
    ws.protocol = shake.protocol
    ws.environ = environ
    return ws


def refuse(
    start_response: StartResponse, error: WebSocketHandshakeError
) -> list[bytes]:
    """Answer a request that :func:`accept` has refused.

    :returns: what the application is to return.
    """
    status, text = error.args
    headers = [("Content-Type", "text/plain")]
    if status == 426:
        headers.append(("Upgrade", "websocket"))
        headers.append(("Sec-WebSocket-Version", "13"))
    if status == 405:
        headers.append(("Allow", "GET"))
    body = f"{text}\n".encode()
    headers.append(("Content-Length", str(len(body))))
    start_response(f"{status} {_REASONS.get(status, 'Refused')}", headers)
    return [body]


def wsgi_app(
    handler: Callable[[WebSocket], Any], **options: Any
) -> Callable[[Environ, StartResponse], Any]:
    """A WSGI application that answers each request by a WebSocket, and calls
    ``handler(ws)``.

    The WebSocket is closed when that returns, with 1011 if it raised. That
    the peer went away is no error.

    :param options: of :func:`accept`.
    """

    def app(environ: Environ, start_response: StartResponse) -> Any:
        try:
            ws = accept(environ, start_response, **options)
        except WebSocketHandshakeError as exc:
            return refuse(start_response, exc)
        with contextlib.suppress(WebSocketError), ws:
            handler(ws)
        return ws.response

    return app
