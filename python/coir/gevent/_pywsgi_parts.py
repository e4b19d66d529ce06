"""What goes with the WSGI server: environs, logs, the fields of a request."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from http import client
from typing import TYPE_CHECKING, Any

from coir._core import HTTPReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "Environ",
    "LoggingLogAdapter",
    "OldMessage",
    "SecureEnviron",
    "WSGISecureEnviron",
    "as_bytes",
    "headers_factory",
    "size_of",
]


def as_bytes(data: Any) -> Any:
    """Some of a body, so that its length is a number of bytes.

    Of a view of larger items it is not. What has no bytes stays as it is.
    """
    if isinstance(data, (bytes, bytearray)):
        return data
    try:
        view = memoryview(data)
    except TypeError:
        return data
    if view.itemsize == view.ndim == 1:
        return data
    return bytes(view)


def size_of(parts: Iterable[Any]) -> int:
    """How many bytes the parts of a body are."""
    size = 0
    for part in parts:
        size += len(part if type(part) is bytes else as_bytes(part))
    return size


class OldMessage(client.HTTPMessage):
    """The fields of a request, as :class:`http.client.HTTPMessage`."""

    #: What is wrong with them: nothing, as such a request is refused before.
    status = ""

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__()
        self._headers = list(fields)  # as it keeps them; without policies

    @property
    def headers(self) -> Iterator[str]:
        """The lines, one after the other."""
        return (f"{name}: {value}\r\n" for name, value in self._headers)

    @property
    def typeheader(self) -> str | None:
        """The value of Content-Type."""
        return self.get("content-type")

    def getheader(self, name: str, default: Any = None) -> Any:
        """The value of a field."""
        return self.get(name, default)


def headers_factory(_ignored: Any, fp: Any, *args: Any) -> OldMessage:
    """Read the fields of a head from a file, up to the empty line."""
    request = HTTPReader(fp).read_request(b"GET / HTTP/1.0\r\n")
    return OldMessage(() if request is None else request.headers)


# --- environs ----------------------------------------------------------------


class Environ(dict):  # type: ignore[type-arg]
    """A WSGI environ of a class of its own; pickled and copied as a dict."""

    __slots__ = ()

    def copy(self) -> Any:
        """A copy, of the same class."""
        return self.__class__(self)

    def iteritems(self) -> Any:
        """What Python 2 had."""
        return self.items()

    def __reduce_ex__(self, proto: Any) -> Any:
        return (dict, (), None, None, iter(self.items()))


class SecureEnviron(Environ):
    """An environ that does not show what is in it.

    ``secure_repr``: if false, it looks like any dict. ``whitelist_keys``: what
    is shown nevertheless. ``print_masked_keys``: whether the keys of the
    others are. Those of the class, ``default_*``, count unless an instance has
    its own.

        >>> from gevent.pywsgi import SecureEnviron
        >>> environ = SecureEnviron(PATH="/bin", PASSWORD="secret")
        >>> print(environ)  # doctest: +ELLIPSIS
        <pywsgi.SecureEnviron dict (keys: 2) at 0x...>
        >>> environ.whitelist_keys = ("PATH",)
        >>> environ
        {'PATH': '/bin', 'PASSWORD': '<MASKED>'}
        >>> environ.print_masked_keys = False
        >>> environ
        {'PATH': '/bin', (hidden keys: 1)}
        >>> environ["PASSWORD"]
        'secret'
        >>> environ.secure_repr = False
        >>> environ
        {'PATH': '/bin', 'PASSWORD': 'secret'}
    """

    default_secure_repr = True
    default_whitelist_keys: Any = ()
    default_print_masked_keys = True

    __slots__ = ("secure_repr", "whitelist_keys", "print_masked_keys")

    def __getattr__(self, name: str) -> Any:
        if name in SecureEnviron.__slots__:
            return getattr(type(self), f"default_{name}")
        raise AttributeError(name)

    def __repr__(self) -> str:
        if not self.secure_repr:
            return dict.__repr__(self)
        shown = self.whitelist_keys
        if not shown:
            return (
                f"<pywsgi.SecureEnviron dict (keys: {len(self)}) "
                f"at {id(self):#x}>"
            )
        masked = self.print_masked_keys
        parts = [
            f"{key!r}: {value!r}" if key in shown else f"{key!r}: '<MASKED>'"
            for key, value in self.items()
            if key in shown or masked
        ]
        hidden = len(self) - len(parts)
        if hidden:
            parts.append(f"(hidden keys: {hidden})")
        return "{" + ", ".join(parts) + "}"

    __str__ = __repr__


class WSGISecureEnviron(SecureEnviron):
    """One that shows who asked for which host: for error reports.

    >>> from gevent.pywsgi import WSGISecureEnviron
    >>> WSGISecureEnviron(HTTP_HOST="example.com", HTTP_COOKIE="id=1")
    {'HTTP_HOST': 'example.com', (hidden keys: 1)}
    """

    default_whitelist_keys = ("REMOTE_ADDR", "REMOTE_PORT", "HTTP_HOST")
    default_print_masked_keys = False


# --- logs --------------------------------------------------------------------


class LoggingLogAdapter:
    """A :class:`logging.Logger` as the log of a server.

    What it does not have is the logger's. Handlers of loggers may block: patch
    the process before logging is set up.

    :param level: of all that is written.
    """

    __slots__ = ("_logger", "_level")

    _logger: Any
    _level: int

    def __init__(self, logger: Any, level: int = 20) -> None:
        object.__setattr__(self, "_logger", logger)
        object.__setattr__(self, "_level", level)

    def write(self, msg: str) -> None:
        """Log a line."""
        if msg and msg.endswith("\n"):
            msg = msg[:-1]
        self._logger.log(self._level, msg)

    def flush(self) -> None:
        """Nothing."""

    def writelines(self, lines: Iterable[str]) -> None:
        """Log some lines."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logger, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in LoggingLogAdapter.__slots__:
            object.__setattr__(self, name, value)
        else:
            setattr(self._logger, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._logger, name)


