"""The standard library's :mod:`select`, as far as it is green: `select`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from coir._core import getcurrent
from coir.gevent import select as __engine

from ..greenthread import sleep
from ..hubs import get_hub
from ..patcher import original

__select = original("select")
error = __select.error

__patched__ = ["select"]
__deleted__ = ["devpoll", "poll", "epoll", "kqueue", "kevent"]


def get_fileno(obj: Any) -> int:
    """The number of a descriptor, given itself or what has ``fileno()``."""
    fileno = getattr(obj, "fileno", None)
    number = obj if fileno is None else fileno()
    if not isinstance(number, int):
        raise TypeError(f"Expected int or long, got {type(number)}")
    return number


def select(
    read_list: Iterable[Any],
    write_list: Iterable[Any],
    error_list: Iterable[Any],
    timeout: float | None = None,
) -> tuple[list[Any], list[Any], list[Any]]:
    """Wait until some of the descriptors are ready, as :func:`select.select`.

    Others run at least once meanwhile.

    :param timeout: seconds; None waits for ever, 0 polls.
    """
    if timeout is not None:
        try:
            timeout = max(float(timeout), 0)
        except ValueError:
            raise TypeError("Expected number for timeout") from None
    hub = get_hub()
    if hub.greenlet is getcurrent():
        raise RuntimeError("do not call blocking functions from the mainloop")
    lists = [
        [(get_fileno(file), file) for file in files]
        for files in (read_list, write_list, error_list)
    ]
    ready = __engine._original_select(*lists)
    if any(ready) or timeout == 0:
        sleep(0)
        return ready
    end = None if timeout is None else hub.clock() + timeout
    while True:
        left = None if end is None else max(end - hub.clock(), 0)
        _wait(hub, *({fd for fd, _ in files} for files in lists), left)
        ready = __engine._original_select(*lists)
        if any(ready) or (end is not None and hub.clock() >= end):
            return ready


def _wait(
    hub: Any,
    reading: set[int],
    writing: set[int],
    exceptional: set[int],
    timeout: float | None,
) -> None:
    """Wait until one of them may be ready, or until time is over."""
    current: Any = getcurrent()
    listeners = []
    timer = None
    try:
        for kind, fds in (
            (hub.READ, reading | exceptional),
            (hub.WRITE, writing),
        ):
            for fd in fds:
                listeners.append(
                    hub.add(kind, fd, current.switch, current.throw, _nothing)
                )
        if timeout is not None:
            timer = hub.schedule_call_global(timeout, current.switch)
        hub.switch()
    finally:
        for listener in listeners:
            hub.remove(listener)
        if timer is not None:
            timer.cancel()


def _nothing() -> None:
    """A descriptor is of no use any more; `hub.switch()` raises that."""
