"""The standard library's :mod:`http.cookiejar`, green."""

from __future__ import annotations

from ... import patcher
from .. import threading, time
from . import client

patcher.inject(
    "http.cookiejar",
    globals(),
    ("http.client", client),
    ("threading", threading),
    ("time", time),
)
patcher._own_classes("http.cookiejar", globals())
