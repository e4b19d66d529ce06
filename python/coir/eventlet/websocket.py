"""WebSocket handlers as WSGI applications.

RFC 6455 (protocol versions 13 and 8) with permessage-deflate goes through the
codec in C; its predecessors, hixie-75 and hixie-76, are here.

Behaves as ``eventlet.websocket``, eventlet 0.41. Where a peer breaks the
protocol the codec is stricter: see docs/reference/python/websocket.md.
"""

from __future__ import annotations

import base64
import collections
import errno
import hashlib
import struct
import sys
from collections.abc import Callable
from importlib import import_module
from socket import SHUT_WR
from typing import Any

from coir._core import (
    WEBSOCKET_DEFLATE,
    WebSocketCodec,
    WebSocketConnectionClosed,
    WebSocketProtocolError,
)

from . import semaphore
from .support import get_errno

__all__ = ["WebSocketWSGI", "WebSocket"]

#: Errors of a handler that mean that the client went away.
ACCEPTABLE_CLIENT_ERRORS = {errno.ECONNRESET, errno.EPIPE, errno.ESHUTDOWN}
DEFAULT_MAX_FRAME_LENGTH = 8 << 20
PROTOCOL_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#: Codes that may stand in a close frame.
VALID_CLOSE_STATUS = {
    *range(1000, 1004),
    *range(1007, 1012),
    *range(3000, 5000),
}

_Headers = list[tuple[str, str]]
_Extensions = dict[str, dict[str, Any]]


class BadRequest(Exception):
    """The handshake is refused, by this status."""

    def __init__(
        self,
        status: str = "400 Bad Request",
        body: bytes | None = None,
        headers: _Headers | None = None,
    ) -> None:
        super().__init__()
        self.status = status
        self.body = body
        self.headers = headers


class ConnectionClosedError(Exception):
    """The connection has ended."""


