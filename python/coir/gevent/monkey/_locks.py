"""Locks that were made before patching become green ones.

A native lock that two greenlets want stops the thread; a native RLock does
not even part them. So each one that is free is replaced wherever it is held,
if all that hold it are found: attributes of objects, classes and modules,
other dictionaries, and conditions, with their bound methods. One that C code,
a closure or a tuple holds as well stays as it is: two parties with different
locks would be worse.
"""

from __future__ import annotations

import sys
from typing import Any

#: What a Condition takes from its lock.
_BORROWED = (
    "acquire",
    "release",
    "_release_save",
    "_acquire_restore",
    "_is_owned",
)


def adopt_locks(threading: Any) -> None:
    """Replace what can be; for a process with one thread.

    `threading` is patched already.
    """
    _adopt_import_locks(threading)
    _adopt_fork_lock(threading)
    threading._active_limbo_lock = threading.RLock()
    lock_type, rlock_type = _native_types()
    for lock, holders in _find_locks(lock_type, rlock_type).values():
        if not _is_free(lock):
            continue
        count = 0
        for _, condition_methods in holders:
            count += 1 + condition_methods
        # Besides: this variable, the entry in the list, the argument.
        if sys.getrefcount(lock) - 3 != count:
            continue
        is_plain = isinstance(lock, lock_type)
        new = threading.Lock() if is_plain else threading.RLock()
        for (holder, key), _ in holders:
            _replace(holder, key, lock, new)


