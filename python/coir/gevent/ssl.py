"""TLS that blocks the current greenlet only.

It is the interpreter's own ``_ssl``, and the classes of :mod:`ssl` made anew
on our sockets: the methods are those of the Python that runs, but for the few
that wait. ``_ssl`` finds the descriptor non-blocking, and says what it waits
for.
"""

from __future__ import annotations

import ssl as __ssl__
from collections.abc import Callable
from time import monotonic
from types import CellType, FunctionType, SimpleNamespace
from typing import Any

from ._socketcommon import AF_INET, SOCK_STREAM, timeout_default
from ._util import copy_globals
from .socket import create_connection, socket

__implements__ = ["SSLContext", "SSLSocket", "get_server_certificate"]
if hasattr(__ssl__, "wrap_socket"):
    __implements__.append("wrap_socket")

__imports__ = copy_globals(
    __ssl__,
    globals(),
    names_to_ignore=[
        *__implements__,
        "wrap_socket",
        "socket",
        "create_connection",
        "AF_INET",
    ],
    dunder_names_to_keep=(),
    cleanup_globs=False,
)

__all__ = __implements__ + [
    name for name in __imports__ if name != "namedtuple"
]

orig_SSLContext = __ssl__.SSLContext

_WANT_READ = __ssl__.SSLWantReadError
_WANT_WRITE = __ssl__.SSLWantWriteError


# --- the classes of ssl, on other bases --------------------------------------


def _rebuilt(value: Any, globs: dict[str, Any], cell: CellType | None) -> Any:
    """A method of a class of :mod:`ssl`, of another class instead.

    :param globs: the globals it is to have.
    :param cell: its class, for ``super()``; None: as it was.
    """
    if isinstance(value, property):
        parts = [
            _rebuilt(part, globs, cell)
            for part in (value.fget, value.fset, value.fdel)
        ]
        fget, fset, fdel = parts
        return property(fget, fset, fdel, value.__doc__)
    if isinstance(value, (classmethod, staticmethod)):
        return type(value)(_rebuilt(value.__func__, globs, cell))
    if not isinstance(value, FunctionType):
        return value
    closure = value.__closure__
    if closure is not None and cell is not None:
        names = value.__code__.co_freevars
        closure = tuple(
            cell if name == "__class__" else old
            for name, old in zip(names, closure)
        )
    func = FunctionType(
        value.__code__, globs, value.__name__, value.__defaults__, closure
    )
    func.__kwdefaults__ = value.__kwdefaults__
    func.__doc__ = value.__doc__
    func.__qualname__ = value.__qualname__
    func.__annotations__ = value.__annotations__
    return func


def _namespace(
    cls: type,
    globs: dict[str, Any],
    cell: CellType | None,
    kinds: Any = object,
) -> dict[str, Any]:
    return {
        name: _rebuilt(value, globs, cell)
        for name, value in vars(cls).items()
        if isinstance(value, kinds)
        and name not in ("__dict__", "__weakref__", "__module__", "__doc__")
    }


def socket_base(plain: type, module: str) -> Any:
    """The interpreter's SSLSocket, derived from another class of sockets."""
    globs: dict[str, Any] = {**vars(__ssl__), "socket": plain}
    cell = CellType()
    cls: Any = type(
        "SSLSocket",
        (plain,),
        {
            **_namespace(__ssl__.SSLSocket, globs, cell),
            "__module__": module,
        },
    )
    cell.cell_contents = cls
    globs["SSLSocket"] = cls
    return cls


def make_in_place(made: Any, base: Any, **how: Any) -> None:
    """What ``SSLContext.wrap_socket()`` does, for an object that is there.

    :param base: the `socket_base` of its class.
    :param how: the arguments of the interpreter's ``SSLSocket._create()``.
    """
    here: Any = SimpleNamespace(__new__=lambda *a, **kw: made)
    base._create.__func__(here, **how)


#: What the methods of SSLContext use: its properties name their class.
_context_globals: dict[str, Any] = dict(vars(__ssl__))


def context_properties() -> dict[str, Any]:
    """Properties for classes derived from the interpreter's SSLContext."""
    return _namespace(orig_SSLContext, _context_globals, None, property)


