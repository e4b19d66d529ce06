"""The greenlets that green threads are made of."""

from coir._core import GreenletExit, getcurrent, greenlet

__all__ = ["GreenletExit", "getcurrent", "greenlet"]
