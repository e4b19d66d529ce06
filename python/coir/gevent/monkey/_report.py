"""patch_report(): what patching has not reached."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from ._late import is_ours
from ._state import saved


class Unpatched(NamedTuple):
    """Something that is still as it was before patching."""

    #: Name of the module that has it.
    module: str
    #: File of that module, or None.
    file: str | None
    #: Where in the module: a global, or attribute of a class.
    name: str
    #: What it is: ``socket.socket`` for instance.
    what: str
    #: What to do about it.
    fix: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name} is {self.what}: {self.fix}"


class PatchReport(list[Unpatched]):
    """A list of :class:`Unpatched`; as text, one line for each."""

    def __str__(self) -> str:
        if not self:
            return "Nothing that was patched is in use as it was before."
        return "\n".join(str(found) for found in self)


def report() -> PatchReport:
    """As ``patch_report()``."""
    originals = _originals()
    found = PatchReport()
    # Some are there under several names.
    modules = {id(module): module for module in sys.modules.values()}
    for module in modules.values():
        if not isinstance(module, ModuleType) or is_ours(module.__name__):
            continue
        if module.__name__ in saved:
            continue  # what those keep of each other is as it should be
        file = getattr(module, "__file__", None)
        if file is None or not file.endswith((".py", ".pyc")):
            continue
        for name, what, fix in _found_in(module, originals):
            found.append(Unpatched(module.__name__, file, name, what, fix))
    found.sort(key=lambda entry: (entry.module, entry.name))
    return found


def _originals() -> dict[int, tuple[str, Any]]:
    """By id of what was replaced: its full name, and the object itself."""
    found: dict[int, tuple[str, Any]] = {}
    for module_name, items in saved.items():
        module = sys.modules.get(module_name)
        for name, original in items.items():
            if callable(original) and module is not None:
                if getattr(module, name, None) is not original:
                    full = f"{module_name}.{name}"
                    found.setdefault(id(original), (full, original))
    return found


def _found_in(
    module: ModuleType, originals: dict[int, tuple[str, Any]]
) -> Iterator[tuple[str, str, str]]:
    late = "import {0} after patch_all()"
    for name, value in list(vars(module).items()):
        if id(value) in originals:
            full = originals[id(value)][0]
            if full == f"{module.__name__}.{name}":
                continue
            yield (
                name,
                f"the original {full}",
                f"{late.format(module.__name__)}, "
                f"or set {module.__name__}.{name} = {full}",
            )
        elif _is_native_lock(value):
            yield (
                name,
                "a native lock",
                "greenlets that want it while another has it block the "
                f"thread; {late.format(module.__name__)}",
            )
        elif _belongs_to(value, module):
            yield from _found_in_definition(name, value, module, originals)


def _belongs_to(value: Any, module: ModuleType) -> bool:
    return (
        isinstance(value, (type, FunctionType))
        and value.__module__ == module.__name__
    )


def _found_in_definition(
    name: str,
    value: Any,
    module: ModuleType,
    originals: dict[int, tuple[str, Any]],
) -> Iterator[tuple[str, str, str]]:
    late = f"import {module.__name__} after patch_all()"
    if isinstance(value, FunctionType):
        defaults = [
            *(value.__defaults__ or ()),
            *(value.__kwdefaults__ or {}).values(),
        ]
        for default in defaults:
            if id(default) in originals:
                full = originals[id(default)][0]
                yield f"{name}()", f"with {full} as a default", late
        return
    if id(value) in originals:
        return
    for base in value.__bases__:
        if id(base) in originals:
            full = originals[id(base)][0]
            yield name, f"a subclass of the original {full}", late
    for attr, item in list(vars(value).items()):
        where = f"{name}.{attr}"
        if isinstance(item, (classmethod, staticmethod)):
            item = item.__func__
        if id(item) in originals:
            full = originals[id(item)][0]
            yield (
                where,
                f"the original {full}",
                f"{late}, or set {module.__name__}.{where} = {full}",
            )
        elif _is_native_lock(item):
            yield where, "a native lock", late
        elif isinstance(item, FunctionType):
            yield from _found_in_definition(where, item, module, originals)


def _is_native_lock(value: Any) -> bool:
    if "_thread" not in saved:
        return False  # none is made by others
    return type(value).__module__ == "_thread" and type(value).__name__ in (
        "lock",
        "RLock",
    )
