"""What goes with eventlet's WSGI server: headers, logs, bodies."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

from coir import eventlet
from coir._core import HTTPInputError, http_date
from coir._core import Input as _Body

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_HEADER_LINE = 8192
MAX_TOTAL_HEADER_SIZE = 65536

# How much of a body that nobody wants is read, and for how long.
_MAX_DISCARD = 1024 * 1024
_DISCARD_SECONDS = 10


def format_date_time(timestamp: float) -> str:
    """A date as HTTP writes it, for seconds since 1970."""
    return http_date(timestamp).decode()


def addr_to_host_port(addr: Any) -> tuple[Any, Any]:
    """Host and port of an address; ``("unix", "")`` of a Unix socket's."""
    if isinstance(addr, tuple):
        return addr[0], addr[1]
    return "unix", ""


def _check_header(name: Any, value: Any) -> None:
    for text in (name, value):
        if (
            isinstance(text, str)
            and not text.isprintable()
            and ("\r" in text or "\n" in text or "\0" in text)
        ):
            raise ValueError(f"line's end in a header: {name!r}: {value!r}")


def _encode_header_line(header: tuple[Any, Any]) -> bytes:
    """A field of a response, with its line's end."""
    name, value = header
    try:
        name = str(name).encode("latin-1")
    except UnicodeEncodeError as exc:
        raise UnicodeEncodeError(
            "latin-1",
            exc.object,
            exc.start,
            exc.end,
            "WSGI header names must be latin-1 (PEP 3333), and are ASCII in "
            "HTTP/1.1 (RFC 9110).",
        ) from None
    try:
        value = str(value).encode("latin-1")
    except UnicodeEncodeError as exc:
        raise UnicodeEncodeError(
            "latin-1",
            exc.object,
            exc.start,
            exc.end,
            "WSGI header values must be latin-1 (PEP 3333); encode others as "
            "RFC 8187 tells, or by percent signs.",
        ) from None
    return b"%b: %b\r\n" % (name, value)


@functools.lru_cache(1024)
def _capitalized(name: str) -> str:
    # Of ASCII letters only: the others may be longer in upper case.
    encoded = name.encode("latin-1", "surrogateescape")
    return b"-".join(
        part.capitalize() for part in encoded.split(b"-")
    ).decode("latin-1")


# --- logs --------------------------------------------------------------------


