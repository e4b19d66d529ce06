"""The standard library's :mod:`socketserver`, green."""

from __future__ import annotations

from .. import patcher
from . import os, selectors, socket, threading

patcher.inject(
    "socketserver",
    globals(),
    ("os", os),
    ("selectors", selectors),
    ("socket", socket),
    ("threading", threading),
)
