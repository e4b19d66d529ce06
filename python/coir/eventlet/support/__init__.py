"""Small helpers."""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from collections.abc import Callable
from typing import Any

from . import greenlets

__all__ = [
    "PY33",
    "bytes_to_str",
    "get_errno",
    "greenlets",
    "wrap_deprecated",
]

_MISSING = object()

PY33 = sys.version_info[:2] == (3, 3)


def get_errno(exc: Any) -> Any:
    """The number of an `OSError`, or the first argument of what is like
    one; None if it has neither."""
    number = getattr(exc, "errno", None)
    if number is not None:
        return number
    return exc.args[0] if exc.args else None


def bytes_to_str(b: bytes, encoding: str = "ascii") -> str:
    """Decode."""
    return b.decode(encoding)


def wrap_deprecated(old: str, new: str) -> Callable[[Any], Any]:
    """Make a decorator: calls under the name `old` warn, and name `new`.

    Names without a dot are of the package.
    """

    def full(name: str) -> str:
        return name if "." in name else f"eventlet.{name}"

    message = (
        f"{full(old)} is deprecated and will be removed in next version. "
        f"Use {full(new)} instead."
    )

    def wrap(base: Any) -> Any:
        @functools.wraps(base)
        def warn(*args: Any, **kwargs: Any) -> Any:
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            return base(*args, **kwargs)

        if not inspect.isclass(base):
            return warn

        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            base.__init__(self, *args, **kwargs)

        return type(
            base.__name__,
            (base,),
            {"__init__": init, "__module__": base.__module__},
        )

    return wrap
