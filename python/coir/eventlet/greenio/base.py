"""The socket of eventlet: one more face of the engine's.

What moves data or waits is in C, ``coir._core.Socket``; the class here adds
eventlet's constructor, which also takes a socket that exists, and what
programs know of eventlet's attributes. The engine knows by the class that
such a socket behaves as eventlet's does:

- a connection that the peer has reset is at its end, reading gives ``b""``;
- a timeout is for each wait, not for all of ``sendall()``;
- ``recv(0)`` waits, too; so does who reads before it is connected;
- who is accepted is of the class of the listener;
- of one socket and direction only one green thread may wait, unless
  ``debug.hub_prevent_multiple_readers(False)`` was called.
"""

from __future__ import annotations

import errno
import os
import socket
import warnings
import weakref
from typing import Any

from coir._core import set_socket_hooks, socket_type
from coir.gevent import _socketcommon as _common
from coir.gevent import socket as _gevent_socket
from coir.gevent.exceptions import InvalidSwitchError

from .. import hubs
from ..hubs import IOClosed, notify_opened, trampoline  # noqa: F401
from ..hubs import hub as _hub
from ..patcher import original
from ..support import get_errno

__all__ = [
    "GreenSocket",
    "_GLOBAL_DEFAULT_TIMEOUT",
    "set_nonblocking",
    "SOCKET_BLOCKING",
    "SOCKET_CLOSED",
    "CONNECT_ERR",
    "CONNECT_SUCCESS",
    "shutdown_safe",
    "SSL",
    "socket_timeout",
]

BUFFER_SIZE = 4096
CONNECT_ERR = {errno.EINPROGRESS, errno.EALREADY, errno.EWOULDBLOCK}
CONNECT_SUCCESS = {0, errno.EISCONN}
SOCKET_BLOCKING = {errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOTCONN}
SOCKET_CLOSED = {errno.ECONNRESET, errno.ESHUTDOWN, errno.EPIPE}

_original_socket: Any = original("socket").socket
_GLOBAL_DEFAULT_TIMEOUT: Any = socket._GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]
socket_timeout = TimeoutError

_Socket = socket_type()


def socket_connect(descriptor: Any, address: Any) -> Any:
    """Connect what does not block: itself, or None if that takes time."""
    err = descriptor.connect_ex(address)
    if err in CONNECT_ERR:
        return None
    if err not in CONNECT_SUCCESS:
        raise OSError(err, os.strerror(err))
    return descriptor


def socket_checkerr(descriptor: Any) -> None:
    """Raise the error that the socket has pending, if it has one."""
    err = descriptor.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if err not in CONNECT_SUCCESS:
        raise OSError(err, os.strerror(err))


def socket_accept(descriptor: Any) -> Any:
    """Accept on what does not block: as accept(), or None."""
    try:
        return descriptor.accept()
    except BlockingIOError:
        return None


def set_nonblocking(fd: Any) -> None:
    """Have a socket, or another object with a descriptor, not block."""
    try:
        setblocking = fd.setblocking
    except AttributeError:
        os.set_blocking(fd.fileno(), False)
    else:
        setblocking(0)


class _Number(_original_socket):  # type: ignore[misc]
    """``fd`` of a `GreenSocket`: an ordinary socket of the same descriptor.

    It does not wait: the descriptor does not block. The descriptor stays the
    green socket's; closing this closes that.
    """

    __slots__ = ("_green",)

    def __init__(self, green: Any) -> None:
        super().__init__(green.family, green.type, green.proto, green.fileno())
        super().setblocking(False)
        self._green = weakref.ref(green)

    def close(self) -> None:
        green = self._green()
        if green is not None:
            green.close()

    def detach(self) -> int:
        green = self._green()
        return -1 if green is None else int(green.detach())

    def __del__(self) -> None:
        # Its number is not its own.
        super().detach()


