"""Small tools that gevent's modules share. Private.

Imports as little as possible: it is used while modules are being patched.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Any


class _NoValue:
    """Stands for an argument that was not given, where None is a value."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<default value>"


_NONE = _NoValue()

WRAPPER_ASSIGNMENTS = (
    "__module__",
    "__name__",
    "__qualname__",
    "__doc__",
    "__annotations__",
)
WRAPPER_UPDATES = ("__dict__",)


def update_wrapper(
    wrapper: Any,
    wrapped: Any,
    assigned: Iterable[str] = WRAPPER_ASSIGNMENTS,
    updated: Iterable[str] = WRAPPER_UPDATES,
) -> Any:
    """As :func:`functools.update_wrapper`, without importing functools."""
    for name in assigned:
        if hasattr(wrapped, name):
            setattr(wrapper, name, getattr(wrapped, name))
    for name in updated:
        getattr(wrapper, name).update(getattr(wrapped, name, ()))
    wrapper.__wrapped__ = wrapped
    return wrapper


def copy_globals(
    source: Any,
    globs: dict[str, Any],
    only_names: Iterable[str] | None = None,
    ignore_missing_names: bool = False,
    names_to_ignore: Container[str] = (),
    dunder_names_to_keep: Container[str] = (
        "__implements__",
        "__all__",
        "__imports__",
    ),
    cleanup_globs: bool = True,
) -> list[str]:
    """Put what the module `source` has into `globs`; return the names.

    :param only_names: these and no others; one that is missing is an
        AttributeError, unless `ignore_missing_names`.
    :param names_to_ignore: these not.
    :param dunder_names_to_keep: of the names that begin with two underscores
        only these.
    :param cleanup_globs: take this function itself out of `globs`.
    """
    names = list(only_names) if only_names else list(vars(source))
    copied = []
    for name in names:
        if name in names_to_ignore:
            continue
        if name.startswith("__") and name not in dunder_names_to_keep:
            continue
        if ignore_missing_names and not hasattr(source, name):
            continue
        globs[name] = getattr(source, name)
        copied.append(name)
    if cleanup_globs:
        globs.pop("copy_globals", None)
    return copied


class Lazy:
    """An attribute that is computed when it is first asked for.

    The value then is in the ``__dict__`` of the instance.
    """

    def __init__(self, func: Callable[[Any], Any]) -> None:
        self.data = (func, func.__name__)
        update_wrapper(self, func)

    def __get__(self, inst: Any, class_: type | None = None) -> Any:
        if inst is None:
            return self
        func, name = self.data
        value = inst.__dict__[name] = func(inst)
        return value


class readproperty:
    """A property that an attribute of the instance takes precedence over."""

    def __init__(self, func: Callable[[Any], Any]) -> None:
        self.func = func
        update_wrapper(self, func)

    def __get__(self, inst: Any, class_: type | None = None) -> Any:
        return self if inst is None else self.func(inst)


class LazyOnClass:
    """As :class:`Lazy`, but the value is kept in the class, for all."""

    @classmethod
    def lazy(cls, cls_dict: dict[str, Any], func: Callable[..., Any]) -> None:
        """Put one for `func` into `cls_dict`, under the name of `func`."""
        cls_dict[func.__name__] = cls(func)

    def __init__(
        self, func: Callable[[Any], Any], name: str | None = None
    ) -> None:
        self.name = name or func.__name__
        self.func = func

    def __get__(self, inst: Any, class_: type | None = None) -> Any:
        if inst is None:
            return self
        value = self.func(inst)
        setattr(class_, self.name, value)
        return value


def gmctime() -> str:
    """The time of day in UTC as RFC 3339 writes it, in whole seconds."""
    from time import gmtime, strftime

    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime())
