"""eventlet's WSGI server, on Coir's parser.

`server` accepts connections and serves each in a green thread of a pool. An
`HttpProtocol` is made for each connection, a `Server` for all of them. Heads
and bodies are read in C (``coir._core.HTTPReader``); a protocol class that
reads heads itself (``parse_request``, ``_read_request_line``,
``MessageClass``), or has ``reject_bad_requests = False``, is given them as
bytes, and they are parsed by :mod:`http.server`, as leniently as eventlet
does.

Behaves as ``eventlet.wsgi``, eventlet 0.41; docs/reference/deviations.md lists
what does not.
"""

from __future__ import annotations

import errno
import os
import sys
import time
import traceback
import urllib.parse
import warnings
from typing import TYPE_CHECKING, Any

from coir import eventlet
from coir._core import (
    HTTP_NO_HOST,
    HTTPError,
    HTTPReader,
)

from . import greenio, support
from ._wsgi_parts import (  # noqa: F401
    _MAX_DISCARD,
    MAX_HEADER_LINE,
    MAX_TOTAL_HEADER_SIZE,
    ChunkReadError,
    FileObjectForHeaders,
    HeaderLineTooLong,
    HeadersTooLarge,
    Input,
    LoggerFileWrapper,
    LoggerNull,
    _encode_header_line,
    addr_to_host_port,
    format_date_time,
    get_logger,
)
from ._wsgi_response import Response
from .corolocal import local
from .patcher import original

#: What users know, and find in tracebacks, as of this module.
for _part in (
    ChunkReadError,
    FileObjectForHeaders,
    HeaderLineTooLong,
    HeadersTooLarge,
    Input,
    LoggerFileWrapper,
    LoggerNull,
    addr_to_host_port,
    format_date_time,
    get_logger,
):
    _part.__module__ = __name__
del _part

if TYPE_CHECKING:
    from collections.abc import Iterable

    # What is in them is only known when they are made.
    BaseHTTPServer: Any
    socket: Any
    ssl: Any
else:
    from .green import BaseHTTPServer, socket, ssl

DEFAULT_MAX_SIMULTANEOUS_REQUESTS = 1024
DEFAULT_MAX_HTTP_VERSION = "HTTP/1.1"
MAX_REQUEST_LINE = 8192
MINIMUM_CHUNK_SIZE = 4096
DEFAULT_LOG_FORMAT = (
    "%(client_ip)s - - [%(date_time)s] "
    '"%(request_line)s" %(status_code)s %(body_length)s %(wall_seconds).6f'
)
RESPONSE_414 = (
    b"HTTP/1.0 414 Request URI Too Long\r\n"
    b"Connection: close\r\nContent-Length: 0\r\n\r\n"
)

#: Set to False to have all servers of the process end.
is_accepting = True

STATE_IDLE = "idle"
STATE_REQUEST = "request"
STATE_CLOSE = "close"

#: Errors of a client that has gone, and of a listener that was closed.
BROKEN_SOCK = {errno.EPIPE, errno.ECONNRESET, errno.ESHUTDOWN}
BAD_SOCK = {errno.EBADF, 10053}
ACCEPT_EXCEPTIONS = (OSError, ssl.SSLError)
ACCEPT_ERRNO = {
    errno.EPIPE,
    errno.ECONNRESET,
    errno.ESHUTDOWN,
    errno.ENOTCONN,
    ssl.SSL_ERROR_EOF,
    ssl.SSL_ERROR_SSL,
}

#: ``already_handled``: set by an application that has taken the socket.
WSGI_LOCAL = local()

_select: Any = original("select")

# A second, and what the log says of it.
_latest: tuple[int, str] = (-1, "")


def socket_repr(sock: Any) -> str:
    """Where a server listens, as a URL."""
    scheme = "https" if hasattr(sock, "do_handshake") else "http"
    name = sock.getsockname()
    if sock.family == socket.AF_INET:
        return "{}://{}:{}".format(scheme, *name)
    if sock.family == socket.AF_INET6:
        return "{}://[{}]:{}".format(scheme, *name[:2])
    if isinstance(name, bytes):
        name = name.decode("utf-8", "replace")
    return f"{scheme}:{name}"


