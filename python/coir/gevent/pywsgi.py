"""A WSGI server whose handlers are written, and overridden, in Python.

A connection has a greenlet and a handler, which reads requests one after the
other, calls the application and sends what it returns. The parser, the body
and what takes long of the rest are in C (``coir._core.HTTPReader``); a
handler's methods are Python's, and are called in the order in which gevent's
are, so that classes that override some of them do what they did there.

Strict, other than gevent's: what RFC 9112 lets a server refuse is refused
with an answer, and the connection is closed. See ``WSGIServer.lenient``.

    >>> from gevent.pywsgi import WSGIServer
    >>> def application(environ, start_response):
    ...     start_response("200 OK", [("Content-Type", "text/plain")])
    ...     return [b"hello\\n"]
    >>> server = WSGIServer(("127.0.0.1", 0), application, log=None)
    >>> server.start()
    >>> server.server_port > 0
    True
    >>> server.stop()

Behaves as ``gevent.pywsgi``, gevent 26.9; docs/reference/deviations.md lists
what does not.
"""

from __future__ import annotations

import errno
import sys
import time
import traceback
from _socket import AF_INET, AF_INET6, IPPROTO_TCP, SHUT_WR, TCP_NODELAY
from contextlib import closing
from http import client
from typing import TYPE_CHECKING, Any

from coir._core import (
    HTTP_BARE_LF,
    HTTP_FOLDED,
    HTTP_NO_HOST,
    HTTP_RAW_TARGET,
    HTTP_SAME_LENGTHS,
    HTTPError,
    HTTPInputError,
    HTTPReader,
    Input,
    http_chunk,
    http_date,
    http_encode_headers,
    http_response,
    http_sendall,
)
from coir.greenlet import GreenletExit

from . import socket, version_info
from ._pywsgi_parts import (
    _BAD_REQUEST_RESPONSE,
    _ERRORS,
    _REFUSALS,
    Environ,
    LoggingLogAdapter,
    OldMessage,
    SecureEnviron,
    WSGISecureEnviron,
    _HandshakeTimeout,
    _local_time,
    _log_for,
    _NoopLog,
    _refusal,
    as_bytes,
    headers_factory,
    size_of,
)
from .server import StreamServer
from .timeout import Timeout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "WSGIServer",
    "WSGIHandler",
    "LoggingLogAdapter",
    "Environ",
    "SecureEnviron",
    "WSGISecureEnviron",
]

# Where they are public.
for _class in (LoggingLogAdapter, Environ, SecureEnviron, WSGISecureEnviron):
    _class.__module__ = __name__
del _class

#: Bytes of a request line, and of a field, at most.
MAX_REQUEST_LINE = 8192

_CONTINUE_RESPONSE = b"HTTP/1.1 100 Continue\r\n\r\n"

#: What a request, or a body, is refused with.
_InvalidClientRequest = HTTPError
_InvalidClientInput = HTTPInputError

#: Names in ``WSGIServer.lenient``.
_LENIENCY = {
    "bare-lf": HTTP_BARE_LF,
    "folded": HTTP_FOLDED,
    "same-lengths": HTTP_SAME_LENGTHS,
    "raw-target": HTTP_RAW_TARGET,
    "no-host": HTTP_NO_HOST,
}

# What is joined to a head to be sent in one piece, at most.
_JOINED = 65536


def format_date_time(timestamp: float) -> bytes:
    """A date as HTTP writes it, for seconds since 1970."""
    return http_date(timestamp)


# --- handlers ----------------------------------------------------------------


