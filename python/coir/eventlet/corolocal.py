"""Attributes that each green thread has for itself."""

from __future__ import annotations

from coir._core import getcurrent
from coir.gevent.local import local

__all__ = ["get_ident", "local"]


def get_ident() -> int:
    """A number for the running greenlet, among those that are alive."""
    return id(getcurrent())
