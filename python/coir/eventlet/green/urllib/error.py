"""The standard library's :mod:`urllib.error`."""

from __future__ import annotations

from ... import patcher

patcher.inject("urllib.error", globals())