# --- a connection ------------------------------------------------------------


class HttpProtocol(BaseHTTPServer.BaseHTTPRequestHandler):  # type: ignore[misc]
    """Handles one connection.

    :param conn_state: a list of the client's address, the connection and one
        of STATE_IDLE, STATE_REQUEST and STATE_CLOSE.
    """

    protocol_version = "HTTP/1.1"
    minimum_chunk_size = MINIMUM_CHUNK_SIZE
    capitalize_response_headers = True

    #: False: as lenient as http.server, for clients of old.
    reject_bad_requests = True

    #: Seconds for a whole head, and for another one to begin; None: no limit.
    head_timeout: float | None = 60
    idle_timeout: float | None = 300
    #: For each part of a body.
    body_timeout: float | None = None

    disable_nagle_algorithm = True
    wbufsize = 16 << 10

    rfile: Any
    wfile: Any
    command: Any
    requestline: Any
    close_connection: Any

    # What C made of the head; None: http.server did.
    _request: Any = None
    _is_read_by_hand = False
    # Does a subclass name the fields in the environ?
    _is_named_by_hand = False
    _own_address: Any = None
    # What setup() made; None: the connection's own makefile() did.
    _own_wfile: Any = None

    def __init__(self, conn_state: list[Any], server: Any) -> None:
        self.request = conn_state[1]
        self.client_address = conn_state[0]
        self.conn_state = conn_state
        self.server = server
        self.environ: Any = None
        self.application: Any = None
        # The server's own; class attributes are everybody's.
        if server.minimum_chunk_size is not None:
            self.minimum_chunk_size = server.minimum_chunk_size
        self.capitalize_response_headers = server.capitalize_response_headers
        self.setup()
        try:
            self.handle()
        finally:
            self.finish()

    def setup(self) -> None:
        """Make ready to read and to write."""
        conn = self.connection = self.request
        if self.disable_nagle_algorithm and conn.family in (
            socket.AF_INET,
            socket.AF_INET6,
        ):
            try:
                conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError:
                pass
        source = conn
        is_replaced = "makefile" in getattr(conn, "__dict__", ())
        if is_replaced:
            source = conn.makefile("rb", self.rbufsize)
        reader = self.rfile = HTTPReader(source)
        keepalive = self.server.keepalive
        reader.head_timeout = self.head_timeout
        # 1 is a second, though it equals True.
        reader.idle_timeout = (
            self.idle_timeout
            if keepalive is True or not keepalive
            else keepalive
        )
        reader.body_timeout = self.body_timeout
        # The line's end counts, and what has as many bytes is too long.
        reader.max_line = max(self.server.url_length_limit - 1, 1)
        reader.max_field = MAX_HEADER_LINE
        reader.max_head = MAX_TOTAL_HEADER_SIZE + reader.max_line
        reader.leniency = HTTP_NO_HOST
        self.wfile = conn.makefile("wb", self.wbufsize)
        if not is_replaced:
            self._own_wfile = self.wfile
        cls = type(self)
        base = BaseHTTPServer.BaseHTTPRequestHandler
        self._is_read_by_hand = not (
            self.reject_bad_requests
            and cls.parse_request is base.parse_request
            and cls._read_request_line is HttpProtocol._read_request_line
            and cls.MessageClass is base.MessageClass
        )
        self._is_named_by_hand = (
            cls.formalize_key_naming is not HttpProtocol.formalize_key_naming
        )

    def handle(self) -> None:
        """Handle requests until the connection is to be closed."""
        self.close_connection = True
        while True:
            self.handle_one_request()
            if self.conn_state[2] is STATE_CLOSE:
                self.close_connection = True
            else:
                self.conn_state[2] = STATE_IDLE
            if self.close_connection:
                break

    def handle_one_request(self) -> None:
        """Read a request and answer it."""
        if self.server.max_http_version:
            self.protocol_version = self.server.max_http_version
        self.close_connection = True
        if not self._read_head():
            return
        self.conn_state[2] = (
            STATE_CLOSE
            if self.conn_state[2] is STATE_CLOSE
            else STATE_REQUEST
        )
        if self.protocol_version == "HTTP/1.0":
            self.close_connection = True
        self.environ = self.get_environ()
        self.application = self.server.app
        self.server.outstanding_requests += 1
        try:
            self.handle_one_response()
        except OSError as exc:
            self.close_connection = True
            if support.get_errno(exc) not in BROKEN_SOCK:
                raise
        finally:
            self.server.outstanding_requests -= 1

    # Heads

    def _read_head(self) -> bool:
        try:
            if self._is_read_by_hand:
                return self._read_by_hand()
            request = self.rfile.read_request()
        except HTTPError as exc:
            self._refuse(exc)
            return False
        except TimeoutError as exc:
            self._timed_out(exc)
            return False
        except OSError as exc:
            if support.get_errno(exc) not in BROKEN_SOCK | BAD_SOCK:
                raise
            return False
        if request is None:
            if not self.rfile.at_end:
                self._timed_out("idle")
            return False
        self._request = request
        self._message: Any = None
        self.requestline = request.requestline
        self.raw_requestline = self.requestline.encode("latin-1") + b"\r\n"
        self.command = request.method
        self.path = target = request.target
        if target.startswith("//"):
            # As http.server does: redirects to it would go elsewhere.
            self.path = "/" + target.lstrip("/")
        self.request_version = request.version
        self.close_connection = not request.keep_alive
        return True

    def _timed_out(self, reason: Any) -> None:
        self.server.log.debug(
            f"({self.server.pid}) timed out {self.client_address!r}: {reason}"
            if not isinstance(reason, TimeoutError)
            else f"({self.server.pid}) timed out {self.client_address!r}"
        )

    def _refuse(self, exc: Any) -> None:
        code, status = exc.code, exc.status
        text = f"{exc.reason}\n".encode()
        if status == 408:
            self._timed_out("head")
            return
        if code == "COIR_HTTP_ELINELEN":
            line = "400 Header Line Too Long"
        elif code == "COIR_HTTP_EHEADLEN":
            line = "400 Headers Too Large"
        elif status == 414:
            line = "414 Request URI Too Long"
        else:
            reason = self.responses.get(status, ("Bad Request",))[0]
            line = f"{status} {reason}"
        self.server.log.debug(
            f"({self.server.pid}) refused {self.client_address!r}: {exc}"
        )
        self._send_refusal(line, text)

    def _send(self, data: bytes) -> None:
        """Past wfile, which has a buffer, unless somebody put it there."""
        if self.wfile is self._own_wfile:
            self.connection.sendall(data)
        else:
            self.wfile.write(data)
            self.wfile.flush()

    def _send_refusal(self, line: str, text: bytes = b"") -> None:
        self.close_connection = True
        try:
            self._send(
                f"HTTP/1.0 {line}\r\nConnection: close\r\n"
                f"Content-Length: {len(text)}\r\n\r\n".encode()
                + text
            )
        except OSError:
            return
        if self.wfile is not self._own_wfile:
            return  # nobody knows how to read what is left
        # What still comes is not to destroy the answer on its way.
        with eventlet.Timeout(1, False):
            try:
                self.connection.shutdown(socket.SHUT_WR)
                left = _MAX_DISCARD
                while left > 0 and (data := self.connection.recv(16384)):
                    left -= len(data)
            except OSError:
                pass

    def _read_request_line(self) -> bytes:
        """The first line of a request; empty if there is none."""
        if self.rfile.closed:
            self.close_connection = True
            return b""
        line: bytes = self.rfile.readline(self.server.url_length_limit)
        return line

    def _read_by_hand(self) -> bool:
        """As http.server reads a head."""
        line = self.raw_requestline = self._read_request_line()
        if not line:
            return False
        if len(line) >= self.server.url_length_limit:
            self._send_refusal("414 Request URI Too Long")
            return False
        self.requestline = self.command = self.path = ""
        self.request_version = self.default_request_version
        self._request = None
        source = self.rfile
        self.rfile = FileObjectForHeaders(source)
        try:
            if not self.parse_request():
                self.wfile.flush()
                return False
        except HeaderLineTooLong:
            self._send_refusal("400 Header Line Too Long")
            return False
        except HeadersTooLarge:
            self._send_refusal("400 Headers Too Large")
            return False
        finally:
            self.rfile = source
        return self._check_framing()

    def _check_framing(self) -> bool:
        length = self.headers.get("content-length")
        coding = self.headers.get("transfer-encoding")
        if length is not None:
            if not (length.isascii() and length.isdigit()):
                self._send_refusal("400 Bad Request")
                return False
            if coding is not None and self.reject_bad_requests:
                self._send_refusal(
                    "400 Bad Request",
                    b"Content-Length and Transfer-Encoding are not allowed "
                    b"together\n",
                )
                return False
        return True

    @property
    def headers(self) -> Any:
        """The fields of the request, as an ``http.client.HTTPMessage``."""
        if self._message is None and self._request is not None:
            message = self._message = self.MessageClass()
            message._headers = self._request.headers
        return self._message

    @headers.setter
    def headers(self, value: Any) -> None:
        self._message = value

    def _field(self, name: str) -> str:
        if self._request is not None and self._message is None:
            return str(self._request.get(name, ""))
        return self.headers.get(name) or ""

    def _asks_to_keep_alive(self) -> bool:
        return self._field("Connection").lower() == "keep-alive"

    # The environ

    def get_client_address(self) -> tuple[Any, Any]:
        """Host and port of the client, with those it was forwarded for."""
        host, port = addr_to_host_port(self.client_address)
        if self.server.log_x_forwarded_for:
            forward = self._field("X-Forwarded-For").replace(" ", "")
            if forward:
                host = f"{forward},{host}"
        return host, port

    def formalize_key_naming(self, k: str) -> str | None:
        """The name of a field in an environ; None: it is left out, because
        it has an underscore."""
        return None if "_" in k else k.replace("-", "_").upper()

    def get_environ(self) -> Any:
        """The environ of a request."""
        env = self.server.get_environ()
        request = self._request
        if request is not None and not self._is_named_by_hand:
            request.fill_environ(env)
            env["headers_raw"] = tuple(request.headers)
            slashes = len(request.target) - len(self.path)
            if slashes > 0:
                env["PATH_INFO"] = env["PATH_INFO"][slashes:]
        else:
            self._fill_environ(env)
        if "CONTENT_TYPE" not in env:
            # RFC 2045, 5.2; a MessageClass may have another default.
            env["CONTENT_TYPE"] = (
                "text/plain"
                if request is not None
                else self.headers.get_content_type()
            )
        env["RAW_PATH_INFO"], query, _ = self.path.partition("?")
        if not query:
            del env["QUERY_STRING"]  # by that websocket.py knows
        env["SCRIPT_NAME"] = ""
        env["SERVER_PROTOCOL"] = "HTTP/1.0"
        if self._own_address is None:
            self._own_address = addr_to_host_port(self.request.getsockname())
        host, port = self._own_address
        env["SERVER_NAME"] = host
        env["SERVER_PORT"] = str(port)
        host, port = addr_to_host_port(self.client_address)
        env["REMOTE_ADDR"] = host
        env["REMOTE_PORT"] = str(port)
        env["GATEWAY_INTERFACE"] = "CGI/1.1"
        env["wsgi.input"] = env["eventlet.input"] = self._new_input(env)
        env["eventlet.posthooks"] = []
        env["eventlet.set_idle"] = self._set_idle
        return env

    def _set_idle(self) -> None:
        # That the server, when it ends, may close the connection.
        if self.conn_state[2] is not STATE_CLOSE:
            self.conn_state[2] = STATE_IDLE

    def _fill_environ(self, env: Any) -> None:
        env["REQUEST_METHOD"] = self.command
        path, _, query = self.path.partition("?")
        env["PATH_INFO"] = urllib.parse.unquote(path, encoding="latin-1")
        env["QUERY_STRING"] = query
        env["headers_raw"] = tuple(self.headers.items())
        for name in ("Content-Type", "Content-Length"):
            text = self.headers.get(name)
            if text is not None:
                env[name.upper().replace("-", "_")] = text.strip(" \t\n\r")
        for name, value in env["headers_raw"]:
            key = self.formalize_key_naming(name)
            if key is None:
                continue
            if key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
                continue
            value = value.strip(" \t\n\r")
            key = f"HTTP_{key}"
            if key in env:
                comma = ";" if key == "HTTP_COOKIE" else ","
                value = f"{env[key]}{comma}{value}"
            env[key] = value

    def _new_input(self, env: Any) -> Input:
        request = self._request
        length: int | None
        if request is not None:
            chunked = bool(request.chunked)
            length = request.content_length
        else:
            chunked = "chunked" in self._field("Transfer-Encoding").lower()
            length = None if chunked else int(env.get("CONTENT_LENGTH") or 0)
        wfile = None
        if self._field("Expect").lower() == "100-continue" and (
            chunked or length
        ):
            wfile = self.wfile
        return Input(
            self.rfile,
            None if chunked else length or 0,
            self.request,
            wfile,
            b"HTTP/1.1 100 Continue\r\n" if wfile is not None else None,
            chunked,
        )

    def handle_expect_100(self) -> bool:
        """For http.server: 100 (Continue) is sent when the body is read."""
        return True

    # The response

    def handle_one_response(self) -> None:
        """Call the application, and send what it returns."""
        start = time.time()
        response = Response(self)
        body = self.environ["eventlet.input"]
        body.headers_sent = response
        try:
            try:
                WSGI_LOCAL.already_handled = False
                self._run(response)
            except (Exception, eventlet.Timeout):
                self._failed(response)
        finally:
            self._end(response, body, start)

    def _run(self, response: Response) -> None:
        result = self.application(self.environ, response.start)
        try:
            if getattr(WSGI_LOCAL, "already_handled", False):
                self.close_connection = True
                return
            if not response.is_sent and hasattr(result, "__len__"):
                response.say_length(result)
            self._send_all(response, result)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    def _send_all(self, response: Response, result: Iterable[Any]) -> None:
        minimum = self.environ.get(
            "eventlet.minimum_write_chunk_size", self.minimum_chunk_size
        )
        parts: list[bytes] = []
        size = 0
        for data in result:
            if not data:
                continue
            if isinstance(data, str):
                data = data.encode("ascii")
            parts.append(data)
            size += len(data)
            if size >= minimum:
                response.write(b"".join(parts))
                parts.clear()
                size = 0
                # It may have been set since.
                minimum = self.environ.get(
                    "eventlet.minimum_write_chunk_size",
                    self.minimum_chunk_size,
                )
        if parts:
            response.write(b"".join(parts))
        if getattr(WSGI_LOCAL, "already_handled", False):
            self.close_connection = True
            return
        response.end()

    def _failed(self, response: Response) -> None:
        """The application has raised: say so, if nothing was said yet."""
        self.close_connection = True
        exc = sys.exc_info()[1]
        if (
            isinstance(exc, OSError)
            and response.is_sent
            and support.get_errno(exc) in BROKEN_SOCK
        ):
            return  # the client has gone
        report = traceback.format_exc()
        self.server.log.info(report)
        if response.is_sent:
            return
        text = report.encode() if self.server.debug else b""
        response.start(
            "500 Internal Server Error",
            [
                ("Content-Type", "text/plain"),
                ("Content-Length", str(len(text))),
            ],
        )
        try:
            response.write(text)
        except OSError as exc2:
            if support.get_errno(exc2) not in BROKEN_SOCK | BAD_SOCK:
                raise

    def _end(self, response: Response, body: Input, start: float) -> None:
        if not self.close_connection:
            try:
                if not body.discard():
                    self.close_connection = True
            except OSError:
                self.close_connection = True
        if response.code == 101:
            self.close_connection = True
        finish = time.time()
        for hook, args, kwargs in self.environ["eventlet.posthooks"]:
            hook(self.environ, *args, **kwargs)
        if self.server.log_output:
            host, port = self.get_client_address()
            self.server.log.info(
                self.server.log_format
                % {
                    "client_ip": host,
                    "client_port": port,
                    "date_time": self.log_date_time_string(),
                    "request_line": self.requestline,
                    "status_code": response.code,
                    "body_length": response.length,
                    "wall_seconds": finish - start,
                }
            )

    def log_date_time_string(self) -> str:
        """The time as the log says it; made once a second."""
        global _latest
        now = int(time.time())
        if _latest[0] != now:
            _latest = (now, super().log_date_time_string())
        return _latest[1]

    def finish(self) -> None:
        """Close the connection."""
        try:
            self.wfile.close()
        except OSError:
            pass
        self.rfile.close()
        greenio.shutdown_safe(self.connection)
        self.connection.close()


