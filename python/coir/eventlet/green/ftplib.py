"""The standard library's :mod:`ftplib`, green."""

from __future__ import annotations

from .. import patcher
from . import socket, ssl

patcher.inject(
    "ftplib",
    globals(),
    ("socket", socket),
    ("ssl", ssl),
)

if __name__ == "__main__":
    test()  # noqa: F821
