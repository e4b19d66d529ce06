"""For what was imported before it was patched."""

from __future__ import annotations

import gc
from collections.abc import Collection
from types import FunctionType, ModuleType
from typing import Any

from ._state import saved

#: Whose references to originals are meant.
OURS = ("coir", "gevent")


def is_ours(name: object) -> bool:
    """Whether a module of that name is one of this package."""
    return isinstance(name, str) and name.partition(".")[0] in OURS


def references_to(
    cls: type, skip: Collection[str] = ()
) -> tuple[set[tuple[str, str]], list[type]]:
    """Who has kept a class that was replaced.

    :returns: names and files of modules that have it as a global, and its
        subclasses, those of this package left out.
    """
    modules = set()
    for referrer in gc.get_referrers(cls):
        if not issubclass(type(referrer), dict):
            continue
        name = referrer.get("__name__")
        if not isinstance(name, str) or name in skip or is_ours(name):
            continue
        if any(value is cls for value in list(referrer.values())):
            modules.add((name, referrer.get("__file__") or "<unknown>"))
    children: list[type] = type.__subclasses__(cls)
    subclasses = [
        child for child in children if not is_ours(child.__module__)
    ]
    return modules, subclasses


def _in_other_globals(value: Any, names: Collection[str], globs: Any) -> Any:
    """`value` with `globs` for its globals, if it uses one of `names`.

    None if there is nothing to be changed.
    """
    if isinstance(value, property):
        parts: list[Any] = [value.fget, value.fset, value.fdel]
        changed = [
            _in_other_globals(func, names, globs) or func for func in parts
        ]
        if changed == parts:
            return None
        fget, fset, fdel = changed
        return property(fget, fset, fdel, value.__doc__)
    if isinstance(value, (classmethod, staticmethod)):
        func = _in_other_globals(value.__func__, names, globs)
        return func and type(value)(func)
    if not isinstance(value, FunctionType):
        return None
    if not any(name in names for name in value.__code__.co_names):
        return None
    func = FunctionType(
        value.__code__,
        globs,
        value.__name__,
        value.__defaults__,
        value.__closure__,
    )
    func.__kwdefaults__ = value.__kwdefaults__
    func.__doc__ = value.__doc__
    func.__qualname__ = value.__qualname__
    func.__annotations__ = value.__annotations__
    func.__dict__.update(value.__dict__)
    return func


def adopt_ssl(ssl: ModuleType) -> None:
    """Have the original classes of `ssl` work, with our sockets.

    Their methods name the classes by the module's globals, as in
    ``super(SSLContext, SSLContext).options``: with the replacements there,
    which derive from the originals, that never ends. They get globals where
    the names are what they were.
    """
    originals = saved["ssl"]
    replaced = getattr(ssl, "SSLContext", None)
    original = originals.get("SSLContext")
    if original is None or original is replaced:
        return
    globs = {**vars(ssl), **originals}
    for cls in originals.values():
        if not isinstance(cls, type) or cls.__module__ != "ssl":
            continue
        for name, value in list(vars(cls).items()):
            changed = _in_other_globals(value, originals, globs)
            if changed is not None:
                setattr(cls, name, changed)
    for name in ("sslsocket_class", "sslobject_class"):
        if getattr(replaced, name, None) is not None:
            setattr(original, name, getattr(replaced, name))
