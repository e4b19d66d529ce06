"""What the functions that patch share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from functools import wraps
from importlib import import_module
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _notify_patch(event: Any, _warnings: list[str] | None = None) -> None:
    """Send an event; DoNotPatch if a subscriber does not want it."""
    from ..events import notify_and_call_entry_points

    event._warnings = _warnings
    notify_and_call_entry_points(event)


def _ignores_DoNotPatch(
    func: Callable[_P, _R],
) -> Callable[_P, _R | bool]:
    """Make `func` return False instead of raising DoNotPatch."""

    @wraps(func)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _R | bool:
        from ..events import DoNotPatch

        try:
            return func(*args, **kwargs)
        except DoNotPatch:
            return False

    return wrapper


def _check_availability(name: str) -> tuple[Any, ModuleType, str]:
    """Our module of that name, the one it stands for, and that one's name.

    Ours is imported first: so it finds the other as it was.
    """
    ours = import_module(f"..{name}", __package__)
    target = getattr(ours, "__target__", name)
    return ours, import_module(target), target


def _patch_module(
    name: str,
    items: Collection[str] | None = None,
    _warnings: list[str] | None = None,
    _patch_kwargs: dict[str, Any] | None = None,
    _notify_will_subscribers: bool = True,
    _notify_did_subscribers: bool = True,
    _call_hooks: bool = True,
) -> tuple[Any, ModuleType]:
    """patch_module() with our module `name`, which is returned first."""
    from ._state import saved
    from .api import patch_module

    ours, target, target_name = _check_availability(name)
    patch_module(
        target,
        ours,
        items=items,
        _warnings=_warnings,
        _patch_kwargs=_patch_kwargs,
        _notify_will_subscribers=_notify_will_subscribers,
        _notify_did_subscribers=_notify_did_subscribers,
        _call_hooks=_call_hooks,
    )
    for other_name in getattr(ours, "__alternate_targets__", ()):
        other = sys.modules.get(other_name)
        if other is not None and other is not target:
            patch_module(
                other,
                ours,
                items=items,
                _warnings=_warnings,
                _notify_will_subscribers=False,
                _notify_did_subscribers=False,
                _call_hooks=False,
            )
            saved[other_name] = saved[target_name]
    return ours, target


def _queue_warning(message: str, _warnings: list[str] | None) -> None:
    """Warn at the end of it all; at once, if there is no list for that."""
    if _warnings is None:
        _process_warnings([message])
    else:
        _warnings.append(message)


def _process_warnings(_warnings: list[str]) -> None:
    import warnings

    from ._errors import MonkeyPatchWarning

    for message in _warnings:
        warnings.warn(message, MonkeyPatchWarning, stacklevel=3)
