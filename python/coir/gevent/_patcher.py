"""Import a package that uses our modules, in a program that is not patched.

Private; the dnspython resolver is imported by it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from types import ModuleType
from typing import Any

from ._compat import imp_acquire_lock, imp_release_lock

#: Our modules, by gevent's names, and those that they take the place of.
MAPPING = {
    "gevent.local": "_threading_local",
    "gevent.socket": "socket",
    "gevent.select": "select",
    "gevent.selectors": "selectors",
    "gevent.ssl": "ssl",
    "gevent.thread": "_thread",
    "gevent.subprocess": "subprocess",
    "gevent.os": "os",
    "gevent.threading": "threading",
    "gevent.builtins": "builtins",
    "gevent.signal": "signal",
    "gevent.time": "time",
    "gevent.queue": "queue",
    "gevent.contextvars": "contextvars",
}

_PREFIX = "__g_patched_module_"


class Patched:
    """What was imported; `module` is the package."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module


def import_patched(
    module_name: str,
    extra_all: Callable[[str], Iterable[str]] = lambda name: (),
    after_import_hook: Callable[[ModuleType], object] = lambda module: None,
) -> Patched:
    """Import `module_name` once more, while our modules stand in.

    Those who import it otherwise get the one they would have got. What its
    ``__all__`` names is imported as well, and so on.

    :param extra_all: more such names for the module it is called with.
    :param after_import_hook: called with the module while ours stand in.
    """
    key = _PREFIX + module_name
    module = sys.modules.get(key)
    if module is not None:
        return Patched(module)
    ours = {
        theirs: import_module(name.removeprefix("gevent"), __package__)
        for name, theirs in MAPPING.items()
    }

    def is_concerned(name: str) -> bool:
        return name in ours or f"{name}.".startswith(f"{module_name}.")

    imp_acquire_lock()
    try:
        before = _take(is_concerned)
        sys.modules.update(ours)
        try:
            module = import_module(module_name)
            _import_all(module, extra_all)
            after_import_hook(module)
        finally:
            _take(is_concerned)
            sys.modules.update(before)
    finally:
        imp_release_lock()
    sys.modules[key] = module
    return Patched(module)


def _take(which: Callable[[str], bool]) -> dict[str, Any]:
    """Take modules out of ``sys.modules``; return them."""
    names = [name for name in sys.modules if which(name)]
    return {name: sys.modules.pop(name) for name in names}


def _import_all(
    module: ModuleType, extra_all: Callable[[str], Iterable[str]]
) -> None:
    name = module.__name__
    for attr in (*getattr(module, "__all__", ()), *extra_all(name)):
        if not hasattr(module, attr):
            _import_all(import_module(f"{name}.{attr}"), extra_all)