class GreenSocket(_gevent_socket.socket):
    """A socket that blocks the current green thread only.

    ``GreenSocket(family, type, proto, fileno)`` makes one as
    :class:`socket.socket` does. ``GreenSocket(sock)`` is a green face of an
    object that has a descriptor: both are closed together, when either is.

    :param set_nonblocking: False: the given object does not block already.
    """

    #: Whether those that are accepted are of this very class, not of the
    #: listener's.
    _accepts_itself = True

    #: Whether the collector warns of those that nobody has closed.
    _warns_unclosed = False

    def __init__(
        self, family: Any = socket.AF_INET, *args: Any, **kwargs: Any
    ) -> None:
        set_it = kwargs.pop("set_nonblocking", True)
        if not isinstance(family, int):
            self._wrap(family, set_it)
            return
        super().__init__(family, *args, **kwargs)
        hubs.notify_opened(self.fileno())

    def _wrap(self, sock: Any, set_it: bool) -> None:
        timeout = None
        if hasattr(sock, "gettimeout"):
            timeout = sock.gettimeout()
        timeout = timeout or socket.getdefaulttimeout()
        fileno = sock.fileno()
        if fileno == -1:
            self.__dict__["_given"] = sock
            return
        if set_it:
            set_nonblocking(sock)
        self._share(
            sock,
            fileno,
            getattr(sock, "family", socket.AF_INET),
            getattr(sock, "type", socket.SOCK_STREAM) & ~socket.SOCK_NONBLOCK,
            getattr(sock, "proto", 0),
            True,
        )
        super().settimeout(timeout)

    def __getattr__(self, name: str) -> Any:
        twin = self._twin
        if twin is None or type(twin) is _Number:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}"
            )
        return getattr(twin, name)

    @property
    def fd(self) -> Any:
        """The object that was given, or one for the same descriptor."""
        twin = self._twin
        if twin is not None:
            return twin
        if "_given" in self.__dict__:
            return self._given
        if self.fileno() == -1:
            closed = _original_socket()
            closed.close()
            return closed
        number = _Number(self)
        self._set_view(number)
        return number

    @property
    def _sock(self) -> Any:  # type: ignore[override]
        return self

    @property
    def act_non_blocking(self) -> bool:
        """Whether the timeout is 0."""
        return bool(self.timeout == 0)

    @act_non_blocking.setter
    def act_non_blocking(self, value: bool) -> None:
        if value:
            super().settimeout(0)
        elif self.timeout == 0:
            super().settimeout(None)

    @property
    def _timeout(self) -> float | None:
        return self.timeout  # type: ignore[no-any-return]

    @_timeout.setter
    def _timeout(self, value: float | None) -> None:
        self.timeout = value

    def settimeout(self, howlong: Any) -> None:
        """Limit how long calls may wait, in seconds; None: no limit."""
        if howlong is _GLOBAL_DEFAULT_TIMEOUT:
            howlong = None
        super().settimeout(howlong)

    def _mark_as_closed(self) -> None:
        self._closed = True

    def _trampoline(
        self,
        fd: Any,
        read: bool = False,
        write: bool = False,
        timeout: Any = None,
        timeout_exc: Any = None,
    ) -> Any:
        if self._closed:
            raise IOClosed
        return hubs.trampoline(
            fd,
            read=read,
            write=write,
            timeout=timeout,
            timeout_exc=timeout_exc,
            mark_as_closed=self._mark_as_closed,
        )

    def _read_trampoline(self) -> None:
        self._trampoline(
            self,
            read=True,
            timeout=self.gettimeout(),
            timeout_exc=socket_timeout("timed out"),
        )

    def makeGreenFile(self, *args: Any, **kwargs: Any) -> Any:
        """The old name of `makefile`."""
        warnings.warn(
            "makeGreenFile has been deprecated, please use makefile instead",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.makefile(*args, **kwargs)


def _closed_by_other() -> IOClosed:
    return IOClosed(errno.EBADF, "The socket was closed by another thread")


def _adopted(listener: Any, sock: GreenSocket) -> Any:
    """What accept() of a listener of a subclass gives of a new socket."""
    cls = type(listener)
    return cls(sock) if cls._accepts_itself else sock


def _opened(fileno: int) -> None:
    hubs.notify_opened(fileno)


def _crowded(sock: GreenSocket, what: str) -> None:
    """Called before somebody waits for what another waits for, too."""
    if not _hub.g_prevent_multiple_readers:
        return
    raise RuntimeError(
        f"Second simultaneous {what} on fileno {sock.fileno()} detected. "
        f"Only one green thread should {what} any particular socket; consider "
        "a pools.Pool. If it is meant, call "
        "eventlet.debug.hub_prevent_multiple_readers(False)"
    )


set_socket_hooks(
    accepted=GreenSocket,
    resolve=_common._resolve_addr,
    closed=_closed_by_other,
    torn=_common.ConnectionInterrupted,
    switched=InvalidSwitchError,
    default_timeout=_common.timeout_default,
    adopted=_adopted,
    opened=_opened,
    crowded=_crowded,
    lenient=True,
)


# So that their exceptions can be named whether or not pyOpenSSL is there.
try:
    from OpenSSL import SSL
except ImportError:

    class SSL:  # type: ignore[no-redef]
        """Exceptions of pyOpenSSL, which is not installed."""

        class WantWriteError(Exception):
            """Never raised."""

        class WantReadError(Exception):
            """Never raised."""

        class ZeroReturnError(Exception):
            """Never raised."""

        class SysCallError(Exception):
            """Never raised."""


def shutdown_safe(sock: Any) -> Any:
    """Shut a connection down, of a socket, TLS or pyOpenSSL.

    Nothing happens if it is not connected, or closed.
    """
    try:
        try:
            return sock.shutdown(socket.SHUT_RDWR)
        except TypeError:
            return sock.shutdown()  # pyOpenSSL's takes nothing
    except OSError as exc:
        if get_errno(exc) not in (errno.ENOTCONN, errno.EBADF, errno.ENOTSOCK):
            raise
    return None
