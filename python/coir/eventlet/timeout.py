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

from coir._core import getcurrent

__all__ = ["Timeout", "with_timeout", "wrap_is_timeout", "is_timeout"]

_MISSING = object()


class Timeout(BaseException):
    """Raise itself, or `exception`, in the caller in so many seconds.

    As a context manager it is cancelled at the end of the block; if
    `exception` is False, the block ends early without an error.
    """

    def __init__(self, seconds: Any = None, exception: Any = None) -> None:
        self.seconds = seconds
        self.exception = exception
        self.timer: Any = None
        self.start()

    def start(self) -> Any:
        """Start it again, after it was cancelled; returns itself."""
        if self.pending:
            raise AssertionError(
                f"{self!r} is already started; to restart it, cancel it first"
            )
        self.timer = None
        if self.seconds is not None:
            from .hubs import get_hub

            exc = self.exception
            if exc is None or isinstance(exc, bool):
                exc = self
            current: Any = getcurrent()
            self.timer = get_hub().schedule_call_global(
                self.seconds, current.throw, exc
            )
        return self

    @property
    def pending(self) -> bool:
        """Whether it is going to be raised."""
        return self.timer is not None and self.timer.pending

    def cancel(self) -> None:
        """Do not raise it; nothing, if it is not pending."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def __repr__(self) -> str:
        text = f"<{type(self).__name__} at {id(self):#x} "
        text += f"seconds={self.seconds}"
        if self.exception is not None:
            text += f" exception={self.exception!r}"
        return text + (" pending>" if self.pending else ">")

    def __str__(self) -> str:
        if self.seconds is None:
            return ""
        text = f"{self.seconds} second{'' if self.seconds == 1 else 's'}"
        if self.exception is None or self.exception is True:
            return text
        if self.exception is False:
            return text + " (silent)"
        return text + f" ({self.exception})"

    def __enter__(self) -> Any:
        if self.timer is None:
            self.start()
        return self

    def __exit__(self, kind: Any, value: Any, tb: Any) -> bool | None:
        self.cancel()
        return True if value is self and self.exception is False else None

    @property
    def is_timeout(self) -> bool:
        """True, see `is_timeout`."""
        return True


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
