"""What can be set about serving: one table for all who ask.

Each :class:`Option` is an option of ``coir serve``, a variable of the
environment, ``COIR_SERVE_NAME``, and a key of a configuration file; those of
the group ``limits`` are arguments of :class:`coir.http.Server` as well, by the
same name and with the same default. What is given on the command line goes
before the environment, and that before the file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["LIMITS", "OPTIONS", "Option", "from_environ", "from_file"]

PREFIX = "COIR_SERVE_"


@dataclass(frozen=True)
class Option:
    """One thing that can be set.

    :ivar parse: makes the value of a string, or raises ValueError.
    :ivar metavar: what stands for the value in help; "" for a flag.
    :ivar many: it is a list; on the command line it may be repeated, in the
        environment it is separated by spaces or commas.
    """

    name: str
    parse: Callable[[str], Any]
    default: Any
    metavar: str
    help: str
    group: str
    many: bool = False
    short: str = ""

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()

    def of_text(self, text: str) -> Any:
        if self.many:
            return [self.parse(t) for t in text.replace(",", " ").split()]
        return self.parse(text)

    def of_file(self, value: Any) -> Any:
        """Of what TOML gives: the value itself, or a string of it."""
        if self.many:
            items = value if isinstance(value, list) else [value]
            return [self._scalar(item) for item in items]
        return self._scalar(value)

    def _scalar(self, value: Any) -> Any:
        if isinstance(value, bool):
            if self.parse is not _boolean:
                raise ValueError("must not be true or false")
            return value
        if isinstance(value, (int, float, str)):
            return self.parse(str(value))
        raise ValueError("must be a string, a number or a list of them")


# --- kinds of values


def _string(text: str) -> str:
    return text


def _boolean(text: str) -> bool:
    lower = text.strip().lower()
    if lower in ("1", "true", "yes", "on"):
        return True
    if lower in ("", "0", "false", "no", "off"):
        return False
    raise ValueError(f"{text!r} is neither yes nor no")


_T = TypeVar("_T")


def _number(text: str, kind: Callable[[str], _T], wanted: str) -> _T:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{text!r} is not {wanted}") from None


def seconds(text: str) -> float:
    """A time; ``ms``, ``s``, ``m`` and ``h`` may follow. 0: without limit."""
    return _number(text, _seconds, "a time: seconds, or with ms, s, m or h")


def _seconds(text: str) -> float:
    for suffix, factor in ("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600):
        if text.endswith(suffix):
            text, scale = text[: -len(suffix)], factor
            break
    else:
        scale = 1
    value = float(text) * scale
    if not 0 <= value < 1e9:
        raise ValueError
    return value


def size(text: str) -> int:
    """A number of bytes; ``K``, ``M`` and ``G`` may follow."""
    return _number(text, _size, "a number of bytes, maybe with K, M or G")


def _size(text: str) -> int:
    shift = {"K": 10, "M": 20, "G": 30}.get(text[-1:].upper(), 0)
    value = int(text[:-1] if shift else text) << shift
    if value < 0:
        raise ValueError
    return value


def count(text: str) -> int:
    return _number(text, _count, "a number from 0 on")


def _count(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**31:
        raise ValueError
    return value


def _workers(text: str) -> int:
    if text == "auto":
        return len(os.sched_getaffinity(0))
    return _number(text, _count, "a number from 0 on, nor 'auto'")


def _mode(text: str) -> int:
    return _number(text, _octal, "permissions: three octal digits")


def _octal(text: str) -> int:
    value = int(text, 8)
    if not 0 <= value <= 0o777:
        raise ValueError
    return value


def _log_format(text: str) -> str:
    if text not in ("common", "combined", "json"):
        raise ValueError("a log's format is common, combined or json")
    return text


def _log_level(text: str) -> str:
    if text not in ("debug", "info", "warning", "error", "critical"):
        raise ValueError(f"{text!r} is no level")
    return text


# --- the table

_SERVING = (
    Option(
        "bind",
        _string,
        ["127.0.0.1:8000"],
        "ADDRESS",
        "where to listen: HOST:PORT, :PORT for all addresses, [IPv6]:PORT, "
        "unix:PATH, unix:@NAME, or fd:N; may be repeated",
        "serving",
        many=True,
        short="-b",
    ),
    Option(
        "workers",
        _workers,
        1,
        "N",
        "processes that serve, 'auto' for one per processor; 0: no "
        "supervising parent, this process serves itself",
        "serving",
        short="-w",
    ),
    Option(
        "reuse_port",
        _boolean,
        False,
        "",
        "give each worker a listener of its own (SO_REUSEPORT), so that the "
        "kernel spreads connections evenly, but does not see who is busy",
        "serving",
    ),
    Option(
        "unix_mode",
        _mode,
        None,
        "MODE",
        "permissions of the files of Unix sockets, as in chmod 660",
        "serving",
    ),
    Option(
        "backlog",
        count,
        1024,
        "N",
        "connections that may wait in the kernel until they are accepted",
        "serving",
    ),
    Option(
        "patch",
        _boolean,
        False,
        "",
        "make the standard library green before the application is imported "
        "(coir.gevent.monkey.patch_all())",
        "serving",
    ),
    Option(
        "as",
        _string,
        "",
        "NAMES",
        "packages that Coir stands in for in the application: gevent, "
        "greenlet; by default what COIR_AS says",
        "serving",
    ),
    Option(
        "chdir",
        _string,
        "",
        "DIR",
        "go there before the application is imported",
        "serving",
    ),
    Option(
        "pidfile",
        _string,
        "",
        "FILE",
        "write the process id of the parent there",
        "serving",
    ),
    Option(
        "script_name",
        _string,
        "",
        "PATH",
        "the application's SCRIPT_NAME: requests of paths below it are its",
        "serving",
    ),
    Option(
        "forwarded_allow_ips",
        _string,
        [],
        "ADDRESSES",
        "proxies whose X-Forwarded-For, X-Forwarded-Proto and "
        "X-Forwarded-Host are believed: addresses and networks, 'unix' for "
        "Unix sockets, '*' for all",
        "serving",
        many=True,
    ),
    Option(
        "worker_timeout",
        seconds,
        0.0,
        "TIME",
        "kill a worker whose hub has not run for so long: something blocks "
        "all its requests; 0: never",
        "serving",
    ),
    Option(
        "max_requests",
        count,
        0,
        "N",
        "replace a worker after so many requests; 0: never",
        "serving",
    ),
    Option(
        "max_requests_jitter",
        count,
        0,
        "N",
        "up to so many more, at random, so that not all are replaced at once",
        "serving",
    ),
)

_TLS = (
    Option(
        "certfile",
        _string,
        "",
        "FILE",
        "certificate, with those between it and the root: serve TLS",
        "TLS",
    ),
    Option(
        "keyfile",
        _string,
        "",
        "FILE",
        "its key, if it is not in the same file",
        "TLS",
    ),
    Option(
        "key_password_file",
        _string,
        "",
        "FILE",
        "whose first line is the key's password",
        "TLS",
    ),
    Option(
        "ca_certs",
        _string,
        "",
        "FILE",
        "ask clients for certificates issued by one of these",
        "TLS",
    ),
    Option(
        "client_optional",
        _boolean,
        False,
        "",
        "with --ca-certs: clients without a certificate may come, too",
        "TLS",
    ),
    Option(
        "ciphers", _string, "", "LIST", "of TLS 1.2, in OpenSSL's words", "TLS"
    ),
    Option(
        "tls_min",
        _string,
        "1.2",
        "VERSION",
        "oldest version that is spoken: 1.2 or 1.3",
        "TLS",
    ),
    Option(
        "alpn",
        _string,
        ["http/1.1"],
        "NAMES",
        "protocols that are offered by ALPN",
        "TLS",
        many=True,
    ),
)

_LOGS = (
    Option(
        "access_log",
        _string,
        "",
        "FILE",
        "log each request there, '-' for standard output",
        "logs",
    ),
    Option(
        "access_log_format",
        _log_format,
        "combined",
        "FORMAT",
        "common, combined or json",
        "logs",
    ),
    Option(
        "log",
        _string,
        "-",
        "FILE",
        "errors, and what the server does, '-' for standard error",
        "logs",
    ),
    Option(
        "log_level",
        _log_level,
        "info",
        "LEVEL",
        "debug, info, warning, error or critical",
        "logs",
    ),
)

# With those of include/coir/http_server.h, which says the same.
LIMITS = (
    Option(
        "handshake_timeout",
        seconds,
        10.0,
        "TIME",
        "for a TLS handshake",
        "limits",
    ),
    Option(
        "head_timeout",
        seconds,
        20.0,
        "TIME",
        "from a connection, or the first byte of a request, to the end of "
        "its head",
        "limits",
    ),
    Option(
        "idle_timeout",
        seconds,
        75.0,
        "TIME",
        "between two requests of a connection",
        "limits",
    ),
    Option(
        "request_timeout",
        seconds,
        0.0,
        "TIME",
        "from a head to the end of the response; then the application "
        "gets RequestTimeout, and the client 503",
        "limits",
    ),
    Option(
        "linger_timeout",
        seconds,
        5.0,
        "TIME",
        "for what a client still sends after the last response",
        "limits",
    ),
    Option(
        "rate_grace",
        seconds,
        20.0,
        "TIME",
        "how long reading a body, or sending a response, may wait for "
        "the client in all, apart from what --min-rate grants",
        "limits",
    ),
    Option(
        "min_rate",
        count,
        240,
        "BYTES",
        "for so many bytes that move it may wait a second more",
        "limits",
    ),
    Option(
        "max_connections",
        count,
        None,
        "N",
        "connections at a time; by default half of the descriptors that a "
        "process may have, at most 100000",
        "limits",
    ),
    Option(
        "max_active",
        count,
        0,
        "N",
        "requests handled at a time, more wait",
        "limits",
    ),
    Option(
        "max_keep_alive_requests",
        count,
        0,
        "N",
        "requests of a connection",
        "limits",
    ),
    Option(
        "max_body",
        size,
        0,
        "BYTES",
        "of a request's body; more is 413",
        "limits",
    ),
    Option(
        "max_drain",
        size,
        65536,
        "BYTES",
        "of a body that the application left unread are read, to keep the "
        "connection; else it is closed",
        "limits",
    ),
    Option("max_line", size, 8192, "BYTES", "of a request line", "limits"),
    Option("max_field", size, 8192, "BYTES", "of one header", "limits"),
    Option("max_fields", count, 100, "N", "headers", "limits"),
    Option("max_head", size, 65536, "BYTES", "of a whole head", "limits"),
    Option(
        "max_trailers",
        size,
        8192,
        "BYTES",
        "of all trailers of a chunked body",
        "limits",
    ),
    Option(
        "keep_alive",
        _boolean,
        True,
        "",
        "more than one request a connection",
        "limits",
    ),
    Option(
        "graceful_timeout",
        seconds,
        30.0,
        "TIME",
        "that requests have to end when the server stops",
        "limits",
    ),
)

OPTIONS = _SERVING + _TLS + _LOGS + LIMITS

_BY_NAME = {option.name: option for option in OPTIONS}


def from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    """Options of the environment.

    :raises ValueError: for a value that makes no sense.
    """
    values = {}
    for option in OPTIONS:
        text = environ.get(option.variable)
        if text is None:
            continue
        try:
            values[option.name] = option.of_text(text)
        except ValueError as exc:
            raise ValueError(f"{option.variable}: {exc}") from None
    return values


def from_file(path: str) -> dict[str, Any]:
    """Options of a TOML file: its top level, or its table ``serve``.

    Keys may be written with hyphens. ``app`` names the application.

    :raises ValueError: with the name of the file, for what makes no sense.
    :raises OSError: if it cannot be read.
    """
    import tomllib

    with open(path, "rb") as file:
        try:
            content = tomllib.load(file)
        except tomllib.TOMLDecodeError as exc:
            raise ValueError(f"{path}: {exc}") from None
    table = content.get("serve", content)
    if not isinstance(table, dict):
        raise ValueError(f"{path}: serve must be a table")
    values = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name == "app":
            values["app"] = str(value)
            continue
        option = _BY_NAME.get(name)
        if option is None:
            raise ValueError(f"{path}: there is no option {key!r}")
        try:
            values[name] = option.of_file(value)
        except ValueError as exc:
            raise ValueError(f"{path}: {key}: {exc}") from None
    return values