class WSGIHandler:
    """Handles the requests of one connection.

    Made by the server for each, with the arguments of its ``handle``. Of the
    attributes those of the request are set before ``run_application``, those
    of the response by ``start_response`` and on.

    A subclass, the server's ``handler_class``, may override any method.

    :param rfile: what requests are read from, instead of the socket.
    """

    protocol_version = "HTTP/1.1"

    # The request.
    requestline: str | None = None
    command: str | None = None
    path: str | None = None
    request_version: str | None = None
    content_length: int | None = 0
    environ: Any = None
    application: Any = None
    wsgi_input: Any = None
    close_connection = False
    connection_upgraded = False

    # The response. `status` is bytes; a str if it is none of the application.
    status: Any = None
    _orig_status: str | None = None
    code: int | None = None
    response_headers: Any = None
    provided_date: Any = None
    provided_content_length: Any = None
    headers_sent = False
    response_use_chunked = False
    response_length = 0
    result: Any = None
    time_start: float = 0
    time_finish: float = 0

    #: Raised for mistakes of applications.
    ApplicationError: type[Exception] = AssertionError

    #: ``errno`` of errors that only tell that the client has gone.
    ignored_socket_errors = (errno.EPIPE, errno.ECONNRESET)

    _print_unexpected_exc = staticmethod(traceback.print_exc)

    # What C made of the head; None if a subclass has read it.
    _request: Any = None
    # `headers`, once somebody has asked for them.
    _message: Any = None
    # Bytes that are to come of what Content-Length says; None: unknown.
    _body_left: int | None = None
    # Are read_requestline() and read_request() to be called?
    _is_read_by_hand = False
    # Is the value of the Connection field the application's?
    _provided_connection: str | None = None

    def __init__(
        self, sock: Any, address: Any, server: Any, rfile: Any = None
    ) -> None:
        self.socket = sock
        self.client_address = address
        self.server = server
        if rfile is None:
            self.rfile: Any = server._reader_of(sock)
        else:
            self.rfile = rfile

    def MessageClass(self, *args: Any) -> Any:
        """What `headers` is made by, of a file."""
        return headers_factory(*args)

    @property
    def headers(self) -> Any:
        """The fields of the request, as an :class:`OldMessage`."""
        if self._message is None:
            request = self._request
            self._message = OldMessage(
                () if request is None else request.headers
            )
        return self._message

    @headers.setter
    def headers(self, value: Any) -> None:
        self._message = value

    # Reading

    def handle(self) -> None:
        """Handle requests until the connection is to be closed; close it."""
        cls = type(self)
        self._is_read_by_hand = (
            cls.read_requestline is not _read_requestline
            or cls.read_request is not _read_request
            or not isinstance(self.rfile, HTTPReader)
        )
        try:
            while self.socket is not None:
                result = self.handle_one_request()
                if result is True:
                    continue
                if result is not None:
                    self.status, response = result
                    self._refuse(response)
                break
        finally:
            self._close()

    def _refuse(self, response: bytes) -> None:
        """Send an answer, after which nothing more is read."""
        sock = self.socket
        if not self.time_start:
            self.time_start = time.time()
        server = self.server
        try:
            http_sendall(sock, response, server.write_timeout, server.min_rate)
        except OSError:
            pass
        self.time_finish = time.time()
        self.log_request()
        # What the client still sends is not to destroy the answer on its way.
        try:
            with Timeout(server.linger_timeout, False):
                sock.shutdown(SHUT_WR)
                left = server.max_discard
                while left > 0:
                    data = sock.recv(16384)
                    if not data:
                        break
                    left -= len(data)
        except OSError:
            pass

    def _close(self) -> None:
        sock = self.__dict__.pop("socket", None)
        rfile = self.__dict__.pop("rfile", None)
        if sock is not None:
            try:
                sock.close()
            except OSError:
                pass
        if isinstance(rfile, HTTPReader):
            rfile.close()
        # What applications keep of a request is not to keep all of it.
        self._request = self._message = None
        self.environ = self.wsgi_input = self.result = None

    def handle_one_request(self) -> Any:
        """Read a request and answer it.

        :returns: True if another one may follow; None if the connection is to
            be closed; ``(status, response)`` if the request is refused: then
            that is sent.
        """
        rfile = self.rfile
        if rfile.closed:
            return None
        self.requestline = None
        self.time_start = 0
        try:
            if self._is_read_by_hand:
                if not self._read_by_hand():
                    return None
            else:
                request = rfile.read_request()
                if request is None:
                    return None
                self._use_request(request)
        except ValueError as ex:
            return self._handle_client_error(ex)
        except OSError as ex:
            if ex.errno in self.ignored_socket_errors:
                return None
            raise
        self.application = self.server.application
        self.environ = self.get_environ()
        try:
            self.handle_one_response()
        except HTTPError as ex:
            return self._handle_client_error(ex)
        if self.close_connection or self.code == 101 or self.status is None:
            return None
        if self.__dict__.get("rfile") is None or self.rfile.closed:
            return None
        return True

    def _read_by_hand(self) -> bool:
        line = self.read_requestline()
        if not line:
            return False
        self._request = self._message = None
        if isinstance(line, bytes):
            line = line.decode("latin-1")
        self.requestline = line.rstrip()
        if not self.read_request(line):
            raise ValueError("the request is not valid")
        return True

    def read_requestline(self) -> Any:
        """Read the first line of a request; empty if there is none.

        Only called if this or :meth:`read_request` is overridden, or for an
        `rfile` that was given: else a head is read as a whole.
        """
        line = self.rfile.readline(MAX_REQUEST_LINE + 1)
        return line.decode("latin-1")

    def read_request(self, raw_requestline: Any) -> Any:
        """Read the rest of a head; sets the attributes of the request.

        :raises ValueError: if it is refused.
        """
        reader = self.rfile
        if not isinstance(reader, HTTPReader):
            reader = self.server._reader_of(reader)
        if isinstance(raw_requestline, str):
            raw_requestline = raw_requestline.encode("latin-1")
        request = reader.read_request(raw_requestline)
        if request is None:
            raise ValueError("the head ended too early")
        self._use_request(request)
        return True

    def _use_request(self, request: Any) -> None:
        self._request = request
        self._message = None
        self.requestline = request.requestline
        self.command = request.method
        self.path = request.target
        self.request_version = request.version
        self.content_length = request.content_length
        self.close_connection = not request.keep_alive

    def _handle_client_error(self, ex: Exception) -> Any:
        """What a refused request is answered with: ``(status, response)``."""
        self.close_connection = True
        if isinstance(ex, HTTPError):
            self.log_error("(from %s) %s", self.client_address, ex)
            self._note_refused_line()
            status: int = getattr(ex, "status", 400)
            response = _REFUSALS.get(status)
            if response is None:
                reason = client.responses.get(status, "Refused")
                response = _refusal(status, reason)
            return (str(status), response)
        if not isinstance(ex, (ValueError, HTTPInputError)):
            self._print_unexpected_exc()
        self.log_error(
            "Invalid request (from %s): %s",
            self.client_address,
            str(ex) or type(ex).__name__,
        )
        return ("400", _BAD_REQUEST_RESPONSE)

    def _note_refused_line(self) -> None:
        """Tell the access log the line that was refused, made harmless."""
        rfile = self.rfile
        if self.requestline is None and isinstance(rfile, HTTPReader):
            line = rfile.take_buffered()[:MAX_REQUEST_LINE]
            text = line.lstrip(b"\r\n").split(b"\n", 1)[0].decode("latin-1")
            self.requestline = (
                text.rstrip().encode("unicode_escape").decode("ascii")
            )

    # The environ

    def get_environ(self) -> Any:
        """The environ of the request: the server's, and what it tells."""
        env = self.server.get_environ()
        request = self._request
        if request is not None:
            request.fill_environ(env)
        if self._is_read_by_hand:
            self._correct_environ(env)
        address = self.client_address
        if isinstance(address, tuple):
            env["REMOTE_ADDR"] = str(address[0])
            env["REMOTE_PORT"] = str(address[1])
        return self._add_input(env)

    def _add_input(self, env: Any) -> Any:
        request = self._request
        if request is not None:
            body = request.input(self.rfile, self.socket)
        else:
            body = Input(self.rfile, self.content_length)
        self.wsgi_input = body
        self.connection_upgraded = False
        if (
            request is not None
            and not request.has_body
            and request.asks_upgrade
            and self.request_version != "HTTP/1.0"
        ):
            # What follows is of another protocol, if the application says so.
            self.connection_upgraded = True
            if "websocket" in request.get("upgrade", "").lower():
                # It may take the socket, and not tell us.
                self.close_connection = True
            env["wsgi.input"] = self.rfile
            env["wsgi.input_terminated"] = False
        else:
            env["wsgi.input"] = body
            env["wsgi.input_terminated"] = True
        return env

    def _correct_environ(self, env: Any) -> None:
        """Heed what subclasses changed after, or without, read_request()."""
        request = self._request
        if request is None or self.command != request.method:
            env["REQUEST_METHOD"] = self.command
        if request is None or self.path != request.target:
            path, _, query = (self.path or "").partition("?")
            from urllib.parse import unquote

            env["PATH_INFO"] = unquote(path, encoding="latin-1")
            env["QUERY_STRING"] = query
        if request is None:
            env["SERVER_PROTOCOL"] = self.request_version or "HTTP/0.9"
        if self._message is None:
            return
        for key in [key for key in env if key.startswith("HTTP_")]:
            del env[key]
        for name, value in self._message.items():
            if "_" in name:
                continue
            key = name.upper().replace("-", "_")
            if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
                key = f"HTTP_{key}"
                if key in env:
                    comma = "; " if "COOKIE" in key else ","
                    value = f"{env[key]}{comma}{value}"
            env[key] = value

    # The response

    def handle_one_response(self) -> None:
        """Call the application for one request, and send what it returns."""
        self.time_start = time.time()
        self.status = None
        self._orig_status = None
        self.code = None
        self.headers_sent = False
        self.result = None
        self.response_headers = None
        self.response_use_chunked = False
        self.response_length = 0
        self._body_left = None
        try:
            try:
                self.run_application()
            finally:
                body = self.wsgi_input
                if body is not None and not body.done:
                    self._discard_body(body)
        except HTTPInputError as ex:
            self._handle_client_error(ex)
            self.close_connection = True
            self._send_error_response_if_possible(400)
        except OSError as ex:
            if ex.errno in self.ignored_socket_errors:
                self.close_connection = True
            else:
                self.handle_error(*sys.exc_info())
        except:  # noqa: E722
            self.handle_error(*sys.exc_info())
        finally:
            self.time_finish = time.time()
            self.log_request()

    def _discard_body(self, body: Any) -> None:
        """What the application left of the body is not the next request."""
        if self.close_connection or self.status is None:
            return
        server = self.server
        is_all = False
        with Timeout(server.discard_timeout, False):
            is_all = body.drain(server.max_discard)
        if not is_all:
            self.close_connection = True

    def run_application(self) -> None:
        """Call the application, and send what it returns."""
        assert self.result is None
        try:
            self.result = self.application(self.environ, self.start_response)
            self.process_result()
        finally:
            close = getattr(self.result, "close", None)
            try:
                if close is not None:
                    close()
            finally:
                # Discard the result, which may hold a lot.
                self.result = None

    def process_result(self) -> None:
        """Send what the application returned."""
        result = self.result
        kind = type(result)
        if (
            (kind is list or kind is tuple)
            and len(result) > 1
            and not self.headers_sent
            and size_of(result) <= _JOINED
        ):
            data = b"".join(result)
            if data:
                self.write(data)
        else:
            for data in result:
                if data:
                    self.write(data)
        if self.status and not self.headers_sent:
            self.write(b"")
        if self.response_use_chunked and self.command != "HEAD":
            self._sendall(b"0\r\n\r\n")
        if self._body_left and self.command != "HEAD":
            self.close_connection = True  # less than was said

    def start_response(
        self, status: Any, headers: Any, exc_info: Any = None
    ) -> Callable[[Any], None]:
        """Set the status and the headers; PEP 3333.

        :raises ValueError: if they would split the response, or are not valid.
        :raises UnicodeError: if they are not str of latin-1.
        """
        if exc_info:
            try:
                if self.headers_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        if not isinstance(status, str):
            raise UnicodeError("The status string must be a native string")
        if "\r" in status or "\n" in status:
            raise ValueError("carriage return or newline in status", status)
        code = int(status.split(" ", 1)[0])
        encoded = status.encode("latin-1")
        response_headers, length, date, connection = http_encode_headers(
            headers
        )
        if length is not None and (code in (204, 304)) and int(length):
            # Bytes: applications return what it was told.
            message = (
                f"Invalid Content-Length for {code} response: {length!r} "
                "(must be absent or zero)"
            )
            raise self.ApplicationError(message.encode("latin-1"))
        # Only now: what was set before still counts if this is refused.
        self.status = encoded
        self._orig_status = status
        self.code = code
        self.response_headers = response_headers
        self.provided_content_length = length
        self.provided_date = date
        self._provided_connection = connection
        return self.write

    def finalize_headers(self) -> None:
        """Add what the server has to say; called before they are sent."""
        headers = self.response_headers
        code = self.code or 0
        if self._provided_connection is not None:
            if self._provided_connection.lower() == "close":
                self.close_connection = True
        elif self.close_connection:
            if code != 101:
                headers.append((b"Connection", b"close"))
        elif self.request_version == "HTTP/1.0":
            if self._has_known_length():
                headers.append((b"Connection", b"keep-alive"))
            else:
                self.close_connection = True
                headers.append((b"Connection", b"close"))
        if self.provided_date is None:
            headers.append((b"Date", http_date()))
        if code in (204, 304) or 100 <= code < 200:
            return
        if self.provided_content_length is not None:
            return
        length = self._computed_length()
        if length is not None:
            headers.append((b"Content-Length", b"%d" % length))
        elif self.request_version != "HTTP/1.0":
            self.response_use_chunked = True
            headers.append((b"Transfer-Encoding", b"chunked"))

    def _computed_length(self) -> int | None:
        """The length of what is returned as a list."""
        result = self.result
        if isinstance(result, (list, tuple)):
            return size_of(result)
        return None

    def _has_known_length(self) -> bool:
        return (
            self.provided_content_length is not None
            or self.code in (204, 304)
            or isinstance(self.result, (list, tuple))
        )

    def write(self, data: Any) -> None:
        """Send some of the body, after the head."""
        if type(data) is not bytes:
            data = as_bytes(data)
        if data and self.code in (204, 304):
            raise self.ApplicationError(
                f"The {self.code} response must have no body"
            )
        if self.headers_sent:
            self._write(data)
            return
        if not self.status:
            raise self.ApplicationError(
                "The application did not call start_response()"
            )
        self._write_with_headers(data)

    def _write_with_headers(self, data: Any) -> None:
        self.headers_sent = True
        try:
            head = self._head_with(data)
        except BaseException:
            self.headers_sent = False  # so that 500 can be said
            raise
        self._sendall(head)
        if len(data) > _JOINED:
            self._write(data)

    def _head_with(self, data: Any) -> bytes:
        """The head, and the data unless that is a lot."""
        body = self.wsgi_input
        if body is not None and body.socket is not None:
            body.send_100_continue_enabled = False  # it is too late for that
        self.finalize_headers()
        status = self.status
        if isinstance(status, str):
            status = status.encode("latin-1")
        length = self.provided_content_length
        # False: a subclass says that it is none of our business.
        self._body_left = int(length) if length else None
        if not data or self.command == "HEAD" or len(data) > _JOINED:
            data = b""  # write("") is what some handlers do
        elif self._body_left is not None:
            data = self._cut(data)
        return http_response(
            status, self.response_headers, data, self.response_use_chunked
        )

    def _cut(self, data: Any) -> Any:
        """No more than Content-Length says, or it would be a response."""
        left = self._body_left or 0
        if len(data) > left:
            self.close_connection = True
            data = bytes(data)[:left]
        self._body_left = left - len(data)
        return data

    def _write(self, data: Any) -> None:
        if not data or self.command == "HEAD":
            return
        if self.response_use_chunked:
            if len(data) <= _JOINED:
                self._sendall(http_chunk(data))
                return
            self._sendall(b"%x\r\n" % len(data))
            self._sendall(data)
            self._sendall(b"\r\n")
            return
        if self._body_left is not None:
            data = self._cut(data)
        if data:
            self._sendall(data)

    def _sendall(self, data: Any) -> None:
        server = self.server
        try:
            http_sendall(
                self.socket, data, server.write_timeout, server.min_rate
            )
        except OSError as ex:
            self.status = f"socket error: {ex}"
            if self.code and self.code > 0:
                self.code = -self.code
            raise
        self.response_length += len(data)

    # Errors

    def handle_error(self, t: Any, v: Any, tb: Any) -> None:
        """Report an error of the application; answer 500 if it is possible."""
        if not issubclass(t, GreenletExit):
            self._log_error(t, v, tb)
        t = v = tb = None
        self._send_error_response_if_possible(500)

    def _log_error(self, t: Any, v: Any, tb: Any) -> None:
        environ = self.environ
        if environ is not None:
            environ = self.server.secure_environ_class(environ)
        self.server.loop.handle_error(environ, t, v, tb)

    def _send_error_response_if_possible(self, error_code: int) -> None:
        if self.response_length:
            self.close_connection = True
            return
        status, headers, body = _ERRORS[error_code]
        self.response_use_chunked = False
        try:
            self.start_response(status, headers[:])
            self.write(body)
        except OSError:
            self.close_connection = True

    # Logs

    def log_error(self, msg: str, *args: Any) -> None:
        """Write a line to the error log: `msg` % `args`."""
        try:
            message = msg % args
        except Exception:
            self._print_unexpected_exc()
            message = repr((msg, args))
        try:
            sock = self.__dict__.get("socket")
            self.server.error_log.write(f"{sock}: {message}\n")
        except Exception:
            self._print_unexpected_exc()

    def log_request(self) -> None:
        """Write a line to the access log."""
        log = self.server.log
        if type(log) is not _NoopLog:
            log.write(self.format_request() + "\n")
        elif type(self).format_request is not _format_request:
            self.format_request()  # it may do more than to make a line

    def format_request(self) -> str:
        """The line of the access log, without its end."""
        now = _local_time()
        length = self.response_length or "-"
        if self.time_finish:
            delta = f"{self.time_finish - self.time_start:.6f}"
        else:
            delta = "-"
        client_address = self.client_address
        if isinstance(client_address, tuple):
            client_address = client_address[0]
        status = self._orig_status or self.status or "000"
        if isinstance(status, bytes):
            status = status.decode("latin-1")
        return (
            f"{client_address or '-'} - - [{now}] "
            f'"{self.requestline or ""}" {status.split()[0]} {length} {delta}'
        )