# --- servers -----------------------------------------------------------------


class Server(BaseHTTPServer.HTTPServer):  # type: ignore[misc]
    """What the connections of a listener have in common."""

    def __init__(
        self,
        socket: Any,
        address: Any,
        app: Any,
        log: Any = None,
        environ: Any = None,
        max_http_version: str | None = None,
        protocol: Any = HttpProtocol,
        minimum_chunk_size: int | None = None,
        log_x_forwarded_for: bool = True,
        keepalive: Any = True,
        log_output: bool = True,
        log_format: str = DEFAULT_LOG_FORMAT,
        url_length_limit: int = MAX_REQUEST_LINE,
        debug: bool = True,
        socket_timeout: float | None = None,
        capitalize_response_headers: bool = True,
    ) -> None:
        self.outstanding_requests = 0
        self.socket = socket
        # Asked once: a green socket looks far for what it has not.
        self._scheme = "https" if hasattr(socket, "do_handshake") else "http"
        self.address = address
        self.log = get_logger(log, debug) if log_output else LoggerNull()
        self.app = app
        self.keepalive = keepalive
        self.environ = environ
        self.max_http_version = max_http_version
        self.protocol = protocol
        self.pid = os.getpid()
        self.minimum_chunk_size = minimum_chunk_size
        self.log_x_forwarded_for = log_x_forwarded_for
        self.log_output = log_output
        self.log_format = log_format
        self.url_length_limit = url_length_limit
        self.debug = debug
        self.socket_timeout = socket_timeout
        self.capitalize_response_headers = capitalize_response_headers
        if not capitalize_response_headers:
            warnings.warn(
                "capitalize_response_headers is disabled: headers are sent as "
                "the application writes them",
                stacklevel=3,
            )

    def get_environ(self) -> dict[str, Any]:
        """What the environs of all requests have in common."""
        env = {
            "wsgi.errors": sys.stderr,
            "wsgi.version": (1, 0),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "wsgi.url_scheme": self._scheme,
        }
        if self.environ is not None:
            env.update(self.environ)
        return env

    def process_request(self, conn_state: list[Any]) -> None:
        """Serve a connection."""
        try:
            if self.socket_timeout:
                conn_state[1].settimeout(self.socket_timeout)
            self.protocol(conn_state, self)
        except TimeoutError:
            # Expected, with socket_timeout.
            greenio.shutdown_safe(conn_state[1])
            self.log.debug(f"({self.pid}) timed out {conn_state[0]!r}")
        except OSError as exc:
            conn_state[1].close()
            if isinstance(exc, ssl.SSLError) or support.get_errno(exc) in (
                BROKEN_SOCK | BAD_SOCK
            ):
                self.log.debug(f"({self.pid}) {conn_state[0]!r}: {exc}")
                return
            raise

    def log_message(self, message: str) -> None:
        """A line of the log."""
        self.log.info(message)


