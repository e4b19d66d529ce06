"""The exceptions of the hub and of what runs in it.

All of them tell of mistakes in the program, except :exc:`LoopExit`, which
:func:`gevent.joinall` and others also see in the ordinary course of things.
"""

from __future__ import annotations

from typing import Any

from coir._core import GreenletExit, error

__all__ = ["LoopExit"]

GreenletError = error


class LoopExit(Exception):
    """Nothing is left that could end the wait of the running greenlet.

    Raised in the main greenlet when its hub has no watcher, no timer and no
    ready greenlet any more. Greenlets that wait for each other are the usual
    cause, or the use of an object of another thread. Made by the hub it has
    three arguments: a text, the hub, and a text that names all who wait.
    """

    @property
    def hub(self) -> Any:
        """The hub that ran out of work, or None."""
        return self.args[1] if len(self.args) == 3 else None

    def __repr__(self) -> str:
        if len(self.args) != 3:
            return super().__repr__()
        text, hub, waiting = self.args
        return f"{text}\n\tHub: {hub}\n{waiting}".rstrip()

    def __str__(self) -> str:
        return repr(self)


class BlockingSwitchOutError(AssertionError):
    """A callback of the loop called what has to wait.

    Callbacks run in the hub, which must not wait: it is what wakes others.
    Spawn a greenlet from the callback.
    """


class InvalidSwitchError(AssertionError):
    """A greenlet was resumed by something other than what it waits for."""


class ConcurrentObjectUseError(AssertionError):
    """A second greenlet waits for what only one may wait for."""


class InvalidThreadUseError(RuntimeError):
    """An object bound to the hub of one thread was used from another."""


class HubDestroyed(GreenletExit):
    """Thrown into a hub to end it; not for use by programs.

    :param destroy_loop: whether the loop goes with it.
    """

    def __init__(self, destroy_loop: bool) -> None:
        super().__init__(destroy_loop)
        self.destroy_loop = destroy_loop
