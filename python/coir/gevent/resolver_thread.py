"""The old name of :mod:`gevent.resolver.thread`."""

from __future__ import annotations

from coir.gevent.resolver.thread import Resolver

__all__ = ["Resolver"]