def server(
    sock: Any,
    site: Any,
    log: Any = None,
    environ: Any = None,
    max_size: int | None = None,
    max_http_version: str = DEFAULT_MAX_HTTP_VERSION,
    protocol: Any = HttpProtocol,
    server_event: Any = None,
    minimum_chunk_size: int | None = None,
    log_x_forwarded_for: bool = True,
    custom_pool: Any = None,
    keepalive: Any = True,
    log_output: bool = True,
    log_format: str = DEFAULT_LOG_FORMAT,
    url_length_limit: int = MAX_REQUEST_LINE,
    debug: bool = True,
    socket_timeout: float | None = None,
    capitalize_response_headers: bool = True,
) -> None:
    """Serve a WSGI application until killed, or until `sock` is closed.

    Connections are waited for in the end, idle ones closed. `sock` is closed
    then; a duplicate of it goes on.

    :param sock: listens.
    :param site: the application.
    :param log: a logger, or a file; stderr by default.
    :param environ: added to each environ.
    :param max_size: how many connections there may be at a time; 1024.
    :param max_http_version: ``"HTTP/1.0"`` to speak no other.
    :param protocol: a class derived from `HttpProtocol`.
    :param server_event: an event that is sent the `Server`.
    :param minimum_chunk_size: what is less is not sent alone;
        ``environ["eventlet.minimum_write_chunk_size"]`` for one request.
    :param log_x_forwarded_for: log that field with the client's address.
    :param custom_pool: a GreenPool to serve in; then without `max_size`.
    :param keepalive: False: one request a connection; a number: the seconds
        to wait for another.
    :param log_output: False: no log at all.
    :param log_format: of its lines, by ``%``: client_ip, client_port,
        date_time, request_line, status_code, body_length, wall_seconds.
    :param url_length_limit: of a request line; more is answered 414.
    :param debug: send tracebacks to clients, and log more.
    :param socket_timeout: of connections, in seconds.
    :param capitalize_response_headers: write names Like-This.
    """
    serv = Server(
        sock,
        sock.getsockname(),
        site,
        log,
        environ=environ,
        max_http_version=max_http_version,
        protocol=protocol,
        minimum_chunk_size=minimum_chunk_size,
        log_x_forwarded_for=log_x_forwarded_for,
        keepalive=keepalive,
        log_output=log_output,
        log_format=log_format,
        url_length_limit=url_length_limit,
        debug=debug,
        socket_timeout=socket_timeout,
        capitalize_response_headers=capitalize_response_headers,
    )
    if server_event is not None:
        warnings.warn(
            "the argument server_event of eventlet.wsgi.server() is "
            "deprecated",
            DeprecationWarning,
            stacklevel=2,
        )
        server_event.send(serv)
    pool = custom_pool
    if pool is None:
        pool = eventlet.GreenPool(
            max_size or DEFAULT_MAX_SIMULTANEOUS_REQUESTS
        )
    if not (hasattr(pool, "spawn") and hasattr(pool, "waitall")):
        raise TypeError("custom_pool must have spawn() and waitall()")
    connections: dict[int, list[Any]] = {}
    try:
        serv.log.info(f"({serv.pid}) wsgi starting up on {socket_repr(sock)}")
        while is_accepting:
            try:
                _serve_one(serv, sock, pool, connections)
            except ACCEPT_EXCEPTIONS as exc:
                if support.get_errno(exc) not in ACCEPT_ERRNO:
                    raise
            except (KeyboardInterrupt, SystemExit):
                serv.log.info("wsgi exiting")
                break
    finally:
        _end(serv, sock, pool, connections)


