"""A Python prompt in a running program, over the network.

Whoever connects to a :class:`BackdoorServer` gets an interactive interpreter
that runs inside of the program, in a greenlet, while all else goes on.
"""

from __future__ import annotations

import builtins
import sys
from code import InteractiveConsole
from typing import Any

from coir._core import getcurrent

from .pool import Pool
from .server import StreamServer

__all__ = ["BackdoorServer"]


class BackdoorServer(StreamServer):
    """A server with an interactive interpreter for each connection.

    Nobody is asked who they are, and who is connected can do all that the
    program can: listen on the local machine only, or on a Unix socket.

    :param listener: see :class:`BaseServer`.
    :param locals: names that can be used at the prompt. Each connection has a
        dict of its own.
    :param banner: printed at the beginning; None for Python's own.
    :param server_args: for :class:`StreamServer`.

    What is printed by the greenlet at the prompt, and only by that, goes to
    its connection. Stopping the server ends the connections.

    Behaves as ``gevent.backdoor.BackdoorServer``, gevent 26.9.
    """

    def __init__(
        self,
        listener: Any,
        locals: dict[str, Any] | None = None,
        banner: str | None = None,
        **server_args: Any,
    ) -> None:
        super().__init__(listener, spawn=Pool(), **server_args)
        self.locals: dict[str, Any] = {
            "__name__": "__console__",
            "__doc__": None,
            # The module: at a prompt its whole dict is no sight.
            "__builtins__": builtins,
        }
        self.locals.update(locals or ())
        self.banner = banner
        self.stderr = sys.stderr

    def handle(self, conn: Any, _address: Any) -> None:
        """Talk with one user, until they leave."""
        console = _Console(conn, dict(self.locals))
        me = getcurrent()
        _enter(me, console)
        try:
            console.interact(self.banner, exitmsg="")
        except (SystemExit, ConnectionError, BrokenPipeError):
            pass
        finally:
            _leave(me)
            console.close()


class _Console(InteractiveConsole):
    """A prompt at a connection; as a file, what is printed goes there."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, conn: Any, names: dict[str, Any]) -> None:
        super().__init__(names, "<console>")
        self._conn = conn
        self._lines = conn.makefile(
            "r", encoding=self.encoding, errors="replace"
        )

    def write(self, data: str) -> int:  # type: ignore[override]
        self._conn.sendall(data.encode(self.encoding, self.errors))
        return len(data)

    def raw_input(self, prompt: str = "") -> Any:
        if prompt:
            self.write(prompt)
        line = self._lines.readline()
        if not line:
            raise EOFError
        return line.rstrip("\r\n")

    def readline(self, size: int = -1) -> Any:
        return self._lines.readline(size)

    def read(self, size: int = -1) -> Any:
        return self._lines.read(size)

    def __iter__(self) -> Any:
        return iter(self._lines)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Nothing is kept back."""

    def fileno(self) -> Any:
        return self._conn.fileno()

    def isatty(self) -> bool:
        return False

    def close(self) -> None:
        self._lines.close()


class _AtPrompt:
    """Stands in ``sys`` for a file, and is another one at each prompt."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._before = getattr(sys, name)

    def _file(self) -> Any:
        try:
            return _consoles.get(getcurrent(), self._before)
        except RuntimeError:  # the interpreter ends, and flushes it
            return self._before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file(), name)

    def __iter__(self) -> Any:
        return iter(self._file())

    def close(self) -> None:
        # quit() closes sys.stdin, before it raises SystemExit.
        if getcurrent() not in _consoles:
            self._before.close()


_NAMES = ("stdin", "stdout", "stderr")
_consoles: dict[Any, _Console] = {}
_stand_ins: list[_AtPrompt] = []


def _enter(greenlet: Any, console: _Console) -> None:
    _consoles[greenlet] = console
    if len(_consoles) == 1:
        for name in _NAMES:
            stand_in = _AtPrompt(name)
            _stand_ins.append(stand_in)
            setattr(sys, name, stand_in)


def _leave(greenlet: Any) -> None:
    del _consoles[greenlet]
    if _consoles:
        return
    for stand_in in _stand_ins:
        # If somebody has put something else there since, it may be the file
        # of that, and goes on to be.
        if getattr(sys, stand_in._name) is stand_in:
            setattr(sys, stand_in._name, stand_in._before)
    _stand_ins.clear()
