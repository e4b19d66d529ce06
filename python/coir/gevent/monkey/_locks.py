"""Locks that were made before patching become green ones.

A native lock that two greenlets want stops the thread for ever, a native RLock
does not even part them. So each one that is free is replaced wherever it is
held, if all that hold it are found: attributes of objects, classes and modules,
values in dictionaries, and conditions with the methods they have of it. One
that something else holds as well, C code or a closure, stays what it is: two
parties with different locks would be worse. Those that are held stay, too; who
holds one can release it.
"""

from __future__ import annotations

import gc
import sys
from _thread import LockType as _NativeLock
from _thread import RLock as _NativeRLock
from types import BuiltinMethodType
from typing import Any

from coir.gevent.monkey._late import is_ours

_LOCKS = (_NativeLock, _NativeRLock)

#: What a condition takes from its lock, if that has it.
_BORROWED = (
    "acquire",
    "release",
    "_release_save",
    "_acquire_restore",
    "_is_owned",
)

#: Whose locks are left alone: they guard what runs below greenlets.
_LEFT_ALONE = ("_thread", "threading", "importlib", "_frozen_importlib")


def adopt_locks(threading: Any) -> None:
    """Replace the locks that can be; for a process of one thread.

    :param threading: that module, patched.
    """
    _adopt_import_locks(threading)
    _adopt_fork_lock(threading)
    threading._active_limbo_lock = threading.RLock()
    for lock, holders in _find():
        # A reference each, and those in the list and of this loop.
        count = sum(1 + len(borrowed) for _, _, borrowed in holders)
        if sys.getrefcount(lock) - 3 != count or not _is_free(lock):
            continue
        if isinstance(lock, _NativeLock):
            new = threading.Lock()
        else:
            new = threading.RLock()
        for holder, key, borrowed in holders:
            if isinstance(holder, dict):
                holder[key] = new
            else:
                setattr(holder, key, new)
            for name in borrowed:
                if hasattr(new, name):
                    setattr(holder, name, getattr(new, name))
                else:
                    delattr(holder, name)


def _find() -> list[tuple[Any, list[tuple[Any, str, list[str]]]]]:
    """Locks, with who holds them: by what name, with which methods of it."""
    found: dict[int, tuple[Any, list[tuple[Any, str, list[str]]]]] = {}
    for holder in gc.get_objects():
        if not _holds_some(holder):
            continue
        if isinstance(holder, dict):
            if is_ours(holder.get("__name__")) or _is_left_alone(
                holder.get("__name__")
            ):
                continue
            names = holder
        else:
            module = type(holder).__module__
            if isinstance(holder, type):
                module = holder.__module__
            if is_ours(module) or _is_left_alone(module):
                if type(holder).__name__ != "Condition":
                    continue
            try:
                names = vars(holder)
            except TypeError:
                continue  # its slots hold it; not to be told by name
        for key, value in list(names.items()):
            if isinstance(value, _LOCKS):
                entry = found.setdefault(id(value), (value, []))
                entry[1].append((holder, key, _borrowed(names, value)))
    return list(found.values())


def _holds_some(holder: Any) -> bool:
    if isinstance(holder, (tuple, list, set, frozenset)):
        return False
    for value in gc.get_referents(holder):
        if isinstance(value, _LOCKS):
            return True
    return False


def _is_left_alone(name: Any) -> bool:
    return isinstance(name, str) and name.partition(".")[0] in _LEFT_ALONE


def _borrowed(names: Any, lock: Any) -> list[str]:
    return [
        name
        for name in _BORROWED
        if isinstance(names.get(name), BuiltinMethodType)
        and names[name].__self__ is lock
    ]


def _is_free(lock: Any) -> bool:
    if isinstance(lock, _NativeRLock):
        return not lock._is_owned()  # type: ignore[attr-defined]
    return not lock.locked()


def _adopt_import_locks(threading: Any) -> None:
    """Modules being imported are so by this greenlet, by its new ident."""
    from importlib import _bootstrap  # type: ignore[attr-defined]

    ident = threading.get_ident()
    for ref in list(_bootstrap._module_locks.values()):
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
        futures._global_shutdown_lock = threading.Lock()  # type: ignore[assignment]
