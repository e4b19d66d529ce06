"""The standard library's :mod:`http.cookies`, green."""

from __future__ import annotations

from ... import patcher
from .. import time

patcher.inject("http.cookies", globals(), ("time", time))
patcher._own_classes("http.cookies", globals())