class _NoopLog:
    """A log that nobody reads."""

    def write(self, *args: Any, **kwargs: Any) -> None:
        pass

    flush = writelines = write


def _log_for(log: Any, level: int) -> Any:
    if log == "default":
        return sys.stderr
    if log is None:
        return _NoopLog()
    if hasattr(log, "write") or not hasattr(log, "log"):
        return log
    return LoggingLogAdapter(log, level)


_latest: tuple[int, str] = (-1, "")


def _local_time() -> str:
    """What the access log says of now; made once a second."""
    global _latest
    now = int(time.time())
    if _latest[0] != now:
        _latest = (now, str(datetime.fromtimestamp(now)))
    return _latest[1]


class _HandshakeTimeout(TimeoutError):
    def __str__(self) -> str:
        return "the handshake took too long"


# --- answers to what is refused ----------------------------------------------

_INTERNAL_ERROR_STATUS = "500 Internal Server Error"
_INTERNAL_ERROR_BODY = b"Internal Server Error"
_INTERNAL_ERROR_HEADERS = (
    ("Content-Type", "text/plain"),
    ("Connection", "close"),
    ("Content-Length", str(len(_INTERNAL_ERROR_BODY))),
)
_BAD_REQUEST_STATUS = "400 Bad Request"
_BAD_REQUEST_BODY = b""
_BAD_REQUEST_HEADERS = (
    ("Content-Type", "text/plain"),
    ("Connection", "close"),
    ("Content-Length", "0"),
)
_ERRORS: dict[int, tuple[str, Any, bytes]] = {
    500: (
        _INTERNAL_ERROR_STATUS,
        _INTERNAL_ERROR_HEADERS,
        _INTERNAL_ERROR_BODY,
    ),
    400: (_BAD_REQUEST_STATUS, _BAD_REQUEST_HEADERS, _BAD_REQUEST_BODY),
}


def _refusal(status: int, reason: str) -> bytes:
    line = f"HTTP/1.1 {status} {reason}\r\n"
    return line.encode() + b"Connection: close\r\nContent-length: 0\r\n\r\n"


_BAD_REQUEST_RESPONSE = _refusal(400, "Bad Request")
_REQUEST_TOO_LONG_RESPONSE = _refusal(414, "Request URI Too Long")
_REFUSALS = {400: _BAD_REQUEST_RESPONSE, 414: _REQUEST_TOO_LONG_RESPONSE}
