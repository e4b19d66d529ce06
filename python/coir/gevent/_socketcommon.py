"""What :mod:`gevent.socket` consists of, apart from the class.

The lists of names below say what is ours and what is the standard library's;
:mod:`gevent.monkey` goes by them.
"""

from __future__ import annotations

import _socket
import socket as __socket__
from collections.abc import Callable
from errno import (  # noqa: F401
    EAGAIN,
    EALREADY,
    EBADF,
    ECONNREFUSED,
    EHOSTUNREACH,
    EINPROGRESS,
    EINVAL,
    EISCONN,
    EWOULDBLOCK,
)
from typing import Any

from coir._core import wait_fd

from ._hub_local import get_hub
from ._hub_primitives import wait_on_watcher as wait  # noqa: F401
from ._util import _NONE, copy_globals
from .timeout import Timeout

_realsocket = _socket.socket
_SocketError = __socket__.error
error = __socket__.error
gaierror = __socket__.gaierror
herror = __socket__.herror
timeout = __socket__.timeout

AF_INET = __socket__.AF_INET
AF_INET6 = __socket__.AF_INET6
AF_UNSPEC = __socket__.AF_UNSPEC
SOCK_STREAM = __socket__.SOCK_STREAM

#: Means the socket's own timeout to ``send()``.
timeout_default = object()
_GLOBAL_DEFAULT_TIMEOUT = __socket__._GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]

GSENDAGAIN = (EWOULDBLOCK,)
_RESOLVABLE_FAMILIES = (AF_INET, AF_INET6)

__dns__ = [
    "getaddrinfo",
    "gethostbyname",
    "gethostbyname_ex",
    "gethostbyaddr",
    "getnameinfo",
    "getfqdn",
]

_implements = [
    "create_connection",
    "socket",
    "SocketType",
    "fromfd",
    "socketpair",
    *__dns__,
]

__extensions__ = [
    "cancel_wait",
    "wait_read",
    "wait_write",
    "wait_readwrite",
]

#: Names of the standard library that are used as they are; constants follow.
_taken = [
    "error",
    "gaierror",
    "herror",
    "htonl",
    "htons",
    "ntohl",
    "ntohs",
    "inet_aton",
    "inet_ntoa",
    "inet_pton",
    "inet_ntop",
    "timeout",
    "gethostname",
    "getprotobyname",
    "getservbyname",
    "getservbyport",
    "getdefaulttimeout",
    "setdefaulttimeout",
    "AddressFamily",
    "SocketKind",
    "CMSG_LEN",
    "CMSG_SPACE",
    "dup",
    "if_indextoname",
    "if_nameindex",
    "if_nametoindex",
    "sethostname",
    "create_server",
    "has_dualstack_ipv6",
    "recv_fds",
    "send_fds",
]


def _imports() -> list[str]:
    names = [name for name in _taken if hasattr(__socket__, name)]
    names += sorted(
        name
        for name, value in vars(__socket__).items()
        if isinstance(value, (int, str))
        and name.isupper()
        and not name.startswith("_")
        and name != "EBADF"
        and name not in ("EAGAIN", "EWOULDBLOCK")
    )
    names.append("has_ipv6")
    # What later versions of Python add.
    known = {*names, *_implements, *__extensions__}
    names += [
        name
        for name in __socket__.__all__
        if name not in known and name not in _IGNORED
    ]
    return names


#: Of Windows, or nobody's.
_IGNORED = ("errorTab", "fromshare", "CAPI")

__imports__ = _imports()
copy_globals(__socket__, globals(), only_names=__imports__)


# --- waiting -----------------------------------------------------------------


class cancel_wait_ex(_SocketError):
    """Raised in who waits for a descriptor that somebody else closes."""

    def __init__(self) -> None:
        super().__init__(
            EBADF, "File descriptor was closed in another greenlet"
        )


class ConnectionInterrupted(ConnectionError):
    """The stream lacks the end of what an interrupted sendall() was to send.

    Raised by the next attempt to send something on that socket: the peer
    would take it for the rest of the former. Close the connection; or call
    the socket's ``resume()`` if the protocol can do with it.
    """


def cancel_wait(watcher: Any, error: Any = cancel_wait_ex) -> None:
    """End the wait of who waits for `watcher`: `error` is raised there."""
    get_hub().cancel_wait(watcher, error)


