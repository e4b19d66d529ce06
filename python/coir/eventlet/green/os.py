"""The standard library's :mod:`os`, with what waits made green."""

from __future__ import annotations

import os as os_orig
from select import PIPE_BUF
from stat import S_ISFIFO, S_ISREG
from typing import Any

from coir.gevent import os as __engine

from .. import greenio, hubs
from ..patcher import slurp_properties
from ..support import get_errno  # noqa: F401

__all__ = os_orig.__all__
__patched__ = ["fdopen", "read", "write", "wait", "waitpid", "open"]

slurp_properties(os_orig, globals(), ignore=__patched__, srckeys=dir(os_orig))

__read = os_orig.read
__write = os_orig.write
__open = os_orig.open


def fdopen(fd: int, *args: Any, **kw: Any) -> Any:
    """A file on a descriptor, which then does not block: see `GreenPipe`."""
    if not isinstance(fd, int):
        raise TypeError(f"fd should be int, not {fd!r}")
    return greenio.GreenPipe(fd, *args, **kw)


def _wait(fd: int, **kind: bool) -> bool:
    """Wait for a descriptor, unless it always is ready; False if it went."""
    # What does not block may be tried at once.
    if S_ISREG(os_orig.fstat(fd).st_mode):
        return True
    try:
        hubs.trampoline(fd, **kind)
    except hubs.IOClosed:
        return False
    return True


def read(fd: int, n: int) -> bytes:
    """As ``os.read``; waits until there is something."""
    while True:
        if not _wait(fd, read=True):
            return b""
        try:
            return __read(fd, n)
        except BlockingIOError:
            pass
        except BrokenPipeError:
            return b""


def _blocks(fd: int) -> bool:
    """Would a pipe take more than it has room for, and block meanwhile?"""
    return S_ISFIFO(os_orig.fstat(fd).st_mode) and os_orig.get_blocking(fd)


def write(fd: int, st: Any) -> int:
    """As ``os.write``; waits until something can be written.

    All goes to a pipe that blocks, as without patching: in pieces, for which
    there is room, so that others run meanwhile.
    """
    with memoryview(st) as view, view.cast("B") as rest:
        if len(rest) > PIPE_BUF and _blocks(fd):
            return _write_all(fd, rest)
    return _write_some(fd, st)


def _write_some(fd: int, st: Any) -> int:
    while True:
        if not _wait(fd, write=True):
            return 0
        try:
            return __write(fd, st)
        except BlockingIOError:
            pass


def _write_all(fd: int, rest: memoryview) -> int:
    done = 0
    while done < len(rest):
        try:
            count = _write_some(fd, rest[done : done + PIPE_BUF])
        except OSError:
            if done == 0:
                raise
            break  # the next call raises it
        if count == 0:
            break
        done += count
    return done


def wait() -> tuple[int, int]:
    """As ``os.wait``; others run meanwhile."""
    return waitpid(-1, 0)


def waitpid(pid: int, options: int) -> tuple[int, int]:
    """As ``os.waitpid``; others run meanwhile."""
    return __engine.waitpid(pid, options)


def open(
    file: Any, flags: int, mode: int = 0o777, dir_fd: int | None = None
) -> int:
    """As ``os.open``; the hub is told of it."""
    fd = __open(file, flags, mode, dir_fd=dir_fd)
    hubs.notify_opened(fd)
    return fd
