"""The standard library's :mod:`http.server`, green, by its former name."""

from __future__ import annotations

from .. import patcher
from . import SocketServer, select, socket, time

patcher.inject(
    "http.server",
    globals(),
    ("select", select),
    ("socket", socket),
    ("socketserver", SocketServer),
    ("time", time),
)

if __name__ == "__main__":
    test()  # noqa: F821