class GreenTLS:
    """Methods for classes derived from a `socket_base`: those that wait."""

    __slots__ = ()

    #: What the class was derived from: how to send without TLS.
    _plain: Any
    _checkClosed: Any
    _check_connected: Any
    _wait_io: Any
    gettimeout: Any
    settimeout: Any
    suppress_ragged_eofs: bool
    timeout: Any
    _sslobj: Any

    def _green(self, what: str, func: Callable[..., Any], *args: Any) -> Any:
        """Call what is of ``_ssl`` until it waits for nothing any more."""
        timeout = self.timeout
        deadline = None
        while True:
            try:
                return func(*args)
            except _WANT_READ:
                if timeout == 0:
                    raise
                events = 1
            except _WANT_WRITE:
                if timeout == 0:
                    raise
                events = 2
            if timeout is None:
                self._wait_io(events)
                continue
            now = monotonic()
            if deadline is None:
                deadline = now + timeout
            try:
                if deadline <= now:
                    raise TimeoutError
                self._wait_io(events, deadline - now)
            except TimeoutError:
                raise TimeoutError(f"The {what} operation timed out") from None

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """Read up to `len` bytes, empty at the end of the stream.

        :param buffer: read into this instead; returns how many.
        """
        self._checkClosed()
        if self._sslobj is None:
            raise ValueError("Read on closed or unwrapped SSL socket.")
        args = (len,) if buffer is None else (len, buffer)
        try:
            return self._green("read", self._sslobj.read, *args)
        except __ssl__.SSLError as exc:
            if (
                exc.args[0] == __ssl__.SSL_ERROR_EOF
                and self.suppress_ragged_eofs
            ):
                return b"" if buffer is None else 0
            raise

    def write(self, data: Any) -> int:
        """Write some of the data; returns how many bytes."""
        self._checkClosed()
        if self._sslobj is None:
            raise ValueError("Write on closed or unwrapped SSL socket.")
        return self._green("write", self._sslobj.write, data)  # type: ignore[no-any-return]

    def send(
        self, data: Any, flags: int = 0, timeout: Any = timeout_default
    ) -> int:
        """Send some of the data; returns how many bytes."""
        self._checkClosed()
        if self._sslobj is None:
            return self._plain.send(self, data, flags, timeout)  # type: ignore[no-any-return]
        if flags != 0:
            raise ValueError(
                "non-zero flags not allowed in calls to send() on "
                f"{type(self)}"
            )
        if timeout is timeout_default:
            return self._green("write", self._sslobj.write, data)  # type: ignore[no-any-return]
        before = self.timeout
        self.settimeout(timeout)
        try:
            return self._green("write", self._sslobj.write, data)  # type: ignore[no-any-return]
        finally:
            self.settimeout(before)

    def do_handshake(self, block: bool = False) -> None:
        """Do the handshake of TLS.

        :param block: even if the timeout is 0.
        """
        self._check_connected()
        timeout = self.gettimeout()
        if timeout == 0 and block:
            self.settimeout(None)
        try:
            self._green("handshake", self._sslobj.do_handshake)
        finally:
            if timeout == 0 and block:
                self.settimeout(timeout)

    def unwrap(self) -> Any:
        """End TLS; returns the socket, for what follows in clear text."""
        if not self._sslobj:
            raise ValueError(f"No SSL wrapper around {self}")
        result = self._green("shutdown", self._sslobj.shutdown)
        self._sslobj = None
        return result


_Base: Any = socket_base(socket, __name__)