def _wait_fd(
    fileno: int, events: int, seconds: float | None, exc: Any
) -> None:
    if isinstance(seconds, Timeout):
        with seconds.start_new(seconds):
            wait_fd(fileno, events)
        return
    if not wait_fd(fileno, events, seconds):
        raise timeout("timed out") if exc is _NONE else exc


def wait_read(
    fileno: int, timeout: float | None = None, timeout_exc: Any = _NONE
) -> None:
    """Block the current greenlet until a descriptor can be read from.

    :param timeout: seconds; ``None`` waits for ever.
    :param timeout_exc: raised after that; by default ``timeout("timed out")``.
    """
    _wait_fd(fileno, 1, timeout, timeout_exc)


def wait_write(
    fileno: int,
    timeout: float | None = None,
    timeout_exc: Any = _NONE,
    event: Any = _NONE,
) -> None:
    """As :func:`wait_read`, until it can be written to. `event` is ignored."""
    _wait_fd(fileno, 2, timeout, timeout_exc)


def wait_readwrite(
    fileno: int,
    timeout: float | None = None,
    timeout_exc: Any = _NONE,
    event: Any = _NONE,
) -> None:
    """As :func:`wait_read`, until it can be read from or written to."""
    _wait_fd(fileno, 3, timeout, timeout_exc)


# --- names -------------------------------------------------------------------


def getaddrinfo(
    host: Any,
    port: Any,
    family: int = 0,
    type: int = 0,
    proto: int = 0,
    flags: int = 0,
) -> Any:
    """Addresses of a host and a port, as :func:`socket.getaddrinfo`.

    Blocks the current greenlet only. Asks ``get_hub().resolver``, as all
    functions for names do.
    """
    found = get_hub().resolver.getaddrinfo(
        host, port, family, type, proto, flags
    )
    return [
        (
            _intenum_converter(af, __socket__.AddressFamily),
            _intenum_converter(kind, __socket__.SocketKind),
            number,
            canonname,
            addr,
        )
        for af, kind, number, canonname, addr in found
    ]


def gethostbyname(hostname: Any) -> Any:
    """An IPv4 address of a host, as text."""
    return get_hub().resolver.gethostbyname(hostname)


def gethostbyname_ex(hostname: Any) -> Any:
    """(name, aliases, IPv4 addresses) of a host."""
    return get_hub().resolver.gethostbyname_ex(hostname)


def gethostbyaddr(ip_address: Any) -> Any:
    """(name, aliases, addresses) of the host of an address."""
    return get_hub().resolver.gethostbyaddr(ip_address)


def getnameinfo(sockaddr: Any, flags: int) -> Any:
    """(host, port) of a socket's address, as text."""
    if not isinstance(sockaddr, tuple):
        raise TypeError("getnameinfo() argument 1 must be a tuple")
    return get_hub().resolver.getnameinfo(sockaddr, flags)


def getfqdn(name: Any = "") -> Any:
    """The full name of a host; of this one if `name` is empty.

    The first of its names that has a dot, else `name` itself.
    """
    name = name.strip()
    if not name or name in ("0.0.0.0", "::"):
        name = __socket__.gethostname()
    try:
        first, aliases, _ = gethostbyaddr(name)
    except OSError:
        return name
    for candidate in (first, *aliases):
        if isinstance(candidate, bytes):
            has_dot = b"." in candidate
        else:
            has_dot = "." in candidate
        if has_dot:
            return candidate
    return first


def _intenum_converter(value: int, enum_klass: Callable[[int], Any]) -> Any:
    """The member of the enumeration, or the number if it has none."""
    try:
        return enum_klass(value)
    except ValueError:
        return value


def _resolve_addr(sock: Any, address: Any) -> Any:
    """`address` with its host looked up, where `sock` takes such."""
    if sock.family not in _RESOLVABLE_FAMILIES or not isinstance(
        address, tuple
    ):
        return address
    # With a scope there is nothing to look up.
    if len(address) == 4 and address[3] != 0:
        return address
    host, port = address[:2]
    if host in ("", "<broadcast>"):
        return address
    if isinstance(port, int) and not 0 <= port <= 0xFFFF:
        # Some getaddrinfo() would only take the lower bits.
        raise OverflowError("port must be 0-65535.")
    # Flags in the type are no business of getaddrinfo().
    found = getaddrinfo(host, port, sock.family, sock.type, sock.proto)
    resolved = found[0][4]
    if len(address) > 2 and len(resolved) == 4:
        resolved = (*resolved[:2], *address[2:])
    return resolved
