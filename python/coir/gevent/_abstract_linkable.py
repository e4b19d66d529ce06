"""What events and locks have in common."""

from __future__ import annotations

from coir._core import AbstractLinkable

__all__ = ["AbstractLinkable"]
