"""The class of :mod:`gevent.socket`: Python's own, with green waits.

What moves data or waits is in C, ``coir._core.Socket``, which is a subclass
of the interpreter's ``_socket.socket``; here is what goes with it.
"""

from __future__ import annotations

import _socket
import io
import os as _os
from typing import Any, NoReturn

from coir._core import set_socket_hooks, socket_type

from . import _socketcommon
from ._hub_local import get_hub
from ._socketcommon import (
    AF_INET,
    EINVAL,
    SOCK_STREAM,
    __socket__,
    _intenum_converter,
    _realsocket,
    _resolve_addr,
    cancel_wait_ex,
    timeout,
    timeout_default,
    wait,
)
from ._util import copy_globals
from .exceptions import InvalidSwitchError

copy_globals(_socketcommon, globals(), cleanup_globs=False)
__implements__ = _socketcommon._implements
__extensions__ = _socketcommon.__extensions__
__imports__ = _socketcommon.__imports__
__dns__ = _socketcommon.__dns__
__all__ = __implements__ + __extensions__ + __imports__

_Socket = socket_type()
SocketMixin = _Socket
SocketIO = __socket__.SocketIO
_GiveupOnSendfile = __socket__._GiveupOnSendfile  # type: ignore[attr-defined]


class _Plain:
    """What ``_sock`` of a socket gives: the same descriptor, not green.

    Its methods are those of ``_socket.socket``. They do not wait, because the
    descriptor does not block: they raise BlockingIOError. `close` closes the
    descriptor whatever files were made of it.
    """

    __slots__ = ("_green", "__weakref__")

    def __init__(self, green: socket) -> None:
        self._green = green

    def __getattr__(self, name: str) -> Any:
        return getattr(super(_Socket, self._green), name)

    def close(self) -> None:
        self._green._real_close()


