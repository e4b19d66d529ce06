"""A response of eventlet's WSGI server.

What the application says is kept until something is sent; then the head goes
with the first piece. No more of a body is sent than the head tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coir._core import http_chunk, http_date
from coir.gevent._pywsgi_parts import as_bytes, size_of

from ._wsgi_parts import _capitalized, _check_header, _encode_header_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from .wsgi import HttpProtocol

# Fields that the server heeds.
_HEEDED = {"connection", "content-length", "date"}


class Response:
    """What is said to one request."""

    def __init__(self, protocol: HttpProtocol) -> None:
        self.protocol = protocol
        self.status: str | None = None
        #: Of the status; 200, too, if the application took the socket.
        self.code = 200
        self.headers: list[tuple[Any, Any]] = []
        # Values of those that say what is sent, by their names in lower case.
        self._known: dict[str, str] = {}
        self.is_sent = False
        self.is_chunked = False
        self.has_body = True
        self.length = 0
        #: Bytes that are to come by Content-Length; None: unknown.
        self.left: int | None = None

    def __bool__(self) -> bool:
        return self.is_sent  # what Input asks

    def start(
        self, status: str, response_headers: Any, exc_info: Any = None
    ) -> Callable[[Any], None]:
        """``start_response``."""
        if exc_info:
            try:
                if self.is_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        _check_header("status", status)
        code = int(status.split(" ", 1)[0])
        if isinstance(response_headers, dict):
            response_headers = response_headers.items()
        headers = []
        known = {}
        capitalize = self.protocol.capitalize_response_headers
        for name, value in response_headers:
            _check_header(name, value)
            if capitalize:
                name = _capitalized(name)
            headers.append((name, value))
            lower = str(name).lower()
            if lower in _HEEDED:
                known[lower] = str(value)
        self.status = status
        self.code = code
        self.headers = headers
        self._known = known
        return self.write

    def write(self, data: Any) -> None:
        """Send some of the body."""
        if isinstance(data, str):
            data = data.encode("ascii")
        elif type(data) is not bytes:
            data = as_bytes(data)
        if not self.is_sent:
            if self.status is None:
                raise AssertionError("write() before start_response()")
            self._send(self._head() + self._framed(data))
            return
        framed = self._framed(data)
        if framed:
            self._send(framed)

    def end(self) -> None:
        """Nothing more is to come."""
        if not self.is_sent:
            self.write(b"")
        if self.is_chunked:
            self._send(b"0\r\n\r\n")
        if self.left:
            self.protocol.close_connection = True  # less than was said

    def _framed(self, data: Any) -> bytes:
        if not self.has_body or not data:
            return b""
        if self.is_chunked:
            return http_chunk(data)
        if self.left is not None:
            if len(data) > self.left:
                self.protocol.close_connection = True
                data = data[: self.left]
            self.left -= len(data)
        return bytes(data)

    def _send(self, data: bytes) -> None:
        self.is_sent = True
        self.protocol._send(data)
        self.length += len(data)

    def _head(self) -> bytes:
        protocol = self.protocol
        code = self.code
        lines = [f"{protocol.protocol_version} {self.status}\r\n"]
        lines += [f"{name}: {value}\r\n" for name, value in self.headers]
        has_length = self._known.get("content-length")
        self.has_body = protocol.command != "HEAD" and not (
            code in (204, 304) or 100 <= code < 200
        )
        if has_length is not None and self.has_body:
            self.left = int(has_length)
        if "date" not in self._known:
            lines.append(f"Date: {http_date().decode()}\r\n")
        if has_length is None and self.has_body:
            self._frame(lines)
        self._say_connection(lines, code)
        lines.append("\r\n")
        try:
            return "".join(lines).encode("latin-1")
        except UnicodeEncodeError:
            for header in self.headers:
                _encode_header_line(header)  # whose error says which, and why
            raise

    def say_length(self, result: Any) -> None:
        """Have the head say how long a list of pieces is."""
        code = self.code
        if (
            self.status
            and "content-length" not in self._known
            and code not in (204, 304)
            and not 100 <= code < 200
        ):
            length = self._known["content-length"] = str(size_of(result))
            self.headers.append(("Content-Length", length))

    def _frame(self, lines: list[str]) -> None:
        protocol = self.protocol
        if (
            protocol.request_version == "HTTP/1.1"
            and protocol.protocol_version == "HTTP/1.1"
        ):
            self.is_chunked = True
            lines.append("Transfer-Encoding: chunked\r\n")
        else:
            protocol.close_connection = True

    def _say_connection(self, lines: list[str], code: int) -> None:
        protocol = self.protocol
        given = self._known.get("connection")
        if given is not None:
            if given.lower() == "close":
                protocol.close_connection = True
            return
        if protocol.environ["eventlet.input"].should_send_hundred_continue:
            # Nobody knows whether the body is on its way.
            protocol.close_connection = True
        if code == 101:
            return
        keepalive = protocol.server.keepalive
        if protocol.close_connection or not keepalive:
            protocol.close_connection = True
            lines.append("Connection: close\r\n")
        elif protocol._asks_to_keep_alive():
            lines.append("Connection: keep-alive\r\n")
            if keepalive is not True:
                lines.append(f"Keep-Alive: timeout={int(keepalive)}\r\n")
