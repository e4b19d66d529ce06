"""The old name of :mod:`gevent.resolver.ares`."""

from __future__ import annotations

from coir.gevent.resolver.ares import Resolver

__all__ = ["Resolver"]