class socket(_Socket):  # type: ignore[misc,valid-type]
    """A socket that blocks the current greenlet only.

    As :class:`socket.socket`, whose methods and errors it has. In addition:

    - ``ref``: False if waiting for it is not to keep the hub running;
    - ``send(data, flags, timeout)``: a timeout for that call;
    - several greenlets, of several threads, may wait for one socket: they are
      served in turn. Closing it ends their waits with an error.

    The descriptor is always non-blocking, whatever the timeout is.
    """

    __slots__ = ()

    _gevent_sock_class = _realsocket

    # --- what it is

    @property
    def hub(self) -> Any:
        """The hub of this thread."""
        return get_hub()

    @property
    def family(self) -> Any:
        """The address family, :class:`socket.AddressFamily` if known."""
        return _intenum_converter(super().family, __socket__.AddressFamily)

    @property
    def type(self) -> Any:
        """The type, :class:`socket.SocketKind` if known."""
        return _intenum_converter(super().type, __socket__.SocketKind)

    @property
    def closed(self) -> bool:
        """Whether `close` was called, or `detach`."""
        return bool(self._closed)

    @property
    def _sock(self) -> _Plain:
        return _Plain(self)

    @property
    def _read_event(self) -> Any:
        return self._watcher(1)

    @property
    def _write_event(self) -> Any:
        return self._watcher(2)

    def _watcher(self, events: int) -> Any:
        return get_hub().loop.io(self.fileno(), events, ref=self.ref)

    def _wait(self, watcher: Any, timeout_exc: Any = None) -> None:
        if timeout_exc is None:
            timeout_exc = timeout("timed out")
        wait(watcher, self.timeout, timeout_exc)

    def __repr__(self) -> str:
        closed = " [closed]" if self._closed else ""
        cls = type(self)
        return (
            f"<{cls.__module__}.{cls.__qualname__}{closed} at {id(self):#x} "
            f"object, fd={self.fileno()}, family={int(self.family)}, "
            f"type={int(self.type)}, proto={self.proto}{self._extra_repr()}>"
        )

    def _extra_repr(self) -> str:
        # As Python's own shows them.
        if self._closed:
            return ""
        text = ""
        for name, method in (
            ("laddr", self.getsockname),
            ("raddr", self.getpeername),
        ):
            try:
                address = method()
            except OSError:
                continue
            if address:
                text += f", {name}={address}"
        return text

    def __getstate__(self) -> NoReturn:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *args: object) -> None:
        if not self._closed:
            self.close()

    # --- others of the same kind

    def dup(self) -> Any:
        """A new socket on a duplicate of the descriptor."""
        fd = _socket.dup(self.fileno())
        sock = type(self)(self.family, self.type, self.proto, fileno=fd)
        sock.settimeout(self.gettimeout())
        return sock

    def bind(self, address: Any) -> None:
        """Bind it to a local address, the host of which is looked up."""
        super().bind(_resolve_addr(self, address))

    def get_inheritable(self) -> bool:
        """Whether child processes inherit the descriptor."""
        return _os.get_inheritable(self.fileno())

    def set_inheritable(self, inheritable: bool) -> None:
        """Say whether child processes inherit the descriptor."""
        _os.set_inheritable(self.fileno(), inheritable)

    # --- files

    def makefile(
        self,
        mode: str = "r",
        buffering: int | None = None,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> Any:
        """A file on the connection; see :func:`open` for the arguments.

        The connection is closed when the socket and all its files are.
        """
        if not set(mode) <= {"r", "w", "b"}:
            raise ValueError(f"invalid mode {mode!r} (only r, w, b allowed)")
        writing = "w" in mode
        reading = "r" in mode or not writing
        raw = SocketIO(self, "r" * reading + "w" * writing)  # type: ignore[arg-type]
        self._io_refs += 1
        if buffering is None or buffering < 0:
            buffering = io.DEFAULT_BUFFER_SIZE
        if buffering == 0:
            if "b" not in mode:
                raise ValueError("unbuffered streams must be binary")
            return raw
        buffer: Any
        if not writing:
            buffer = io.BufferedReader(raw, buffering)
        elif not reading:
            buffer = io.BufferedWriter(raw, buffering)
        else:
            buffer = io.BufferedRWPair(raw, raw, buffering)
        if "b" in mode:
            return buffer
        text = io.TextIOWrapper(
            buffer, io.text_encoding(encoding), errors, newline
        )
        text.mode = mode  # type: ignore[misc]
        return text

    def sendfile(
        self, file: Any, offset: int = 0, count: int | None = None
    ) -> int:
        """Send a file, opened in binary mode, up to its end.

        :param offset: where to begin in it.
        :param count: how many bytes to send at most.
        :returns: how many were sent; the file's position is after them.
        :raises ValueError: if the socket is not a stream, or does not block.
        """
        try:
            return self._sendfile_use_sendfile(file, offset, count)
        except _GiveupOnSendfile:
            return self._sendfile_use_send(file, offset, count)

    def _check_sendfile_params(
        self, file: Any, offset: int, count: int | None
    ) -> None:
        if "b" not in getattr(file, "mode", "b"):
            raise ValueError("file should be opened in binary mode")
        if not self.type & SOCK_STREAM:
            raise ValueError("only SOCK_STREAM type sockets are supported")
        if self.gettimeout() == 0:
            raise ValueError("non-blocking sockets are not supported")
        if count is None:
            return
        if not isinstance(count, int):
            raise TypeError(
                f"count must be a positive integer (got {count!r})"
            )
        if count <= 0:
            raise ValueError(
                f"count must be a positive integer (got {count!r})"
            )

    def _sendfile_use_sendfile(
        self, file: Any, offset: int = 0, count: int | None = None
    ) -> int:
        self._check_sendfile_params(file, offset, count)
        try:
            fileno = file.fileno()
            size = _os.fstat(fileno).st_size
        except (AttributeError, OSError) as exc:
            raise _GiveupOnSendfile(exc) from exc
        if not size:
            return 0
        block = min(count or size, 2**30)
        total = 0
        try:
            while count is None or total < count:
                if count is not None:
                    block = min(block, count - total)
                try:
                    sent = _os.sendfile(self.fileno(), fileno, offset, block)
                except BlockingIOError:
                    self._wait_io(2)
                    continue
                except OSError as exc:
                    if total == 0 and exc.errno == EINVAL:
                        raise _GiveupOnSendfile(exc) from exc
                    raise
                if sent == 0:
                    break
                offset += sent
                total += sent
            return total
        finally:
            if total and hasattr(file, "seek"):
                file.seek(offset)

    def _sendfile_use_send(
        self, file: Any, offset: int = 0, count: int | None = None
    ) -> int:
        self._check_sendfile_params(file, offset, count)
        if offset:
            file.seek(offset)
        total = 0
        try:
            while count is None or total < count:
                block = 8192 if count is None else min(8192, count - total)
                data = memoryview(file.read(block))
                if not data:
                    break
                while data:
                    sent = self.send(data)
                    total += sent
                    data = data[sent:]
            return total
        finally:
            if total and hasattr(file, "seek"):
                file.seek(offset + total)


SocketType = socket

set_socket_hooks(
    accepted=socket,
    resolve=_resolve_addr,
    closed=cancel_wait_ex,
    torn=_socketcommon.ConnectionInterrupted,
    switched=InvalidSwitchError,
    default_timeout=timeout_default,
)


def fromfd(fd: int, family: int, type: int, proto: int = 0) -> Any:
    """A socket on a duplicate of the descriptor `fd`."""
    return socket(family, type, proto, _socket.dup(fd))


def socketpair(
    family: int | None = None, type: int = SOCK_STREAM, proto: int = 0
) -> Any:
    """Two sockets that are connected to each other."""
    if family is None:
        family = getattr(__socket__, "AF_UNIX", AF_INET)
    a, b = _socket.socketpair(family, type, proto)
    return (
        socket(family, type, proto, a.detach()),
        socket(family, type, proto, b.detach()),
    )
