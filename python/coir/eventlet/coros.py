"""A counter to wait for: what is left of an old module."""

from __future__ import annotations

from . import event

__all__ = ["metaphore"]


class metaphore:
    """Counts from zero up and down; `wait` returns when it is zero."""

    def __init__(self) -> None:
        self.counter = 0
        self.event = event.Event()
        self.event.send()

    def inc(self, by: int = 1) -> None:
        """Count `by` more."""
        if by <= 0:
            raise AssertionError("by must be positive")
        if self.counter == 0:
            self.event.reset()
        self.counter += by

    def dec(self, by: int = 1) -> None:
        """Count `by` less, but not below zero."""
        if by <= 0:
            raise AssertionError("by must be positive")
        self.counter = max(0, self.counter - by)
        if self.counter == 0:
            self.event.send()

    def wait(self) -> None:
        """Wait until it is zero."""
        self.event.wait()
