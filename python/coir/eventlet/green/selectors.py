"""The standard library's :mod:`selectors`: those that use `select`."""

from __future__ import annotations

from typing import Any

from coir.gevent.select import _meet_asyncio as __meet_asyncio

from .. import patcher
from . import select

__patched__ = ["DefaultSelector", "SelectSelector"]
__deleted__ = [
    "PollSelector",
    "EpollSelector",
    "DevpollSelector",
    "KqueueSelector",
]

patcher.inject("selectors", globals(), ("select", select))


def __select(
    readers: Any, writers: Any, others: Any, timeout: float | None = None
) -> Any:
    __meet_asyncio()
    return select.select(readers, writers, others, timeout)


SelectSelector._select = staticmethod(__select)  # noqa: F821
DefaultSelector = SelectSelector  # noqa: F821
