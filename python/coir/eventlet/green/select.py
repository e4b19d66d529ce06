"""The standard library's :mod:`select`, as far as it is green: `select`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from coir._core import getcurrent
from coir.gevent import select as __engine

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
    if get_hub().greenlet is getcurrent():
        raise RuntimeError("do not call blocking functions from the mainloop")
    lists = [list(files) for files in (read_list, write_list, error_list)]
    for files in lists:
        for file in files:
            get_fileno(file)
    return __engine.select(*lists, timeout)  # type: ignore[arg-type]
