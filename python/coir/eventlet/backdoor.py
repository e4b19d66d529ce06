"""A Python prompt in a running program, over a socket.

Who connects can do anything the program can: listen on a local address only.
"""

from __future__ import annotations

import errno
import socket
import sys
from code import InteractiveConsole
from typing import Any

from coir._core import greenlet
from coir.gevent.backdoor import _enter, _leave

from . import hubs
from .support import get_errno

__all__ = ["FileProxy", "SocketConsole", "backdoor", "backdoor_server"]

for _name, _prompt in ("ps1", ">>> "), ("ps2", "... "):
    if not hasattr(sys, _name):
        setattr(sys, _name, _prompt)


class FileProxy:
    """A file that stands for a terminal."""

    def __init__(self, f: Any) -> None:
        self.f = f

    def isatty(self) -> bool:
        """True, so that there are prompts."""
        return True

    def flush(self) -> None:
        """Nothing is left to flush."""

    def write(self, data: str, *a: Any, **kw: Any) -> None:
        """Send it; nothing, if nobody listens any more."""
        try:
            self.f.write(data, *a, **kw)
            self.f.flush()
        except OSError as exc:
            if get_errno(exc) != errno.EPIPE:
                raise

    def readline(self, *a: Any) -> str:
        """The next line, with the end of line that Python has."""
        line: str = self.f.readline(*a)
        return line.replace("\r\n", "\n")

    def __getattr__(self, attr: str) -> Any:
        return getattr(self.f, attr)


class SocketConsole(greenlet):
    """The greenlet of one prompt: what it prints goes to its connection."""

    def __init__(self, desc: Any, hostport: Any, locals: Any) -> None:
        self.hostport = hostport
        self.locals = locals
        self.desc: Any = FileProxy(desc)
        super().__init__()

    def run(self) -> None:
        """Be the prompt."""
        _enter(self, self.desc)
        try:
            InteractiveConsole(self.locals).interact()
        except (SystemExit, ConnectionError):
            pass
        finally:
            _leave(self)
            self.finalize()

    def finalize(self) -> None:
        """Say that it has ended."""
        self.desc = None
        if len(self.hostport) >= 2:
            host, port = self.hostport[:2]
            print(f"backdoor closed to {host}:{port}")
        else:
            print("backdoor closed")


def _name_of(family: int, address: Any) -> Any:
    if family in (socket.AF_INET, socket.AF_INET6):
        return f"{address[0]}:{address[1]}"
    return address


def backdoor_server(sock: Any, locals: Any = None) -> None:
    """Serve prompts on a listening socket, until it is closed; blocks.

    :param locals: the variables of all prompts.
    """
    where = _name_of(sock.family, sock.getsockname())
    print(f"backdoor server listening on {where}")
    try:
        while True:
            pair = None
            try:
                pair = sock.accept()
                backdoor(pair, locals)
            except OSError as exc:
                if get_errno(exc) != errno.EPIPE:
                    raise
            finally:
                if pair is not None:
                    pair[0].close()
    finally:
        sock.close()


def backdoor(conn_info: Any, locals: Any = None) -> None:
    """Serve a prompt on a connection, as ``accept()`` gives it, in a greenlet
    of its own. Does not block."""
    conn, addr = conn_info
    if conn.family in (socket.AF_INET, socket.AF_INET6):
        print(f"backdoor to {_name_of(conn.family, addr)}")
    else:
        print("backdoor opened")
    console = SocketConsole(conn.makefile("rw"), addr, locals)
    hubs.get_hub().schedule_call_global(0, console.switch)


if __name__ == "__main__":
    from .convenience import listen

    backdoor_server(listen(("127.0.0.1", 9000)), {})
