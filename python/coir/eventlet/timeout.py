"""Limiting how long something may take.

A `Timeout` raises itself in the green thread that made it, unless it is
cancelled first. It is no `Exception`, so that handlers for errors do not
swallow it.
"""

from __future__ import annotations

import builtins
import functools
import inspect
from collections.abc import Callable
from typing import Any

from coir._core import EvTimeout as Timeout

__all__ = ["Timeout", "with_timeout", "wrap_is_timeout", "is_timeout"]

_MISSING = object()


def with_timeout(
    seconds: float | None,
    function: Callable[..., Any],
    *args: Any,
    **kwds: Any,
) -> Any:
    """``function(*args, **kwds)``, for so many seconds at most.

    :param timeout_value: returned after that; if it is not given, the
        `Timeout` is raised.
    """
    instead = kwds.pop("timeout_value", _MISSING)
    timeout = Timeout(seconds)
    try:
        return function(*args, **kwds)
    except Timeout as exc:
        if exc is timeout and instead is not _MISSING:
            return instead
        raise
    finally:
        timeout.cancel()


def wrap_is_timeout(base: Any) -> Any:
    """Mark an exception as one for which `is_timeout` is true.

    Of a class, which is returned, all instances are; else what the function
    that is returned makes, by way of `base`.
    """
    if inspect.isclass(base):
        base.is_timeout = property(lambda self: True)  # type: ignore[attr-defined]
        return base

    @functools.wraps(base)
    def marked(*args: Any, **kwargs: Any) -> Any:
        exc = base(*args, **kwargs)
        exc.is_timeout = True
        return exc

    return marked


def is_timeout(obj: Any) -> bool:
    """Whether it tells of a timeout: a `Timeout`, the built-in one, or
    anything with a true ``is_timeout``."""
    return bool(getattr(obj, "is_timeout", False)) or isinstance(
        obj, builtins.TimeoutError
    )