class SSLSocket(GreenTLS, _Base):  # type: ignore[misc]
    """A TLS connection, as :class:`ssl.SSLSocket`.

    Made by :meth:`SSLContext.wrap_socket`, or with a context as `_context`;
    a certificate or CAs, as ``ssl.wrap_socket`` had them, do as well. `sock`
    is used up by it; without one it makes its own. Timeouts are those of the
    socket, for each call as a whole.

    :raises TypeError: for none of these: nothing would be verified.
    """

    _plain = socket

    def __init__(
        self,
        sock: Any = None,
        keyfile: Any = None,
        certfile: Any = None,
        server_side: bool = False,
        cert_reqs: Any = __ssl__.CERT_NONE,
        ssl_version: Any = __ssl__.PROTOCOL_TLS,
        ca_certs: Any = None,
        do_handshake_on_connect: bool = True,
        family: int = AF_INET,
        type: int = SOCK_STREAM,
        proto: int = 0,
        fileno: Any = None,
        suppress_ragged_eofs: bool = True,
        npn_protocols: Any = None,
        ciphers: Any = None,
        server_hostname: Any = None,
        _session: Any = None,
        _context: Any = None,
    ) -> None:
        if _context is None:
            if not (certfile or ca_certs):
                raise TypeError(
                    "SSLSocket does not have a public constructor without "
                    "a context: use SSLContext.wrap_socket()"
                )
            _context = make_context(
                SSLContext,
                keyfile,
                certfile,
                server_side,
                cert_reqs,
                ssl_version,
                ca_certs,
                ciphers,
            )
        if sock is None:
            sock = socket(family, type, proto, fileno)
        make_in_place(
            self,
            _Base,
            sock=sock,
            server_side=server_side,
            do_handshake_on_connect=do_handshake_on_connect,
            suppress_ragged_eofs=suppress_ragged_eofs,
            server_hostname=server_hostname,
            context=_context,
            session=_session,
        )


class SSLContext(orig_SSLContext):
    """As :class:`ssl.SSLContext`; its sockets are :class:`SSLSocket`."""

    __slots__ = ()

    sslsocket_class = SSLSocket

    locals().update(context_properties())


def make_context(
    cls: Any,
    keyfile: Any,
    certfile: Any,
    server_side: bool,
    cert_reqs: Any,
    ssl_version: Any,
    ca_certs: Any,
    ciphers: Any,
) -> Any:
    """A context of the class, by arguments of ``ssl.wrap_socket``."""
    if server_side and not certfile:
        raise ValueError(
            "certfile must be specified for server-side operations"
        )
    if keyfile and not certfile:
        raise ValueError("certfile must be specified")
    context = cls(ssl_version)
    context.verify_mode = cert_reqs
    if ca_certs:
        context.load_verify_locations(ca_certs)
    if certfile:
        context.load_cert_chain(certfile, keyfile)
    if ciphers:
        context.set_ciphers(ciphers)
    return context


def wrap_socket(
    sock: Any,
    keyfile: Any = None,
    certfile: Any = None,
    server_side: bool = False,
    cert_reqs: Any = __ssl__.CERT_NONE,
    ssl_version: Any = __ssl__.PROTOCOL_TLS,
    ca_certs: Any = None,
    do_handshake_on_connect: bool = True,
    suppress_ragged_eofs: bool = True,
    ciphers: Any = None,
) -> SSLSocket:
    """A TLS connection on a socket, as ``ssl.wrap_socket`` of Python 3.11.

    Nothing of the peer is verified unless `cert_reqs` says so.
    """
    context = make_context(
        SSLContext,
        keyfile,
        certfile,
        server_side,
        cert_reqs,
        ssl_version,
        ca_certs,
        ciphers,
    )
    return context.wrap_socket(  # type: ignore[no-any-return]
        sock=sock,
        server_side=server_side,
        do_handshake_on_connect=do_handshake_on_connect,
        suppress_ragged_eofs=suppress_ragged_eofs,
    )


def functions_with(context: type, sock: type, connect: Any) -> dict[str, Any]:
    """Functions of :mod:`ssl` that use these classes; and their globals."""
    globs = {
        **vars(__ssl__),
        "SSLContext": context,
        "SSLSocket": sock,
        "create_connection": connect,
    }
    for name in (
        "create_default_context",
        "_create_unverified_context",
        "get_server_certificate",
    ):
        globs[name] = _rebuilt(getattr(__ssl__, name), globs, CellType())
    globs["_create_stdlib_context"] = globs["_create_unverified_context"]
    globs["_create_default_https_context"] = globs["create_default_context"]
    return globs


get_server_certificate = functions_with(
    SSLContext, SSLSocket, create_connection
)["get_server_certificate"]
