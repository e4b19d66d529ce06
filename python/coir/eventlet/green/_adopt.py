"""What `monkey_patch` does about threads, apart from replacing names."""

from __future__ import annotations

import gc
import os
import sys
from typing import Any

from coir.gevent.monkey import _locks

from .. import patcher
from . import threading as _green


def threads() -> None:
    """For when :mod:`threading` has just been patched."""
    import threading

    for module in (threading, patcher.inject("threading", None)):
        _survive_forks(module)
    _green._adopt(threading)
    for name, attr, new in (
        ("functools", "RLock", threading.RLock),
        ("reprlib", "get_ident", threading.get_ident),
        ("tempfile", "_allocate_lock", threading.Lock),
    ):
        if hasattr(sys.modules.get(name), attr):
            setattr(sys.modules[name], attr, new)
    _adopt_locks(threading)


def _nothing() -> None:
    pass


def _survive_forks(module: Any) -> None:
    """Green threads go on in the child of a fork: forget none there.

    What does that is registered with the interpreter, for good.
    """
    module._after_fork.__code__ = _nothing.__code__


def _adopt_locks(threading: Any) -> None:
    _locks.adopt_limbo_lock(threading)
    left = _replace_locks(threading)
    if "PYTEST_CURRENT_TEST" not in os.environ:
        _report(left + _count_others())


def _replace_locks(threading: Any) -> int:
    """Returns how many RLocks that were found cannot be replaced."""
    left = 0
    for lock, places, is_all in _locks.found_locks():
        new: Any = None
        if isinstance(lock, _locks.NativeRLock):
            new = _green_rlock(threading, lock, is_all)
            left += new is None
        elif is_all and not lock.locked():
            new = threading.Lock()
        if new is not None:
            for place in places:
                place.put(new)
    return left


def _green_rlock(threading: Any, old: Any, is_all: bool) -> Any:
    """One that is held as often by this thread; None: it cannot be had.

    :param is_all: whether all who have the old one get it: else one that is
        held may be about to be released by somebody who does not.
    """
    if not old.acquire(False):
        return None  # another thread has it
    old.release()
    if old._is_owned() and not is_all:
        return None
    new = threading._PyRLock()
    while old._is_owned():
        old.release()
        new.acquire()
    return new


def _count_others() -> int:
    """How many native RLocks there are that nobody was found to have."""
    gc.collect()
    found = [
        obj
        for obj in gc.get_objects()
        if issubclass(type(obj), _locks.NativeRLock)
    ]
    if not found:
        return 0
    left_alone = set()
    for user in gc.get_referrers(*found):
        name = getattr(type(user), "__module__", None)
        if user is not found and (
            name in ("_frozen_importlib", "importlib._bootstrap")
            or (issubclass(type(user), dict) and _is_original(user))
        ):
            left_alone |= {id(obj) for obj in gc.get_referents(user)}
    return sum(id(obj) not in left_alone for obj in found)


def _is_original(names: Any) -> bool:
    """Whether these are the globals of a module that stays as it is."""
    name = dict.get(names, "__name__")
    module = sys.modules.get(f"__original_module_{name}")
    return module is not None and vars(module) is names


def _report(count: int) -> None:
    if not count:
        return
    import logging

    logging.Logger("eventlet").error(
        "%s RLock(s) were not greened, to fix this error make sure you run "
        "eventlet.monkey_patch() before importing any other modules.",
        count,
    )
