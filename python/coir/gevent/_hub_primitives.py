"""Waiting for several objects at once, and for watchers.

All of this blocks the calling greenlet only, and raises what is thrown into
it meanwhile; whatever it has linked is unlinked then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from coir._core import HubBase, get_hub, greenlet, iwait, wait

from ._waiter import Waiter
from .exceptions import ConcurrentObjectUseError, InvalidSwitchError

__all__ = [
    "WaitOperationsGreenlet",
    "iwait_on_objects",
    "wait_on_objects",
    "wait_read",
    "wait_write",
    "wait_readwrite",
]


class WaitOperationsGreenlet(HubBase):
    """What a hub can wait for on behalf of others."""

    def wait(self, watcher: Any) -> None:
        """Wait until `watcher`, which is not started, is called."""
        waiter = Waiter(self)
        watcher.start(waiter.switch, waiter)
        try:
            result = waiter.get()
            if result is not waiter:
                raise InvalidSwitchError(
                    f"Invalid switch into {self!r}: got {result!r}, "
                    f"expected {waiter!r}; waiting on {watcher!r}"
                )
        finally:
            watcher.stop()

    def cancel_waits_close_and_then(
        self,
        watchers: Iterable[Any],
        exc_kind: Any,
        then: Callable[..., Any],
        *then_args: Any,
    ) -> None:
        """End the waits for `watchers` by `exc_kind`, then call `then`."""
        pending = [w for w in watchers if w is not None]
        self.loop.run_callback(
            self._cancel_waits_then, pending, exc_kind, then, then_args
        )

    def _cancel_waits_then(
        self,
        watchers: Iterable[Any],
        exc_kind: Any,
        then: Callable[..., Any],
        then_args: Iterable[Any],
    ) -> None:
        for watcher in watchers:
            self._cancel_wait(watcher, exc_kind, True)
        then(*then_args)

    def cancel_wait(
        self, watcher: Any, error: Any, close_watcher: bool = False
    ) -> None:
        """End somebody's wait for `watcher`: `error` is raised there."""
        if watcher is None:
            return
        if watcher.callback is not None:
            self.loop.run_callback(
                self._cancel_wait, watcher, error, close_watcher
            )
        elif close_watcher:
            watcher.close()

    def _cancel_wait(
        self, watcher: Any, error: Any, close_watcher: bool
    ) -> None:
        # It may have been called since.
        active, callback = watcher.active, watcher.callback
        if close_watcher:
            watcher.close()
        if active and callback is not None:
            waiting = getattr(callback, "__self__", None)
            if waiting is not None:
                waiting.throw(error)


class TrackedRawGreenlet(greenlet):
    """A greenlet that knows who spawned it."""

    def __init__(self, function: Any, parent: Any) -> None:
        super().__init__(function, parent)
        self.spawning_greenlet: Any = None
        self.spawn_tree_locals: Any = None
        self.spawning_stack: Any = None


#: Those of the engine, which link to Greenlets cheaply.
iwait_on_objects = iwait
wait_on_objects = wait


def _primitive_wait(watcher: Any, timeout: float | None, exc: Any) -> None:
    from .timeout import Timeout

    if watcher.callback is not None:
        raise ConcurrentObjectUseError(
            f"This socket is already used by another greenlet: "
            f"{watcher.callback!r}"
        )
    hub = get_hub()
    if timeout is None:
        hub.wait(watcher)
        return
    with Timeout.start_new(timeout, exc):
        hub.wait(watcher)


def wait_on_watcher(
    watcher: Any,
    timeout: float | None = None,
    timeout_exc: Any = None,
    hub: Any = None,
) -> None:
    """Wait for a watcher, for `timeout` seconds at most."""
    _primitive_wait(watcher, timeout, timeout_exc or TimeoutError("timed out"))


def _wait_fd(
    fileno: int, events: int, timeout: float | None, exc: Any
) -> None:
    watcher = get_hub().loop.io(fileno, events)
    try:
        wait_on_watcher(watcher, timeout, exc)
    finally:
        watcher.close()


def wait_read(
    fileno: int, timeout: float | None = None, timeout_exc: Any = None
) -> None:
    """Wait until the descriptor is readable; else raise `timeout_exc`."""
    _wait_fd(fileno, 1, timeout, timeout_exc)


def wait_write(
    fileno: int,
    timeout: float | None = None,
    timeout_exc: Any = None,
    event: Any = None,
) -> None:
    """Wait until the descriptor is writable; else raise `timeout_exc`.

    :param event: is ignored.
    """
    _wait_fd(fileno, 2, timeout, timeout_exc)


def wait_readwrite(
    fileno: int,
    timeout: float | None = None,
    timeout_exc: Any = None,
    event: Any = None,
) -> None:
    """Wait until the descriptor is either; else raise `timeout_exc`.

    :param event: is ignored.
    """
    _wait_fd(fileno, 3, timeout, timeout_exc)
