"""The standard library's :mod:`urllib.parse`."""

from __future__ import annotations

from ... import patcher

patcher.inject("urllib.parse", globals())
