"""The standard library's :mod:`selectors`: those that use `select`."""

from __future__ import annotations

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

SelectSelector._select = staticmethod(select.select)  # noqa: F821
DefaultSelector = SelectSelector  # noqa: F821
