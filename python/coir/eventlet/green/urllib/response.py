"""The standard library's :mod:`urllib.response`."""

from __future__ import annotations

from ... import patcher

patcher.inject("urllib.response", globals())
