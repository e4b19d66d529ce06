"""Waiting for something to happen: a flag, or a value that will come.

Greenlets of all threads, and threads without any, may use the same object.
"""

from __future__ import annotations

from coir._core import AbstractLinkable, AsyncResult, Event

__all__ = ["Event", "AsyncResult"]
