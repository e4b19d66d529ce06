"""What was patched so far."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from types import ModuleType
from typing import Any

#: By name of the module: what its attributes were, by their names. Others
#: that patch modules use it as well.
saved: dict[str, dict[str, Any]] = {}


def is_module_patched(mod_name: str) -> bool:
    """Whether anything in the module `mod_name` was replaced."""
    return mod_name in saved


def is_object_patched(mod_name: str, item_name: str) -> bool:
    """Whether `item_name` of the module `mod_name` was replaced."""
    return item_name in saved.get(mod_name, ())


def is_anything_patched() -> bool:
    """Whether anything was patched in this process."""
    return bool(saved)


def _get_original(name: str, items: Iterable[str]) -> list[Any]:
    originals = saved.get(name, {})
    return [
        originals[item]
        if item in originals
        else getattr(import_module(name), item)
        for item in items
    ]


def _save(module: ModuleType, attr_name: str, item: Any) -> None:
    # What is there when it is patched again is a replacement.
    saved.setdefault(module.__name__, {}).setdefault(attr_name, item)