class LoggerNull:
    """A log that nobody reads."""

    def __init__(self) -> None:
        pass

    def error(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Nothing."""

    info = debug = write = error


class LoggerFileWrapper(LoggerNull):
    """A file as a logger."""

    def __init__(self, log: Any, debug: Any) -> None:
        self.log = log
        self._debug = debug

    def error(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Write a line."""
        self.write(msg, *args)

    def info(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Write a line."""
        self.write(msg, *args)

    def debug(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Write a line, if debugging."""
        if self._debug:
            self.write(msg, *args)

    def write(self, msg: str, *args: Any) -> None:
        """Write a line."""
        self.log.write((msg % args if args else msg) + "\n")


def get_logger(log: Any, debug: Any) -> Any:
    """A logger for what `server` is given as its log."""
    if callable(getattr(log, "info", None)) and callable(
        getattr(log, "debug", None)
    ):
        return log
    return LoggerFileWrapper(log or sys.stderr, debug)


# --- bodies ------------------------------------------------------------------


class ChunkReadError(ValueError):
    """A chunked body is not valid."""


class _ChunkCut(ChunkReadError, OSError):
    """A chunked body ended too early."""


class HeaderLineTooLong(Exception):
    """A field is longer than MAX_HEADER_LINE."""


class HeadersTooLarge(Exception):
    """A head is longer than MAX_TOTAL_HEADER_SIZE."""


class FileObjectForHeaders:
    """A file the lines of which are limited, one by one and in sum."""

    def __init__(self, fp: Any) -> None:
        self.fp = fp
        self.total_header_size = 0

    def readline(self, size: int = -1) -> bytes:
        """A line.

        :raises HeaderLineTooLong: if it is.
        :raises HeadersTooLarge: if all of them are.
        """
        limit = size if 0 <= size < MAX_HEADER_LINE else MAX_HEADER_LINE
        line: bytes = self.fp.readline(limit)
        if limit == MAX_HEADER_LINE and len(line) == limit:
            raise HeaderLineTooLong
        self.total_header_size += len(line)
        if self.total_header_size > MAX_TOTAL_HEADER_SIZE:
            raise HeadersTooLarge
        return line


class Input:
    """The body of a request, ``wsgi.input``.

    Before the first read 100 (Continue) is sent, if the client waits for it
    and no response was begun.
    """

    def __init__(
        self,
        rfile: Any,
        content_length: int | None,
        sock: Any,
        wfile: Any = None,
        wfile_line: bytes | None = None,
        chunked_input: bool = False,
    ) -> None:
        self.rfile = rfile
        self._sock = sock
        self._content_length = content_length
        self.wfile = wfile
        self.wfile_line = wfile_line
        self.chunked_input = chunked_input
        self.hundred_continue_headers: Any = None
        self.is_hundred_continue_response_sent = False
        #: What tells whether a response was begun; set by the server.
        self.headers_sent: Any = None
        self._body = self._new_body()

    def _new_body(self) -> Any:
        return _Body(
            self.rfile, self._content_length, None, self.chunked_input
        )

    @property
    def content_length(self) -> int | None:
        """The bytes of the body; None: unknown.

        May be set before it is read, for protocols that have a body of which
        the head does not tell.
        """
        return self._content_length

    @content_length.setter
    def content_length(self, value: int | None) -> None:
        self._content_length = value
        self._body = self._new_body()

    @property
    def position(self) -> int:
        """How much was read."""
        return int(self._body.position)

    @property
    def chunk_length(self) -> int:
        """What is left of the chunk; -1 before the first one."""
        return int(self._body.chunk_length)

    @property
    def should_send_hundred_continue(self) -> bool:
        """Whether the client still waits for 100 (Continue)."""
        return (
            self.wfile is not None
            and not self.headers_sent
            and not self.is_hundred_continue_response_sent
        )

    def set_hundred_continue_response_headers(
        self, headers: Any, capitalize_response_headers: bool = True
    ) -> None:
        """Say what the next 100 (Continue) is to have."""
        if capitalize_response_headers:
            headers = [(_capitalized(name), value) for name, value in headers]
        self.hundred_continue_headers = headers

    def send_hundred_continue_response(self) -> None:
        """Send 100 (Continue); another body, if chunked, may follow."""
        if self.headers_sent:
            return
        parts = [self.wfile_line or b"HTTP/1.1 100 Continue\r\n"]
        for header in self.hundred_continue_headers or ():
            _check_header(*header)
            parts.append(_encode_header_line(header))
        parts.append(b"\r\n")
        self.wfile.write(b"".join(parts))
        self.wfile.flush()
        self.hundred_continue_headers = None
        self.is_hundred_continue_response_sent = True
        if self.chunked_input and self._body.done:
            self._body = self._new_body()

    def _call(self, method: str, *args: Any) -> Any:
        if self.should_send_hundred_continue:
            self.send_hundred_continue_response()
        try:
            return getattr(self._body, method)(*args)
        except HTTPInputError as exc:
            raise ChunkReadError(exc) from exc
        except TimeoutError:
            raise
        except OSError as exc:
            if self.chunked_input and exc.errno is None:
                raise _ChunkCut(*exc.args) from exc
            raise

    def read(self, length: int | None = None) -> Any:
        """Read that many bytes, fewer only at the end; None: all."""
        return self._call("read", length)

    def readline(self, size: int | None = None) -> Any:
        """Read a line, or that many bytes of it."""
        return self._call("readline", size)

    def readlines(self, hint: int | None = None) -> Any:
        """Read lines."""
        return self._call("readlines", hint)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def get_socket(self) -> Any:
        """The connection, for an application that takes it."""
        return self._sock

    def discard(self, buffer_size: int = 16384) -> bool:
        """Drop what was not read; whether that was all of it."""
        if self._body.done:
            return True
        with eventlet.Timeout(_DISCARD_SECONDS, False):
            return bool(self._body.drain(_MAX_DISCARD))
        return False
