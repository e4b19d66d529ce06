"""Servers for connections and for datagrams.

:class:`StreamServer` accepts connections, with or without SSL, and calls a
function with each; :class:`DatagramServer` calls one with each datagram. The
base class says how these are spawned, started and stopped.
"""

from __future__ import annotations

import _socket
from contextlib import closing
from typing import Any

from ._socket3 import socket as _green_socket
from .baseserver import BaseServer

__all__ = ["StreamServer", "DatagramServer"]

_native: Any = _socket.socket

# Anything that UDP can carry.
_LARGEST_DATAGRAM = 65535


class StreamServer(BaseServer):
    """A server that accepts connections, of TCP or of Unix sockets.

    ``handle(socket, address)`` is called for each.

    :param listener: see :class:`BaseServer`.
    :param backlog: of the socket that is made for an address; None for the
        attribute of that name.
    :param ssl_args: if there are any, connections are wrapped into SSL before
        they are handed over, in the greenlet of the handler. With
        ``ssl_context`` the others go to its ``wrap_socket()``; else they are
        ``keyfile``, ``certfile``, ``ca_certs`` and so on, as Python's
        ``ssl.wrap_socket()`` had them.

    An error of ``accept`` or ``spawn`` is reported to the hub, and nothing is
    accepted for ``min_delay`` seconds; the delay is doubled by each further
    error, up to ``max_delay``. An error of a handler only concerns the
    greenlet it runs in.

    Behaves as ``gevent.server.StreamServer``, gevent 26.9.
    """

    #: How many connections may wait in the kernel.
    backlog = 128

    #: SO_REUSEADDR of the socket that is made; None leaves it alone.
    reuse_addr: int | None = 1

    def __init__(
        self,
        listener: Any,
        handle: Any = None,
        backlog: int | None = None,
        spawn: Any = "default",
        **ssl_args: Any,
    ) -> None:
        if backlog is not None:
            self.backlog = backlog
        self.ssl_args: dict[str, Any] | None = None
        if ssl_args:
            if "ssl_context" in ssl_args:
                context = ssl_args.pop("ssl_context")
            else:
                context = _context(ssl_args)
            ssl_args.setdefault("server_side", True)
            self.wrap_socket = context.wrap_socket
            self.ssl_args = ssl_args
        super().__init__(listener, handle=handle, spawn=spawn)

    @property
    def ssl_enabled(self) -> bool:
        """Whether connections are wrapped into SSL."""
        return bool(self.ssl_args)

    def set_listener(self, listener: Any) -> None:
        """Take a socket, or the address that one is to be made for."""
        super().set_listener(listener)
        if "socket" in self.__dict__ and "backlog" in self.__dict__:
            del self.socket  # not to be closed by us
            raise TypeError(
                "backlog must be None if the listener is a socket: that has "
                "its own"
            )

    def set_handle(self, handle: Any) -> None:
        """Say what is called for each connection."""
        super().set_handle(handle)
        if self.ssl_args:
            self._handle = self.wrap_socket_and_handle

    def init_socket(self) -> None:
        """Make the socket, if an address was given."""
        if "socket" not in self.__dict__:
            self.socket = self.get_listener(
                self.address, self.backlog, self.family
            )
            self.address = self.socket.getsockname()

    @classmethod
    def get_listener(
        cls, address: Any, backlog: int | None = None, family: Any = None
    ) -> Any:
        """A new socket that listens on the address.

        :param family: None for IPv4.
        """
        if backlog is None:
            backlog = cls.backlog
        return _tcp_listener(
            address, backlog, cls.reuse_addr, family or _socket.AF_INET
        )

    def do_read(self) -> Any:
        """Accept one connection: ``(socket, address)``, or None."""
        listener = self.socket
        try:
            fd, address = _native._accept(listener)
        except BlockingIOError:
            return None
        try:
            client = _green_socket(
                listener.family, listener.type, listener.proto, fileno=fd
            )
        except BaseException:
            _socket.close(fd)
            raise
        return client, address

    def do_close(self, sock: Any, *args: Any) -> None:
        """Close the connection."""
        sock.close()

    def wrap_socket_and_handle(self, client_socket: Any, address: Any) -> Any:
        """Wrap the connection into SSL, and call the handler with it."""
        assert self.ssl_args is not None
        wrapped = self.wrap_socket(client_socket, **self.ssl_args)
        with closing(wrapped):
            return self.handle(wrapped, address)