class FailedConnectionError(Exception):
    """The peer has broken the protocol: close code and text."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message


class ProtocolError(ValueError):
    """No such frame can be sent."""


# --- the opening handshake ---------------------------------------------------


def _socket_of(environ: dict[str, Any]) -> Any:
    if "eventlet.input" in environ:
        return environ["eventlet.input"].get_socket()
    if "gunicorn.socket" in environ:
        return environ["gunicorn.socket"]
    raise Exception(
        "the environ has neither eventlet.input nor gunicorn.socket"
    )


def _key_number(key: str) -> int:
    """hixie-76: the digits of a key, by the number of its spaces."""
    digits = "".join(c for c in key if c in "0123456789")
    spaces = key.count(" ")
    if not digits or not spaces:
        raise BadRequest()
    return int(digits) // spaces


def _parse_extensions(header: str) -> list[tuple[str, dict[str, Any]]]:
    """Names and parameters, in the client's order; a parameter without a
    value is True."""
    found = []
    for element in header.split(","):
        name, *parameters = (part.strip() for part in element.split(";"))
        config: dict[str, Any] = {}
        for parameter in filter(None, parameters):
            key, equals, value = parameter.partition("=")
            config[key.strip().lower()] = (
                value.strip().strip('"').lower() if equals else True
            )
        found.append((name.lower(), config))
    return found


def _agreed_bits(value: Any) -> int | None:
    """What to answer to an offer of window bits; None: it makes no sense."""
    if value is True:
        return 15
    return int(value) if value.isdecimal() and 8 <= int(value) <= 15 else None


def _agree(header: str | None) -> _Extensions:
    """The first offer of compression that is possible."""
    if not header or not WEBSOCKET_DEFLATE:
        return {}
    for name, offer in _parse_extensions(header):
        if name != "permessage-deflate":
            continue
        config: dict[str, Any] = {
            flag: bool(offer.get(flag, False))
            for flag in (
                "server_no_context_takeover",
                "client_no_context_takeover",
            )
        }
        for key in ("server_max_window_bits", "client_max_window_bits"):
            if key in offer:
                config[key] = _agreed_bits(offer[key])
        if None not in config.values():
            return {name: config}
    return {}


def _extensions_header(extensions: _Extensions) -> str:
    elements = []
    for name, config in extensions.items():
        parts = [name]
        for key, value in config.items():
            if value is True:
                parts.append(key)
            elif value is not False:
                parts.append(f"{key}={value}")
        elements.append("; ".join(parts))
    return ", ".join(elements)


class WebSocketWSGI:
    """A WSGI application of a function that gets a :class:`WebSocket`::

        @WebSocketWSGI
        def handler(ws):
            ws.send(ws.wait())

    The connection is closed when the function returns.

    :param max_frame_length: bytes of a frame, and of a compressed message
        once it is unpacked.
    """

    def __init__(
        self,
        handler: Callable[[WebSocket], Any],
        max_frame_length: int = DEFAULT_MAX_FRAME_LENGTH,
    ) -> None:
        self.handler = handler
        self.protocol_version: int | None = None
        self.support_legacy_versions = True
        self.supported_protocols: Any = []
        self.origin_checker: Any = None
        self.max_frame_length = max_frame_length

    @classmethod
    def configured(
        cls,
        handler: Callable[[WebSocket], Any] | None = None,
        supported_protocols: Any = None,
        origin_checker: Any = None,
        support_legacy_versions: bool = False,
    ) -> Any:
        """Make one with options, also as a decorator with arguments.

        :param supported_protocols: subprotocols; the first one of the
            client's is chosen that is among them.
        :param origin_checker: called with the fields Host and Origin; false
            refuses.
        :param support_legacy_versions: accept hixie-75 and hixie-76, too.
        """

        def decorate(function: Callable[[WebSocket], Any]) -> WebSocketWSGI:
            made = cls(function)
            made.support_legacy_versions = support_legacy_versions
            made.origin_checker = origin_checker
            if supported_protocols:
                made.supported_protocols = supported_protocols
            return made

        return decorate if handler is None else decorate(handler)

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> list[bytes]:
        connection = environ.get("HTTP_CONNECTION", "").lower().split(",")
        if (
            "upgrade" not in (part.strip() for part in connection)
            or environ.get("HTTP_UPGRADE", "").lower() != "websocket"
        ):
            start_response("400 Bad Request", [("Connection", "close")])
            return []
        try:
            ws = self._shake_hands(environ)
        except BadRequest as exc:
            start_response(
                exc.status, [("Connection", "close"), *(exc.headers or [])]
            )
            return [exc.body or b""]
        # A server that stops need not wait for it.
        if "eventlet.set_idle" in environ:
            environ["eventlet.set_idle"]()
        try:
            self.handler(ws)
        except OSError as exc:
            if get_errno(exc) not in ACCEPTABLE_CLIENT_ERRORS and not (
                isinstance(exc, WebSocketConnectionClosed)
            ):
                raise
        ws._send_closing_frame(True)
        wsgi: Any = import_module(".wsgi", __package__)
        # Its server is not to miss start_response().
        wsgi.WSGI_LOCAL.already_handled = True
        return []

    def _shake_hands(self, environ: dict[str, Any]) -> WebSocket:
        if "HTTP_SEC_WEBSOCKET_VERSION" in environ:
            return self._handle_hybi_request(environ)
        if self.support_legacy_versions:
            return self._handle_legacy_request(environ)
        raise BadRequest()

    # --- hixie-75, hixie-76 ---

    def _handle_legacy_request(self, environ: dict[str, Any]) -> WebSocket:
        sock = _socket_of(environ)
        digest = b""
        if "HTTP_SEC_WEBSOCKET_KEY1" in environ:
            self.protocol_version = 76
            if "HTTP_SEC_WEBSOCKET_KEY2" not in environ:
                raise BadRequest()
            numbers = struct.pack(
                ">II",
                _key_number(environ["HTTP_SEC_WEBSOCKET_KEY1"]) & 0xFFFFFFFF,
                _key_number(environ["HTTP_SEC_WEBSOCKET_KEY2"]) & 0xFFFFFFFF,
            )
            # Eight bytes follow the head, of which it does not tell.
            environ["wsgi.input"].content_length = 8
            digest = hashlib.md5(
                numbers + environ["wsgi.input"].read(8), usedforsecurity=False
            ).digest()
        else:
            self.protocol_version = 75
        sock.sendall(self._legacy_head(environ) + digest)
        return WebSocket(sock, environ, self.protocol_version)

    def _legacy_head(self, environ: dict[str, Any]) -> bytes:
        secure = environ.get("wsgi.url_scheme") == "https"
        location = (
            f"{'wss' if secure else 'ws'}://{environ.get('HTTP_HOST')}"
            f"{environ.get('SCRIPT_NAME')}{environ.get('PATH_INFO')}"
        )
        query = environ.get("QUERY_STRING")
        if query is not None:
            location += f"?{query}"
        origin = environ.get("HTTP_ORIGIN")
        lines = ["Upgrade: WebSocket", "Connection: Upgrade"]
        if self.protocol_version == 75:
            first = "HTTP/1.1 101 Web Socket Protocol Handshake"
            lines += [
                f"WebSocket-Origin: {origin}",
                f"WebSocket-Location: {location}",
            ]
        else:
            first = "HTTP/1.1 101 WebSocket Protocol Handshake"
            protocol = environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", "default")
            lines += [
                f"Sec-WebSocket-Origin: {origin}",
                f"Sec-WebSocket-Protocol: {protocol}",
                f"Sec-WebSocket-Location: {location}",
            ]
        return "\r\n".join([first, *lines, "", ""]).encode("latin-1")

    # --- RFC 6455, and its draft 8 ---

    def _handle_hybi_request(self, environ: dict[str, Any]) -> WebSocket:
        sock = _socket_of(environ)
        version = environ["HTTP_SEC_WEBSOCKET_VERSION"]
        if version not in ("8", "13"):
            raise BadRequest(
                "426 Upgrade Required",
                headers=[("Sec-WebSocket-Version", "8, 13")],
            )
        self.protocol_version = int(version)
        if "HTTP_SEC_WEBSOCKET_KEY" not in environ:
            raise BadRequest()
        self._check_origin(environ)
        protocol = self._choose_protocol(environ)
        extensions = _agree(environ.get("HTTP_SEC_WEBSOCKET_EXTENSIONS"))
        key = environ["HTTP_SEC_WEBSOCKET_KEY"].encode("latin-1")
        digest = hashlib.sha1(key + PROTOCOL_GUID, usedforsecurity=False)
        lines = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Accept: "
            + base64.b64encode(digest.digest()).decode(),
        ]
        if protocol:
            lines.append(f"Sec-WebSocket-Protocol: {protocol}")
        if extensions:
            header = _extensions_header(extensions)
            lines.append(f"Sec-WebSocket-Extensions: {header}")
        sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        return RFC6455WebSocket(
            sock,
            environ,
            self.protocol_version,
            protocol=protocol,
            extensions=extensions,
            max_frame_length=self.max_frame_length,
        )

    def _check_origin(self, environ: dict[str, Any]) -> None:
        if self.origin_checker is None:
            return
        origin = environ.get("HTTP_ORIGIN")
        if origin is None:
            origin = ""
            if self.protocol_version == 8:
                origin = environ.get("HTTP_SEC_WEBSOCKET_ORIGIN", "")
        if not self.origin_checker(environ.get("HTTP_HOST"), origin):
            raise BadRequest("403 Forbidden")

    def _choose_protocol(self, environ: dict[str, Any]) -> str | None:
        wanted = environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL") or ""
        for name in wanted.split(","):
            if name.strip() in self.supported_protocols:
                return str(name.strip())
        return None


# --- connections of hixie-75 and hixie-76 ------------------------------------


class WebSocket:
    """A connection: :meth:`send`, :meth:`wait`, :meth:`close`.

    :ivar path: the request's PATH_INFO.
    :ivar origin: its field Origin, or None.
    :ivar protocol: the subprotocol, or None.
    :ivar environ: all of its environ.
    """

    def __init__(
        self, sock: Any, environ: dict[str, Any], version: int = 76
    ) -> None:
        self.log: Any = environ.get("wsgi.errors", sys.stderr)
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        self.log_context = (
            f"server={environ.get('HTTP_HOST')}/{path}"
            f" client={environ.get('REMOTE_ADDR')}"
            f":{environ.get('REMOTE_PORT')}"
        )
        self.socket = sock
        self.origin = environ.get("HTTP_ORIGIN")
        self.protocol = environ.get("HTTP_WEBSOCKET_PROTOCOL")
        self.path = environ.get("PATH_INFO")
        self.environ = environ
        self.version = version
        self.websocket_closed = False
        self._buf = b""
        self._msgs: collections.deque[Any] = collections.deque()
        self._sendlock = semaphore.Semaphore()

    def _pack_message(self, message: Any) -> bytes:
        if isinstance(message, str):
            message = message.encode("utf-8")
        elif not isinstance(message, bytes):
            message = str(message).encode()
        return b"\x00" + bytes(message) + b"\xff"

    def _parse_messages(self) -> list[str]:
        """Take complete messages off the buffer."""
        messages = []
        while self._buf:
            if self._buf[0] == 0xFF:
                if len(self._buf) < 2:
                    break
                if self._buf[1] != 0:
                    raise ValueError(f"no closing frame: {self._buf!r}")
                self.websocket_closed = True
                break
            if self._buf[0] != 0:
                raise ValueError(f"no frame that is known: {self._buf!r}")
            end = self._buf.find(b"\xff")
            if end < 0:
                break
            messages.append(self._buf[1:end].decode("utf-8", "replace"))
            self._buf = self._buf[end + 1 :]
        return messages

    def send(self, message: Any) -> None:
        """Send a message: str, bytes, or what str() makes of it.

        Messages of several green threads are not mixed.

        :raises OSError: the client is gone.
        """
        self._send(self._pack_message(message))

    def _send(self, frame: bytes) -> None:
        with self._sendlock:
            self.socket.sendall(frame)

    def wait(self) -> Any:
        """The next message, or None once the connection has ended."""
        while not self._msgs:
            if self.websocket_closed:
                return None
            some = self.socket.recv(8096)
            if some == b"":
                return None
            self._buf += some
            self._msgs.extend(self._parse_messages())
        return self._msgs.popleft()

    def _send_closing_frame(self, ignore_send_errors: bool = False) -> None:
        if self.version == 76 and not self.websocket_closed:
            try:
                self.socket.sendall(b"\xff\x00")
            except OSError:
                if not ignore_send_errors:
                    raise
            self.websocket_closed = True

    def close(self) -> None:
        """Close the connection; it is better to return from the handler."""
        try:
            self._send_closing_frame(True)
            self.socket.shutdown(True)
        except OSError as exc:
            self._log_shutdown(exc)
        finally:
            self.socket.close()

    def _log_shutdown(self, exc: OSError) -> None:
        if exc.errno != errno.ENOTCONN:
            self.log.write(
                f"{self.log_context} socket shutdown error: {exc}\n"
            )


# --- connections of RFC 6455 -------------------------------------------------


class Frame:
    """One frame, as it came: unmasked, but neither unpacked nor decoded."""

    decompressor = None

    def __init__(self, opcode: int, finished: bool, data: bytes) -> None:
        self.opcode = opcode
        self.finished = finished
        self.data = data

    def getvalue(self) -> bytes:
        """Its payload."""
        return self.data


class RFC6455WebSocket(WebSocket):
    """The same by RFC 6455; also the client's side, on a connection on which
    hands were shaken.

    :param extensions: what was agreed on: ``{"permessage-deflate": {...}}``
        with its parameters. May be set until the first message.
    """

    def __init__(
        self,
        sock: Any,
        environ: dict[str, Any],
        version: int = 13,
        protocol: str | None = None,
        client: bool = False,
        extensions: _Extensions | None = None,
        max_frame_length: int = DEFAULT_MAX_FRAME_LENGTH,
    ) -> None:
        super().__init__(sock, environ, version)
        self.client = client
        self.protocol = protocol
        self.extensions = extensions or {}
        self.max_frame_length = max_frame_length
        self._remote_close_data: bytes | None = None
        self._receiver: WebSocketCodec | None = None
        self._senders: dict[bool, WebSocketCodec] = {}

    # --- codecs: one that receives, and one that sends ---

    def _deflate(self, ours_as: str) -> tuple[Any, ...] | None:
        """Parameters for a codec of this role, from those of the sides.

        Only one of its directions is used. Where it is not the role that we
        have, as for frames without a mask of a client, the sides change.
        """
        config = self.extensions.get("permessage-deflate")
        if config is None:
            return None
        sides = ["server", "client"]
        if ours_as != ("client" if self.client else "server"):
            sides.reverse()
        return (
            *(bool(config.get(f"{s}_no_context_takeover")) for s in sides),
            *(int(config.get(f"{s}_max_window_bits", 15)) for s in sides),
            6,
            8,
            1,
        )

    def _codec_that_receives(self) -> WebSocketCodec:
        if self._receiver is None:
            role = "client" if self.client else "server"
            self._receiver = WebSocketCodec(
                role,
                max_message=None,
                max_frame=self.max_frame_length,
                max_fragments=None,
                max_unpacked=self.max_frame_length,
                deflate=self._deflate(role),
            )
        return self._receiver

    def _codec_that_sends(self, masked: bool) -> WebSocketCodec:
        if masked not in self._senders:
            role = "client" if masked else "server"
            self._senders[masked] = WebSocketCodec(
                role, deflate=self._deflate(role)
            )
        return self._senders[masked]

    # --- sending ---

    def _pack_message(
        self,
        message: Any,
        masked: bool = False,
        continuation: bool = False,
        final: bool = True,
        control_code: int | None = None,
    ) -> bytes:
        codec = self._codec_that_sends(masked)
        if control_code is None:
            return codec.encode(message, more=not final)
        if control_code not in (8, 9, 0xA):
            raise ProtocolError("no such control frame")
        if continuation or not final:
            raise ProtocolError("a control frame has no fragments")
        if isinstance(message, str):
            message = message.encode("utf-8")
        if len(message) > 125:
            raise ProtocolError("more than 125 bytes in a control frame")
        if control_code == 9:
            return codec.ping(message)
        if control_code == 0xA:
            return codec.pong(message)
        # Not by close(): whoever packs one may go on packing.
        frame = bytearray(codec.ping(message))
        frame[0] = 0x88
        return bytes(frame)

    def send(self, message: Any, **kw: Any) -> None:
        """Send str as text, bytes as binary.

        :param continuation: it goes on with a message.
        :param final: it ends the message; else more follows.
        :param control_code: 8, 9 or 10: a control frame.
        """
        kw["masked"] = self.client
        with self._sendlock:
            self.socket.sendall(self._pack_message(message, **kw))

    # --- receiving ---

    def wait(self) -> Any:
        """The next message, str or bytes; None once the connection has
        ended, also if the peer has broken the protocol and was told so."""
        codec = self._codec_that_receives()
        while not self._msgs:
            if self.websocket_closed:
                return None
            some = self.socket.recv(65536)
            if not some:
                return None
            try:
                self._take(codec, some)
            except FailedConnectionError as exc:
                self.close(close_data=(exc.status, exc.message))
            except ConnectionClosedError:
                break
            except Exception:
                self.close(close_data=(1011, "Internal Server Error"))
                raise
        return self._msgs.popleft() if self._msgs else None

    def _take(self, codec: WebSocketCodec, data: bytes) -> None:
        try:
            for opcode, message in codec.receive_data(data):
                if opcode in (1, 2):
                    self._msgs.append(message)
                else:
                    self._handle_control_frame(opcode, message)
            if codec.failed:
                codec.receive_data(b"")  # says why
        except WebSocketProtocolError as exc:
            code, text = exc.args
            raise FailedConnectionError(
                code, self._why(code, text, codec)
            ) from None

    def _get_bytes(self, numbytes: int) -> bytes:
        """Exactly so many."""
        data = b""
        while len(data) < numbytes:
            some = self.socket.recv(numbytes - len(data))
            if not some:
                raise ConnectionClosedError()
            data += some
        return data

    def _recv_frame(self, message: Any = None) -> Frame:
        """The next frame, past the codec: for who looks at frames, and does
        not call :meth:`wait`."""
        first, second = self._get_bytes(2)
        length = second & 127
        if length > 125:
            size = 2 if length == 126 else 8
            length = int.from_bytes(self._get_bytes(size), "big")
        if length > self.max_frame_length:
            raise FailedConnectionError(1009, "Incoming frame is too big.")
        mask = self._get_bytes(4) if second & 128 else bytes(4)
        data = self._get_bytes(length)
        if any(mask):
            data = bytes(b ^ mask[i & 3] for i, b in enumerate(data))
        return Frame(first & 15, first >= 128, data)

    def _why(self, code: int, text: str, codec: WebSocketCodec) -> str:
        """For the peer: of what is too big, how big it may be."""
        if code != 1009:
            return text
        limit = self.max_frame_length
        if codec.wanted > limit:
            return (
                f"Incoming frame of {codec.wanted} bytes is above length"
                f" limit of {limit} bytes."
            )
        return (
            f"Incoming compressed frame exceeds length limit of {limit} bytes."
        )

    def _handle_control_frame(self, opcode: int, message: Any) -> None:
        if opcode == 9:
            self.send(message, control_code=0xA)
        if opcode != 8:
            return
        code, reason = message
        self._remote_close_data = b""
        if code == 1005:
            code = 1000
        else:
            self._remote_close_data = struct.pack("!H", code)
            self._remote_close_data += reason.encode()
        self.close(close_data=(code, ""))
        raise ConnectionClosedError()

    # --- the end ---

    def _send_closing_frame(
        self,
        ignore_send_errors: bool = False,
        close_data: tuple[int, str] | None = None,
    ) -> None:
        if self.version not in (8, 13) or self.websocket_closed:
            return
        data = b""
        if close_data is not None:
            code, text = close_data
            data = struct.pack("!H", code) + text.encode("utf-8")[:123]
        try:
            self.send(data, control_code=8)
        except OSError:
            if not ignore_send_errors:
                raise
        self.websocket_closed = True

    def close(self, close_data: tuple[int, str] | None = None) -> None:
        """Send a close frame, and close the connection; it is better to
        return from the handler."""
        try:
            self._send_closing_frame(True, close_data)
            self.socket.shutdown(SHUT_WR)
        except OSError as exc:
            self._log_shutdown(exc)
        finally:
            self.socket.close()
