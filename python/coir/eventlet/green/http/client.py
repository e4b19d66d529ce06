"""The standard library's :mod:`http.client`, green."""

from __future__ import annotations

from ... import patcher
from .. import os, socket, ssl, time

patcher._run_in(
    globals(),
    "http.client",
    ("os", os),
    ("socket", socket),
    ("ssl", ssl),
    ("time", time),
)
