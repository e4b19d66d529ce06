"""pyOpenSSL's `SSL`, with a `Connection` that waits in the hub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from OpenSSL import SSL as orig_SSL
from OpenSSL.SSL import *  # noqa: F403

from ...greenio import GreenSocket
from ...hubs import trampoline
from ...support import get_errno  # noqa: F401

_WANT_READ = orig_SSL.WantReadError
_WANT_WRITE = orig_SSL.WantWriteError


class GreenConnection(GreenSocket):
    """A TLS connection of pyOpenSSL.

    :param ctx: the context; or a connection that exists, alone.
    :param sock: a socket.
    """

    def __init__(self, ctx: Any, sock: Any = None) -> None:
        if sock is not None:
            sock = getattr(sock, "fd", sock)
            ctx = orig_SSL.Connection(ctx, sock)
        super().__init__(ctx)

    def _call(self, func: Callable[..., Any], *args: Any) -> Any:
        while True:
            try:
                return func(*args)
            except _WANT_READ:
                if self.act_non_blocking:
                    raise
                kind = {"read": True}
            except _WANT_WRITE:
                if self.act_non_blocking:
                    raise
                kind = {"write": True}
            trampoline(
                self.fd.fileno(),
                timeout=self.gettimeout(),
                timeout_exc=TimeoutError("timed out"),
                **kind,
            )

    def accept(self) -> Any:
        """Take a connection: (connection, address)."""
        while True:
            try:
                connection, address = self.fd.accept()
                return type(self)(connection), address
            except BlockingIOError:
                if self.act_non_blocking:
                    raise
            self._read_trampoline()

    def do_handshake(self) -> Any:
        """Do the handshake of TLS."""
        return self._call(self.fd.do_handshake)

    def dup(self) -> NoReturn:
        """Not to be had."""
        raise NotImplementedError("Dup not supported on SSL sockets")

    def makefile(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not to be had."""
        raise NotImplementedError("Makefile not supported on SSL sockets")

    def read(self, size: int, flags: Any = None) -> Any:
        """Read up to `size` bytes; empty if the connection broke off."""
        try:
            return self._call(self.fd.recv, size)
        except orig_SSL.SysCallError:
            return b""

    recv = read

    def write(self, data: Any, flags: int = 0) -> int:
        """Send some of the data; returns how many bytes."""
        if not data:
            return 0
        return self._call(self.fd.send, data)

    send = write

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of the data."""
        with memoryview(data) as view, view.cast("B") as rest:
            done = 0
            while done < len(rest):
                done += self.send(bytes(rest[done : done + 16384]))

    def shutdown(self, how: Any = None) -> Any:
        """End TLS; see pyOpenSSL."""
        if how is not None:
            raise TypeError("shutdown() takes no arguments")
        return self._call(self.fd.shutdown)


Connection = ConnectionType = GreenConnection
