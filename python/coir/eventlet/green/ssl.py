"""The standard library's :mod:`ssl`, green.

It is Coir's own, see ``coir.gevent.ssl``, on eventlet's socket.
"""

from __future__ import annotations

import ssl as _real
from typing import Any

from coir.gevent import ssl as _engine

from ..greenio import (  # noqa: F401
    CONNECT_ERR,
    CONNECT_SUCCESS,
    SOCKET_CLOSED,
    GreenSocket,
)
from ..hubs import IOClosed, trampoline  # noqa: F401
from ..patcher import slurp_properties
from ..support import PY33, get_errno  # noqa: F401
from .socket import create_connection

slurp_properties(_real, globals(), srckeys=dir(_real))

__patched__ = [
    "SSLSocket",
    "SSLContext",
    "wrap_socket",
    "sslwrap_simple",
    "create_default_context",
    "_create_default_https_context",
    "_create_unverified_context",
    "_create_stdlib_context",
    "get_server_certificate",
]

_original_sslsocket = _real.SSLSocket
_original_sslcontext = _real.SSLContext
_Base: Any = _engine.socket_base(GreenSocket, __name__)


class GreenSSLSocket(_engine.GreenTLS, _Base):
    """A TLS connection that blocks the current green thread only.

    ``GreenSSLSocket(sock, ...)`` takes the arguments that ``ssl.wrap_socket``
    had up to Python 3.11, or a context as `_context`; nothing of the peer is
    verified then unless `cert_reqs` says so. `sock` is used up by it.

    Those that it accepts do the handshake when they are first used.
    """

    _plain = GreenSocket
    _accepts_itself = False
    _warns_unclosed = True

    def __init__(
        self,
        sock: Any,
        keyfile: Any = None,
        certfile: Any = None,
        server_side: bool = False,
        cert_reqs: Any = _real.CERT_NONE,
        ssl_version: Any = _real.PROTOCOL_TLS,
        ca_certs: Any = None,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        ciphers: Any = None,
        server_hostname: Any = None,
        session: Any = None,
        _context: Any = None,
    ) -> None:
        if _context is None:
            _context = _engine.make_context(
                GreenSSLContext,
                keyfile,
                certfile,
                server_side,
                cert_reqs,
                ssl_version,
                ca_certs,
                ciphers,
            )
        _engine.make_in_place(
            self,
            _Base,
            sock=_as_green(sock),
            server_side=server_side,
            do_handshake_on_connect=do_handshake_on_connect,
            suppress_ragged_eofs=suppress_ragged_eofs,
            server_hostname=server_hostname,
            context=_context,
            session=session,
        )
        self.keyfile = keyfile
        self.certfile = certfile
        self.cert_reqs = cert_reqs
        self.ssl_version = ssl_version
        self.ca_certs = ca_certs

    def accept(self) -> Any:
        """Take a connection: (socket, address)."""
        sock, address = GreenSocket.accept(self)
        return (
            type(self)(
                sock,
                server_side=True,
                do_handshake_on_connect=False,
                suppress_ragged_eofs=self.suppress_ragged_eofs,
                _context=self._context,
            ),
            address,
        )

    def _expect_peer(self) -> None:
        """Without one who receives would wait for it; that is not so here."""
        if self._sslobj is None and not self.act_non_blocking:
            self._check_connected()

    def recv(self, buflen: int = 1024, flags: int = 0) -> Any:
        """Receive; OSError if it is not connected."""
        if self._sslobj is not None and flags == 0:
            return self.read(buflen)
        self._expect_peer()
        return super().recv(buflen, flags)

    def recv_into(
        self, buffer: Any, nbytes: int | None = None, flags: int = 0
    ) -> Any:
        """The same, into a buffer; returns how many bytes."""
        self._expect_peer()
        return super().recv_into(buffer, nbytes, flags)

    def recvfrom(self, buflen: int = 1024, flags: int = 0) -> Any:
        """Not with TLS: ValueError."""
        self._expect_peer()
        return super().recvfrom(buflen, flags)

    def recvfrom_into(
        self, buffer: Any, nbytes: int | None = None, flags: int = 0
    ) -> Any:
        """Not with TLS: ValueError."""
        self._expect_peer()
        return super().recvfrom_into(buffer, nbytes, flags)

    def sendall(self, data: Any, flags: int = 0) -> Any:
        """Send all of the data; returns how many bytes that is, with TLS."""
        if self._sslobj is None:
            try:
                return GreenSocket.sendall(self, data, flags)
            except OSError as exc:
                if exc.errno in SOCKET_CLOSED and not self.act_non_blocking:
                    return ""
                raise
        super().sendall(data, flags)
        return memoryview(data).nbytes


def _as_green(sock: Any) -> Any:
    return sock if isinstance(sock, GreenSocket) else GreenSocket(sock)


SSLSocket = GreenSSLSocket


def wrap_socket(sock: Any, *a: Any, **kw: Any) -> GreenSSLSocket:
    """A TLS connection on a socket; see `GreenSSLSocket`."""
    return GreenSSLSocket(sock, *a, **kw)


class GreenSSLContext(_original_sslcontext):
    """As :class:`ssl.SSLContext`; its sockets are `GreenSSLSocket`."""

    __slots__ = ()

    sslsocket_class = GreenSSLSocket

    locals().update(_engine.context_properties())

    def wrap_socket(self, sock: Any, *a: Any, **kw: Any) -> Any:
        """A TLS connection on a socket, see :mod:`ssl`."""
        return _original_sslcontext.wrap_socket(
            self, _as_green(sock), *a, **kw
        )


SSLContext = GreenSSLContext

_functions = _engine.functions_with(
    GreenSSLContext, GreenSSLSocket, create_connection
)
create_default_context = _functions["create_default_context"]
green_create_default_context = create_default_context
_create_default_https_context = create_default_context
_create_unverified_context = _functions["_create_unverified_context"]
_create_stdlib_context = _create_unverified_context
get_server_certificate = _functions["get_server_certificate"]
