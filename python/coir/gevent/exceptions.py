"""Exceptions of the scheduler."""

from __future__ import annotations

from .._core import GreenletExit, error

__all__ = ["LoopExit"]

GreenletError = error


class LoopExit(Exception):
    """Nothing can ever happen any more, and somebody still waits."""

    def __repr__(self) -> str:
        return "\n".join(str(arg) for arg in self.args) or "LoopExit()"

    __str__ = __repr__


class BlockingSwitchOutError(AssertionError):
    """The hub, which runs the loop, was asked to wait."""


class InvalidSwitchError(AssertionError):
    """Somebody switched to a greenlet who was not to."""


class ConcurrentObjectUseError(AssertionError):
    """Two greenlets use what is for one at a time."""


class InvalidThreadUseError(RuntimeError):
    """An object is used in another thread than its own."""


class HubDestroyed(GreenletExit):  # type: ignore[misc, valid-type]
    """The hub of a greenlet was destroyed. ``destroy_loop``: its loop too."""

    def __init__(self, destroy_loop: bool) -> None:
        GreenletExit.__init__(self, destroy_loop)
        self.destroy_loop = destroy_loop
