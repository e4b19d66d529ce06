"""Green threads: spawning them, waiting for them, ending them.

`spawn` has the hub start the function when those that are ready now have had
their turn, and returns at once. What blocks here, `sleep` and
``GreenThread.wait``, lets other green threads of this thread run meanwhile.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from coir._core import EvGreenThread as GreenThread
from coir._core import GreenletExit, getcurrent, greenlet
from coir._core import ev_prepare as _prepare
from coir._core import ev_sleep as sleep
from coir._core import ev_spawn as spawn
from coir._core import ev_spawn_n as spawn_n

from . import hubs, support, timeout
from .hubs import timer

__all__ = [
    "getcurrent",
    "sleep",
    "spawn",
    "spawn_n",
    "kill",
    "spawn_after",
    "spawn_after_local",
    "GreenThread",
]


def spawn_after(
    seconds: float, func: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    """Run ``func(*args, **kwargs)`` in a green thread, in so many seconds.

    ``cancel()`` of the `GreenThread` that is returned prevents that; its
    ``kill()`` does, too, and ends the function if it was called.
    """
    g = _prepare(func, *args, **kwargs)
    hubs.get_hub().schedule_call_global(seconds, g.switch)
    return g


def spawn_after_local(
    seconds: float, func: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    """As `spawn_after`, but not if the caller has ended by then."""
    g = _prepare(func, *args, **kwargs)
    hubs.get_hub().schedule_call_local(seconds, g.switch)
    return g


def _warn(old: str, new: str) -> None:
    warnings.warn(
        f"{old} is deprecated, use {new}", DeprecationWarning, stacklevel=3
    )


def call_after_global(
    seconds: float, func: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    """`spawn_after` under its old name; returns the timer."""
    _warn("call_after_global", "spawn_after")
    return _spawn_n(seconds, func, args, kwargs)[0]


def call_after_local(
    seconds: float, function: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    """`spawn_after_local` under its old name; returns the timer."""
    _warn("call_after_local", "spawn_after_local")
    hub = hubs.get_hub()
    g = greenlet(function, hub.greenlet)
    return hub.schedule_call_local(seconds, g.switch, *args, **kwargs)


call_after = call_after_local


def exc_after(seconds: float | None, *throw_args: Any) -> Any:
    """Raise something in the caller, in so many seconds; None: never.

    Returns the timer. Deprecated, as `Timeout` does it.
    """
    _warn("exc_after", "Timeout(seconds, exception)")
    if seconds is None:
        return timer.Timer(seconds, lambda: None)  # type: ignore[arg-type]
    current: Any = getcurrent()
    return hubs.get_hub().schedule_call_local(
        seconds, current.throw, *throw_args
    )


TimeoutError = support.wrap_deprecated(  # noqa: A001
    "greenthread.TimeoutError", "Timeout"
)(timeout.Timeout)
with_timeout = support.wrap_deprecated(
    "greenthread.with_timeout", "with_timeout"
)(timeout.with_timeout)


def _spawn_n(
    seconds: float, func: Callable[..., Any], args: Any, kwargs: Any
) -> tuple[Any, Any]:
    hub = hubs.get_hub()
    g = greenlet(func, hub.greenlet)
    return hub.schedule_call_global(seconds, g.switch, *args, **kwargs), g


def cancel(g: Any, *throw_args: Any) -> None:
    """`kill` it, unless it has begun."""
    if not g:
        kill(g, *throw_args)


def _raise(*throw_args: Any) -> None:
    if not throw_args:
        raise GreenletExit()
    kind, value, tb = (*throw_args, None, None)[:3]
    if isinstance(kind, BaseException):
        value = kind
    elif not isinstance(value, BaseException):
        value = kind() if value is None else kind(value)
    raise value if tb is None else value.with_traceback(tb)


def kill(g: Any, *throw_args: Any) -> None:
    """Have an exception raised in a greenlet, now: it runs before the caller
    goes on, until it waits again or ends.

    :param throw_args: as for ``throw()``: an exception, or a class, a value
        and a traceback; ``GreenletExit`` if there are none. Who waits for a
        `GreenThread` that has not begun gets it, too.
    """
    if g.dead:
        return
    hub = hubs.get_hub()
    if not g and isinstance(g, GreenThread):
        try:
            g.main(_raise, throw_args, {})
        except BaseException:
            pass  # those who wait for it know
    current = getcurrent()
    if current is not hub.greenlet:
        hub.ensure_greenlet()
        hub.schedule_call_global(0, current.switch)
    g.throw(*throw_args)
