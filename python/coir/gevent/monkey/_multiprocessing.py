"""Pipes and semaphores between processes, where threads are greenlets.

The feeder of a ``multiprocessing.Queue`` and those who read it are threads;
as greenlets of one thread they would stop each other in a system call.
"""

from __future__ import annotations

import os
from importlib import import_module
from time import monotonic
from typing import Any

from ..hub import get_hub, getcurrent, sleep
from ._state import is_object_patched
from .api import patch_item

#: What a pipe takes for sure if it says that it is writable.
_PIPE_BUF = 4096


def adopt() -> None:
    """Have them let others run while they wait."""
    try:
        semaphores = import_module("_multiprocessing")
        from multiprocessing import connection
    except ImportError:
        return  # Python was built without
    if is_object_patched(semaphores.__name__, "SemLock"):
        return
    native: Any = semaphores.SemLock

    class SemLock(native):  # type: ignore[misc]
        """A semaphore of the system; it tells nobody when it is free."""

        __slots__ = ()

        def acquire(
            self, block: bool = True, timeout: float | None = None
        ) -> bool:
            if getcurrent() is get_hub():
                return bool(super().acquire(block, timeout))
            deadline = None if timeout is None else monotonic() + timeout
            delay = 0.0005
            while not super().acquire(False):
                if not block:
                    return False
                if deadline is not None:
                    left = deadline - monotonic()
                    if left <= 0:
                        return False
                    delay = min(delay, left)
                sleep(delay)
                delay = min(2 * delay, 0.02)
            return True

        def __enter__(self) -> bool:
            return self.acquire()

    patch_item(semaphores, "SemLock", SemLock)
    # In place: others derive from it, and have kept it.
    pipe: Any = connection.Connection
    if pipe._recv.__defaults__ == (os.read,):
        pipe._recv.__defaults__ = (_read,)
    if pipe._send.__defaults__ == (os.write,):
        pipe._send.__defaults__ = (_write,)


def _wait(fd: int, events: int) -> None:
    hub = get_hub()
    if getcurrent() is hub:
        return
    watcher = hub.loop.io(fd, events)
    try:
        hub.wait(watcher)
    finally:
        watcher.close()


def _read(fd: int, n: int) -> bytes:
    while True:
        _wait(fd, 1)
        try:
            return os.read(fd, n)
        except BlockingIOError:
            pass


def _write(fd: int, data: Any) -> int:
    while True:
        _wait(fd, 2)
        try:
            if os.get_blocking(fd):
                data = data[:_PIPE_BUF]
            return os.write(fd, data)
        except BlockingIOError:
            pass
