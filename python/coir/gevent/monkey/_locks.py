"""Locks that were made before patching become green ones.

A native lock that two greenlets want stops the thread for ever, a native RLock
does not even part them. So each one that is free is replaced wherever it is
held, if all that hold it are found: attributes of objects, classes and
modules, values in dictionaries, items of lists, and conditions with the
methods they have of it. One that something else holds as well, C code or a
closure, stays what it is: two parties with different locks would be worse.
Those that are held stay, too; who holds one can release it.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Mapping
from types import BuiltinMethodType
from typing import Any

from ._late import is_ours
from .api import get_original

# Those of the interpreter: _thread has ours by now.
_new_native_lock = get_original("_thread", "allocate_lock")
_NativeLock = type(_new_native_lock())
NativeRLock = type(get_original("_thread", "RLock")())
_LOCKS = (_NativeLock, NativeRLock)

#: Whose locks are left alone: they guard what greenlets are made of.
_LEFT_ALONE = ("_thread", "threading", "importlib", "_frozen_importlib")


def adopt_locks(threading: Any) -> None:
    """Replace the locks that can be; for a process of one thread.

    :param threading: that module, patched.
    """
    _adopt_import_locks(threading)
    _adopt_fork_lock(threading)
    adopt_limbo_lock(threading)
    for lock, places, is_all in found_locks():
        if not is_all or not _is_free(lock):
            continue
        if isinstance(lock, _NativeLock):
            new = threading.Lock()
        else:
            new = threading.RLock()
        for place in places:
            place.put(new)


def adopt_limbo_lock(threading: Any) -> None:
    """Replace the lock of the list of threads, which must exist.

    :param threading: that module, patched.
    """
    lock = threading._active_limbo_lock = threading.RLock()
    dummies = getattr(threading, "_DeleteDummyThreadOnDel", None)
    if dummies is not None:  # newer ones have it there, too
        dummies.__del__.__defaults__ = (lock, threading._active)


def found_locks() -> Iterator[tuple[Any, list[_Place], bool]]:
    """Native locks, where they are held, and whether nobody else has them."""
    ours = 0
    for lock, places in [(_new_native_lock(), []), *_find()]:
        count = sys.getrefcount(lock)
        if not places:
            ours = count  # nobody but this loop has it
            continue
        theirs = sum(1 + len(place.borrowed) for place in places)
        yield lock, places, count - ours == theirs


class _Place:
    """Where a lock is held."""

    def __init__(self, holder: Any, names: Mapping[str, Any], key: str):
        lock = names[key]
        self.holder = holder
        self.key = key
        #: Its methods that are there, too: a condition has some.
        self.borrowed = [
            name
            for name, value in names.items()
            if isinstance(value, BuiltinMethodType) and value.__self__ is lock
        ]

    def put(self, lock: Any) -> None:
        """Have `lock` there instead."""
        self._set(self.key, lock)
        for name in self.borrowed:
            # A condition does without those that its lock has not.
            self._set(name, getattr(lock, name, None))

    def _set(self, name: str, value: Any) -> None:
        if not isinstance(self.holder, dict):
            if value is None:
                delattr(self.holder, name)
            else:
                setattr(self.holder, name, value)
        elif value is None:
            del self.holder[name]
        else:
            self.holder[name] = value


class _ListPlace(_Place):
    """The same, in a list."""

    def __init__(self, holder: list[Any], index: int):
        self.holder = holder
        self.index = index
        self.borrowed = []

    def put(self, lock: Any) -> None:
        self.holder[self.index] = lock


def _is(obj: object, kinds: Any) -> bool:
    """isinstance(), without asking `obj`: it may stand for another."""
    return issubclass(type(obj), kinds)


def _find() -> list[tuple[Any, list[_Place]]]:
    """All native locks that can be told by name, with where they are held."""
    found: dict[int, tuple[Any, list[_Place]]] = {}

    def look(holder: Any, names: Mapping[str, Any]) -> None:
        for key, value in list(names.items()):
            if _is(value, _LOCKS):
                places = found.setdefault(id(value), (value, []))[1]
                places.append(_Place(holder, names, key))

    dicts = []
    looked_at = set()
    for holder in gc.get_objects():
        if _is(holder, dict):
            if any(_is(value, _LOCKS) for value in dict.values(holder)):
                dicts.append(holder)
        elif _is(holder, type):
            if not _is_left_alone(holder.__module__):
                look(holder, vars(holder))
        elif type(holder) is list:
            for index, value in enumerate(holder):
                if _is(value, _LOCKS):
                    places = found.setdefault(id(value), (value, []))[1]
                    places.append(_ListPlace(holder, index))
        elif not _is(holder, (tuple, list, set, frozenset)):
            referents = gc.get_referents(holder)
            if any(_is(value, _LOCKS) for value in referents):
                names = getattr(holder, "__dict__", {})
                # Since 3.13 both the object and its dictionary may be found.
                looked_at.add(id(names))
                if not _is_object_left_alone(holder):
                    look(holder, names)
    for names in _told_apart(dicts):
        if id(names) not in looked_at:
            look(names, names)
    return list(found.values())


def _told_apart(dicts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of `dicts` whose values may be replaced."""
    refused = set()
    ids = {id(names) for names in dicts}
    for owner in gc.get_referrers(*dicts) if dicts else ():
        if owner is dicts:
            continue
        if _is(owner, type):
            # Its own dictionary; it was looked at by setting attributes.
            refused.update(ids & set(map(id, gc.get_referents(owner))))
        elif _is_object_left_alone(owner):
            names = getattr(owner, "__dict__", None)
            refused.add(id(names))
    return [
        names
        for names in dicts
        if id(names) not in refused
        and not _is_left_alone(names.get("__name__"))
    ]


def _is_object_left_alone(obj: Any) -> bool:
    return (
        _is_left_alone(type(obj).__module__)
        and type(obj).__name__ != "Condition"
    )


def _is_left_alone(name: Any) -> bool:
    return is_ours(name) or (
        isinstance(name, str) and name.partition(".")[0] in _LEFT_ALONE
    )


def _is_free(lock: Any) -> bool:
    if isinstance(lock, NativeRLock):
        return not lock._is_owned()
    return not lock.locked()


def _adopt_import_locks(threading: Any) -> None:
    """Modules being imported are so by this greenlet, by its new ident."""
    import importlib

    bootstrap: Any = importlib._bootstrap  # type: ignore[attr-defined]
    ident = threading.get_ident()
    for ref in list(bootstrap._module_locks.values()):
        lock = ref()
        if lock is not None and getattr(lock, "owner", None) is not None:
            lock.owner = ident


def _adopt_fork_lock(threading: Any) -> None:
    """Give concurrent.futures a new lock, which it reads anew each time.

    It is acquired before each fork, by what was registered for that and
    cannot be taken back: that keeps the old one, which nobody else wants
    then. It is imported for it, as programs do later.
    """
    import concurrent.futures.thread as futures

    if hasattr(futures, "_global_shutdown_lock"):
        futures._global_shutdown_lock = threading.Lock()