def _serve_one(
    serv: Server, sock: Any, pool: Any, connections: dict[int, list[Any]]
) -> None:
    client, address = sock.accept()
    serv.log.debug(f"({serv.pid}) accepted {address!r}")
    state = [address, client, STATE_IDLE]
    connections[id(state)] = state
    green = pool.spawn(serv.process_request, state)
    green.link(_gone, connections, id(state))


def _end(
    serv: Server, sock: Any, pool: Any, connections: dict[int, list[Any]]
) -> None:
    for state in list(connections.values()):
        before, state[2] = state[2], STATE_CLOSE
        if before is STATE_IDLE and not _is_readable(state[1]):
            greenio.shutdown_safe(state[1])
    pool.waitall()
    serv.log.info(f"({serv.pid}) wsgi exited, is_accepting={is_accepting}")
    try:
        sock.close()
    except OSError as exc:
        if support.get_errno(exc) not in BROKEN_SOCK:
            traceback.print_exc()


def _is_readable(sock: Any) -> bool:
    """Whether a request, or the end, has come but was not read yet."""
    poll = _select.poll()
    try:
        poll.register(sock, _select.POLLIN)
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return False


def _gone(_green: Any, connections: dict[int, list[Any]], key: int) -> None:
    connections.pop(key, None)