_format_request = WSGIHandler.format_request
_read_requestline = WSGIHandler.read_requestline
_read_request = WSGIHandler.read_request


# --- servers -----------------------------------------------------------------


class WSGIServer(StreamServer):
    """A WSGI server, with or without SSL.

    :param application: what is called: ``application(environ,
        start_response)``.
    :param log: of requests: a file, a logger (level INFO), ``"default"`` for
        stderr, None for none.
    :param error_log: the same, of errors (level ERROR), and ``wsgi.errors``.
    :param handler_class: instead of ``handler_class``.
    :param environ: a dict, to be added to each environ.

    The others as for :class:`gevent.server.StreamServer`.

    Behaves as ``gevent.pywsgi.WSGIServer``, gevent 26.9. Times and limits
    below are ours.
    """

    handler_class: Any = WSGIHandler
    log: Any = None
    error_log: Any = None

    #: The class of environs.
    environ_class: Any = dict
    #: And of those in error reports.
    secure_environ_class: Any = WSGISecureEnviron

    base_env: dict[str, Any] = {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_SOFTWARE": "gevent/{}.{} Python/{}.{}".format(
            *version_info[:2], *sys.version_info[:2]
        ),
        "SCRIPT_NAME": "",
        "wsgi.version": (1, 0),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }

    # Limits; seconds and bytes. None: no limit.

    #: For a handshake of SSL.
    handshake_timeout: float | None = 10
    #: For a whole head, and for the first request to begin.
    head_timeout: float | None = 20
    #: For another request on the same connection.
    idle_timeout: float | None = 75
    #: For each part of a body.
    body_timeout: float | None = 60
    #: For what is written, until the client has taken it.
    write_timeout: float | None = 60
    #: For so many bytes the waits for a body, all taken together, may be a
    #: second longer than `body_timeout`, and those for a piece that is written
    #: than `write_timeout`. 0: no limit but these, for each part.
    min_rate = 240
    #: For what an application did not read of a body.
    discard_timeout: float | None = 10
    #: How much of that is read; if there is more, the connection is closed.
    max_discard = 1024 * 1024
    #: For the client to close, after a refusal.
    linger_timeout: float | None = 1

    #: Of a request line; of a field; of all of a head; and how many fields.
    max_request_line = MAX_REQUEST_LINE
    max_field = MAX_REQUEST_LINE
    max_head = 65536
    max_fields = 100

    #: What is tolerated although RFC 9112 has it refused: any of
    #: ``"no-host"`` (HTTP/1.1 without Host), ``"folded"`` (fields over several
    #: lines), ``"bare-lf"`` (lines that end with LF alone), ``"raw-target"``
    #: (bytes from 0x80 in a target), ``"same-lengths"`` (equal Content-Length
    #: fields).
    lenient: Iterable[str] = ("no-host",)

    environ: dict[str, Any]
    application: Any

    def __init__(
        self,
        listener: Any,
        application: Any = None,
        backlog: int | None = None,
        spawn: Any = "default",
        log: Any = "default",
        error_log: Any = "default",
        handler_class: Any = None,
        environ: Any = None,
        **ssl_args: Any,
    ) -> None:
        handle = None
        if "handle" in ssl_args:
            import warnings

            warnings.warn(
                "Passing 'handle' kwarg to WSGIServer is deprecated. Did you "
                "mean application?",
                DeprecationWarning,
                stacklevel=2,
            )
            handle = ssl_args.pop("handle")
        self._nodelay = False
        super().__init__(
            listener, handle=handle, backlog=backlog, spawn=spawn, **ssl_args
        )
        if application is not None:
            self.application = application
        if handler_class is not None:
            self.handler_class = handler_class
        self.log = _log_for(log, 20)
        self.error_log = _log_for(error_log, 40)
        self.set_environ(environ)
        self.set_max_accept()

    def set_environ(self, environ: Any = None) -> None:
        """Make the environ that those of requests are copies of."""
        if environ is not None:
            self.environ = environ
        own = getattr(self, "environ", None)
        self.environ = self.environ_class(self.base_env)
        self.environ["wsgi.url_scheme"] = (
            "https" if self.ssl_enabled else "http"
        )
        if own is not None:
            self.environ.update(own)
        if self.environ.get("wsgi.errors") is None:
            self.environ["wsgi.errors"] = self.error_log

    def set_max_accept(self) -> None:
        """Accept one at a time if others share the listener."""
        if self.environ.get("wsgi.multiprocess"):
            self.max_accept = 1

    def get_environ(self) -> Any:
        """A new environ, with what does not depend on the request."""
        return self.environ_class(self.environ)

    def init_socket(self) -> None:
        """Make the socket, if an address was given; complete the environ."""
        super().init_socket()
        self._nodelay = self.socket.family in (AF_INET, AF_INET6)
        self.update_environ()

    def update_environ(self) -> None:
        """Put the server's name and port into the environ."""
        address = self.address
        if isinstance(address, tuple):
            if "SERVER_NAME" not in self.environ:
                try:
                    name = socket.getfqdn(address[0])  # type: ignore[attr-defined]
                except OSError:
                    name = str(address[0])
                self.environ["SERVER_NAME"] = name
            self.environ.setdefault("SERVER_PORT", str(address[1]))
        else:
            self.environ.setdefault("SERVER_NAME", "")
            self.environ.setdefault("SERVER_PORT", "")

    def _reader_of(self, source: Any) -> HTTPReader:
        """What requests are read with, from a socket or a file."""
        reader = HTTPReader(source)
        reader.idle_timeout = self.idle_timeout
        reader.head_timeout = self.head_timeout
        reader.body_timeout = self.body_timeout
        reader.body_rate = self.min_rate
        reader.max_line = self.max_request_line
        reader.max_field = self.max_field
        reader.max_head = self.max_head
        reader.max_fields = self.max_fields
        if self.lenient:
            reader.leniency = sum(_LENIENCY[name] for name in self.lenient)
        return reader

    def wrap_socket_and_handle(self, client_socket: Any, address: Any) -> Any:
        """Wrap the connection into SSL, and handle it."""
        assert self.ssl_args is not None
        try:
            with Timeout(self.handshake_timeout, _HandshakeTimeout):
                wrapped = self.wrap_socket(client_socket, **self.ssl_args)
        except _HandshakeTimeout as ex:
            self.error_log.write(f"(from {address}) {ex}\n")
            return None
        with closing(wrapped):
            return self.handle(wrapped, address)

    def handle(self, sock: Any, address: Any) -> None:
        """Have a handler do all of a connection."""
        if self._nodelay:
            # Else what is sent in two pieces takes 40 ms.
            try:
                sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
            except OSError:
                pass
        self.handler_class(sock, address, self).handle()


def _main() -> None:
    """``python -m gevent.pywsgi module:application``: serve it."""
    import argparse
    from importlib import import_module

    parser = argparse.ArgumentParser()
    parser.add_argument("app", help="dotted name of a WSGI app [module:app]")
    parser.add_argument(
        "-b",
        "--bind",
        default=":8080",
        help="address to listen on (%(default)s)",
    )
    args = parser.parse_args()
    module, _, name = args.app.partition(":")
    app: Any = import_module(module)
    for part in (name or "application").split("."):
        app = getattr(app, part)
    WSGIServer(args.bind, app).serve_forever()


if __name__ == "__main__":
    from coir.gevent import monkey

    monkey.patch_all()
    _main()