class DatagramServer(BaseServer):
    """A server that receives datagrams.

    ``handle(data, address)`` is called for each; :meth:`sendto` answers.

    Behaves as ``gevent.server.DatagramServer``, gevent 26.9, but that
    datagrams of more than 8192 bytes are not cut off.
    """

    #: SO_REUSEADDR of the socket that is made; None leaves it alone.
    reuse_addr: int | None = 1

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        from .lock import Semaphore

        self._writelock = Semaphore()

    def init_socket(self) -> None:
        """Make the socket, if an address was given."""
        if "socket" not in self.__dict__:
            self.socket = self.get_listener(self.address, self.family)
            self.address = self.socket.getsockname()

    @classmethod
    def get_listener(cls, address: Any, family: Any = None) -> Any:
        """A new socket for datagrams, bound to the address.

        :param family: None for IPv4.
        """
        return _udp_socket(
            address,
            reuse_addr=cls.reuse_addr,
            family=family or _socket.AF_INET,
        )

    def do_read(self) -> Any:
        """Receive one datagram: ``(data, address)``, or None."""
        try:
            return _native.recvfrom(self.socket, _LARGEST_DATAGRAM)
        except BlockingIOError:
            return None

    def sendto(self, *args: Any) -> Any:
        """Send a datagram from the server's socket; may block.

        Takes what ``socket.sendto()`` does, and returns what it does. One
        greenlet sends at a time.
        """
        with self._writelock:
            return self.socket.sendto(*args)


def _bound(
    address: Any, kind: int, reuse_addr: int | None, family: int
) -> Any:
    sock: Any = _green_socket(family, kind)
    try:
        if reuse_addr is not None:
            sock.setsockopt(
                _socket.SOL_SOCKET, _socket.SO_REUSEADDR, reuse_addr
            )
        # Without a switch: start() does not block, nor begins a bit later.
        _native.bind(sock, address)
    except BaseException as ex:
        sock.close()
        if isinstance(ex, OSError) and ex.strerror is not None:
            ex.strerror += f": {address!r}"
        raise
    return sock


def _tcp_listener(
    address: Any,
    backlog: int = 50,
    reuse_addr: int | None = None,
    family: int = _socket.AF_INET,
) -> Any:
    """A socket that listens on the address."""
    sock = _bound(address, _socket.SOCK_STREAM, reuse_addr, family)
    try:
        sock.listen(backlog)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _udp_socket(
    address: Any,
    backlog: int = 50,
    reuse_addr: int | None = None,
    family: int = _socket.AF_INET,
) -> Any:
    """A socket for datagrams, bound to the address. No use for `backlog`."""
    return _bound(address, _socket.SOCK_DGRAM, reuse_addr, family)


def _context(args: dict[str, Any]) -> Any:
    """A context from the arguments that ssl.wrap_socket() had.

    They are taken out of `args`.
    """
    import ssl as native

    from .ssl import SSLContext

    version = args.pop("ssl_version", None)
    context: Any = SSLContext(
        native.PROTOCOL_TLS_SERVER if version is None else version
    )
    context.check_hostname = False
    context.verify_mode = args.pop("cert_reqs", None) or native.CERT_NONE
    ca_certs = args.pop("ca_certs", None)
    if ca_certs:
        context.load_verify_locations(ca_certs)
    certfile = args.pop("certfile", None)
    keyfile = args.pop("keyfile", None)
    if certfile:
        context.load_cert_chain(certfile, keyfile)
    elif keyfile:
        raise ValueError("certfile must be given with keyfile")
    ciphers = args.pop("ciphers", None)
    if ciphers:
        context.set_ciphers(ciphers)
    return context
