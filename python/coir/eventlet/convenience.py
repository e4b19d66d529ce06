"""Sockets and servers with few words."""

from __future__ import annotations

import errno
import sys
import warnings
from collections.abc import Callable
from typing import Any

from coir._core import GreenletExit, getcurrent

from . import greenpool, greenthread
from .green import socket as _socket
from .green import ssl

socket: Any = _socket

_AF_INET = socket.AF_INET
_INTERNET = (_AF_INET, socket.AF_INET6)
_SOCK_STREAM = socket.SOCK_STREAM
_SOL_SOCKET = socket.SOL_SOCKET


def connect(addr: Any, family: Any = _AF_INET, bind: Any = None) -> Any:
    """A socket that is connected to an address.

    :param addr: ``(host, port)``, for TCP.
    :param bind: an address to bind to before.
    """
    sock = socket.socket(family, _SOCK_STREAM)
    try:
        if bind is not None:
            sock.bind(bind)
        sock.connect(addr)
    except BaseException:
        sock.close()
        raise
    return sock


class ReuseRandomPortWarning(Warning):
    """SO_REUSEPORT with a port that is chosen by the system."""


class ReusePortUnavailableWarning(Warning):
    """This system has no SO_REUSEPORT."""


def listen(
    addr: Any,
    family: Any = _AF_INET,
    backlog: int = 50,
    reuse_addr: bool = True,
    reuse_port: bool | None = None,
) -> Any:
    """A socket that listens at an address.

    :param addr: ``(host, port)``, for TCP; port 0: one that is free.
    :param backlog: how many connections may wait to be accepted.
    :param reuse_addr: set SO_REUSEADDR.
    :param reuse_port: set SO_REUSEPORT: other processes may listen there,
        too. By default, unless the port is 0.
    """
    sock = socket.socket(family, _SOCK_STREAM)
    try:
        if reuse_addr:
            sock.setsockopt(
                _SOL_SOCKET,
                socket.SO_REUSEADDR,
                1,
            )
        if _check_reuse_port(addr, family, reuse_port):
            _set_reuse_port(sock)
        sock.bind(addr)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def _check_reuse_port(addr: Any, family: Any, reuse_port: Any) -> bool:
    if family not in _INTERNET or addr[1] != 0:
        return reuse_port is None or bool(reuse_port)
    if reuse_port:
        warnings.warn(
            "listening at a random port with SO_REUSEPORT is dangerous: it "
            "may be one at which somebody else listens",
            ReuseRandomPortWarning,
            stacklevel=4,
        )
    return bool(reuse_port)


def _set_reuse_port(sock: Any) -> None:
    option = getattr(socket, "SO_REUSEPORT", None)
    if option is None:
        return
    try:
        sock.setsockopt(_SOL_SOCKET, option, 1)
    except OSError as exc:
        if exc.errno in (errno.EINVAL, errno.ENOPROTOOPT):
            warnings.warn(
                "this system does not support SO_REUSEPORT",
                ReusePortUnavailableWarning,
                stacklevel=4,
            )
        elif exc.errno != errno.EOPNOTSUPP:  # a Unix socket
            raise


class StopServe(Exception):
    """Raised in a handler: have `serve` return."""


def _stop_checker(t: Any, server_gt: Any, conn: Any) -> None:
    """When a handler has ended: close its connection, pass errors on."""
    try:
        try:
            t.wait()
        finally:
            conn.close()
    except GreenletExit:
        pass
    except Exception:
        greenthread.kill(server_gt, *sys.exc_info())


def serve(
    sock: Any, handle: Callable[[Any, Any], object], concurrency: int = 1000
) -> None:
    """Call ``handle(connection, address)`` for each one that connects.

    Each call is in a green thread of its own. The connection is closed when
    it returns. An exception that leaves it ends the server, and is raised
    here; with `StopServe` this returns.

    :param sock: listens, see `listen`.
    :param concurrency: how many of them there may be at a time.
    """
    pool = greenpool.GreenPool(concurrency)
    server = getcurrent()
    while True:
        try:
            conn, addr = sock.accept()
            green = pool.spawn(handle, conn, addr)
            green.link(_stop_checker, server, conn)
            del conn, addr, green
        except StopServe:
            return


wrap_ssl_impl = ssl.wrap_socket


def wrap_ssl(sock: Any, *a: Any, **kw: Any) -> Any:
    """A TLS connection on a socket, or a TLS listener on a listener.

    Takes the arguments that ``ssl.wrap_socket`` had up to Python 3.11.
    Nothing of the peer is verified unless `cert_reqs` says so.
    """
    return wrap_ssl_impl(sock, *a, **kw)
