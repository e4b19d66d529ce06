"""Addresses to listen on, and the sockets for them.

An address is written as

- ``HOST:PORT``, ``:PORT`` (all addresses, IPv4), ``[IPv6]:PORT`` or ``PORT``;
- ``unix:/path/of/a/socket``; ``unix:@name`` is one in Linux's abstract
  namespace;
- ``fd:N``, a listening socket that this process was given by its parent.

Sockets are of the interpreter's own class, which no patching replaces: who
supervises workers has no hub.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import os
import stat
from contextlib import closing
from typing import Any

__all__ = ["Listener", "listen", "parse_address"]

#: ``("tcp", host, port)``, ``("unix", path, 0)`` or ``("fd", "", number)``.
Address = tuple[str, str, int]


def parse_address(text: str) -> Address:
    """Take an address apart.

    :raises ValueError: if it makes no sense.
    """
    if text.startswith("unix:"):
        path = text[len("unix:") :]
        if not path:
            raise ValueError(f"no path in the address {text!r}")
        return "unix", path, 0
    if text.startswith("fd:"):
        return "fd", "", _number(text, text[len("fd:") :], 2**31 - 1)
    host, colon, port = text.rpartition(":")
    if not colon:
        host = "127.0.0.1"
    elif host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(
            f"an IPv6 address belongs into brackets: [{host}]:{port}"
        )
    return "tcp", host, _number(text, port, 65535)


def _number(text: str, digits: str, most: int) -> int:
    if digits.isascii() and digits.isdigit() and int(digits) <= most:
        return int(digits)
    raise ValueError(
        f"{digits!r} in the address {text!r} is no number that "
        f"fits: expected HOST:PORT, unix:PATH or fd:NUMBER"
    )


class Listener:
    """A listening socket, and what has to be done when it goes.

    :ivar name: where it listens, as of ``getsockname()``.
    """

    def __init__(
        self, socket: Any, address: Address, made: tuple[int, ...] | None
    ) -> None:
        self.socket = socket
        self.name = socket.getsockname()
        self.address = address
        self._made = made  # which file a Unix socket has

    def duplicate(self) -> int:
        """Another number of it, which is the caller's."""
        return fcntl.fcntl(self.socket.fileno(), fcntl.F_DUPFD_CLOEXEC, 0)

    def describe(self, scheme: str = "http") -> str:
        """For people: an URL, or ``unix:PATH``."""
        name = self.name
        if isinstance(name, bytes):
            return "unix:@" + name[1:].decode("utf-8", "replace")
        if isinstance(name, str):
            return f"unix:{name}"
        host = f"[{name[0]}]" if ":" in name[0] else name[0]
        return f"{scheme}://{host}:{name[1]}"

    def close(self) -> None:
        """Close it here; others that have it go on."""
        self.socket.close()

    def unlink(self) -> None:
        """Remove the file of a Unix socket, if it is still ours."""
        path = self.address[1]
        try:
            info = os.lstat(path)
            if self._made == _identity(info):
                os.unlink(path)
        except OSError:
            pass  # somebody else did
        self._made = None


def listen(
    address: Address | str,
    *,
    backlog: int = 1024,
    reuse_port: bool = False,
    unix_mode: int | None = None,
) -> Listener:
    """Make a listening socket that does not block.

    :param backlog: how many connections may wait in the kernel until they
        are accepted; it has a limit of its own (``net.core.somaxconn``).
    :param reuse_port: others may listen on this port, too, and the kernel
        spreads connections among them.
    :param unix_mode: permissions of the file of a Unix socket; by default
        what the umask leaves.
    :raises OSError: with the address in its text.
    """
    if isinstance(address, str):
        address = parse_address(address)
    kind, host, port = address
    try:
        if kind == "unix":
            return _listen_unix(address, backlog, unix_mode)
        if kind == "fd":
            return _adopt(address)
        return _listen_tcp(host, port, backlog, reuse_port)
    except OSError as exc:
        where = {"tcp": f"{host}:{port}", "unix": host, "fd": f"fd:{port}"}
        raise OSError(
            exc.errno, f"cannot listen on {where[kind]}: {exc.strerror}"
        ) from None


def _listen_tcp(
    host: str, port: int, backlog: int, reuse_port: bool
) -> Listener:
    try:
        found = _socket.getaddrinfo(
            host or None,
            port,
            _socket.AF_INET if not host else 0,
            _socket.SOCK_STREAM,
            0,
            _socket.AI_PASSIVE,
        )
    except _socket.gaierror as exc:
        raise OSError(errno.EADDRNOTAVAIL, exc.args[1]) from None
    family, _, proto, _, where = found[0]
    s = _new(family, proto)
    try:
        s.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        if reuse_port:
            s.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT, 1)
        if family == _socket.AF_INET6:
            s.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 1)
        s.bind(where)
        s.listen(backlog)
    except BaseException:
        s.close()
        raise
    return Listener(s, ("tcp", host, port), None)


def _new(family: int, proto: int = 0) -> Any:
    s = _socket.socket(family, _socket.SOCK_STREAM, proto)
    s.setblocking(False)
    return s


def _listen_unix(
    address: Address, backlog: int, unix_mode: int | None
) -> Listener:
    path = address[1]
    s = _new(_socket.AF_UNIX)
    try:
        if path.startswith("@"):
            s.bind("\0" + path[1:])
            s.listen(backlog)
            return Listener(s, address, None)
        _remove_stale(path)
        # Nobody may connect before the permissions are what they are to be.
        old = os.umask(0o177) if unix_mode is not None else None
        try:
            s.bind(path)
        finally:
            if old is not None:
                os.umask(old)
        if unix_mode is not None:
            os.chmod(path, unix_mode)
        info = os.lstat(path)
        s.listen(backlog)
        return Listener(s, address, _identity(info))
    except BaseException:
        s.close()
        raise


def _identity(info: os.stat_result) -> tuple[int, ...]:
    # A new file may well have the inode of one that was removed.
    return info.st_dev, info.st_ino, info.st_ctime_ns


def _remove_stale(path: str) -> None:
    """Remove a socket that nobody listens on any more.

    What is not a socket, and one that answers, stays: then bind() fails.
    """
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
    except OSError:
        return
    with closing(_new(_socket.AF_UNIX)) as probe:
        # In blocking mode a full backlog would be waited for.
        if probe.connect_ex(path) == errno.ECONNREFUSED:
            os.unlink(path)


def _adopt(address: Address) -> Listener:
    s = _socket.socket(fileno=address[2])
    try:
        if not s.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN):
            raise OSError(errno.EINVAL, "it does not listen")
        s.setblocking(False)
    except BaseException:
        s.detach()
        raise
    return Listener(s, address, None)
