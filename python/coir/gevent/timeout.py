"""Time limits for code that has none of its own, and sleeping.

A time limit ends a wait, not a computation: it is raised in a greenlet that
lets others run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coir._core import Timeout, get_hub, sleep

__all__ = ["Timeout", "with_timeout"]

_NONE: Any = object()


def with_timeout(
    seconds: Any, function: Callable[..., Any], *args: Any, **kwds: Any
) -> Any:
    """Return ``function(*args, **kwds)``, called with a time limit.

    A call that takes longer is ended by a `Timeout`. That is raised here; or,
    if the keyword argument `timeout_value` is given, which the function does
    not get, that is returned.

        >>> import gevent
        >>> from gevent import with_timeout
        >>> with_timeout(0.01, gevent.sleep, 60, timeout_value="gave up")
        'gave up'
        >>> with_timeout(60, max, 1, 2)
        2
    """
    instead = kwds.pop("timeout_value", _NONE)
    timeout = Timeout.start_new(seconds, _one_shot=True)
    try:
        return function(*args, **kwds)
    except Timeout as exc:
        if exc is timeout and instead is not _NONE:
            return instead
        raise
    finally:
        timeout.cancel()


def idle(priority: int = 0) -> None:
    """Let others run until nothing of that priority is left to do now."""
    hub = get_hub()
    with hub.loop.idle() as watcher:
        if priority:
            watcher.priority = priority
        hub.wait(watcher)


# Where it is known to be, by the name under which this was imported.
sleep.__module__ = f"{__package__}.hub"
