"""The standard library's :mod:`http.client`, green."""

from __future__ import annotations

from ... import patcher
from .. import os, socket, ssl, time

patcher.inject(
    "http.client",
    globals(),
    ("os", os),
    ("socket", socket),
    ("ssl", ssl),
    ("time", time),
)
patcher._own_classes("http.client", globals())
