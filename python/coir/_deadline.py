"""The context manager `deadline`, and the thread that makes it hold.

A deadline is a Timeout, which ends a wait. Who computes does not wait, and
keeps the hub from looking at timers at all. So a native thread sleeps until
the first deadline is overdue, and has the interpreter call `_interrupt` in the
main thread: between two bytecodes of whoever runs there. If that is the block,
or a green thread of a nursery in the block, it is ended by what is raised.

Only the main thread can be reached in that way.
"""

from __future__ import annotations

import os
import sys
from itertools import count
from opcode import opmap
from time import monotonic
from types import CodeType, FrameType, TracebackType
from typing import Any, Self, final

from coir._core import (
    GreenletExit,
    Timeout,
    add_idle_threads,
    call_in_main_thread,
    getcurrent,
)
from coir.gevent.hub import MAIN_THREAD_IDENT
from coir.gevent.monkey import get_original

__all__ = ["deadline", "nurseries"]

#: Seconds that a computation may take longer. Whoever lets others run in that
#: time gets the Timeout from the hub.
GRACE = 0.05

# How often to look for a better place, see _misses_handler(), and how soon.
_TRIES = 100
_PAUSE = 0.005

# As code objects have it.
_HERE = os.path.dirname(sys._getframe().f_code.co_filename) + os.sep
_NEVER = float("inf")

_get_ident: Any = get_original("_thread", "get_ident")
_start_new_thread: Any = get_original("_thread", "start_new_thread")
_new_lock: Any = get_original("_thread", "allocate_lock")
_main_ident = MAIN_THREAD_IDENT

# What begins later of two blocks of one greenlet lies in the other.
numbers = count()

#: Those whose blocks run.
nurseries: set[Any] = set()

# The deadlines of the main thread whose blocks run.
_armed: set[deadline] = set()

_NOBODY: set[Any] = set()

# When the thread looks again; it is woken by a release. None: no thread.
_wakes_at = _NEVER
_wake: Any = None

# Is the main thread yet to call _interrupt()? It may be in a long call in C.
_is_asked = False


@final
class deadline:  # noqa: N801
    """A block that is given so many seconds; None: as long as it takes.

        with coir.deadline(1.5):
            answer = ask(question)

    Raises TimeoutError at the end of the block if its time was over while it
    waited: the wait was ended by an exception, once. Of several around each
    other each ends its own block. A nursery in it cancels what runs there.

    In the main thread it ends computations as well, those of a nursery in it
    included, when they are 50 ms late: between two bytecodes, so not within a
    call of a function in C. Elsewhere, time that is over after the last wait
    is no error.
    """

    __slots__ = (
        "__weakref__",
        "_due",
        "_ended",
        "_green",
        "_number",
        "_seconds",
        "_timeout",
        "_tries",
        "expired",
    )

    def __init__(self, seconds: float | None) -> None:
        self._seconds = None if seconds is None else float(seconds)
        self._timeout: Any = None
        self._green: Any = None
        self._ended: set[Any] = _NOBODY  # of others
        self._tries = 0
        #: Was the block ended by it?
        self.expired = False

    def __enter__(self) -> Self:
        if self._timeout is not None:
            raise RuntimeError("a deadline is for one block")
        self._timeout = Timeout.start_new(self._seconds)
        if self._seconds is not None and _get_ident() == _main_ident:
            self._green = getcurrent()
            self._number = next(numbers)
            self._due = monotonic() + self._seconds + GRACE
            _armed.add(self)
            if self._due < _wakes_at:
                _look_at(self._due)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timeout.close()
        _armed.discard(self)
        ended, self._ended, self._green = self._ended, _NOBODY, None
        if error is self._timeout or (error is None and ended):
            self.expired = True
            raise TimeoutError(f"not done within {self._seconds} s") from error

    def _covers(self, green: Any) -> bool:
        """Is it this block, or runs in it?"""
        if green is self._green:
            return True
        every = list(nurseries)  # other threads have some, too
        within = [n for n in every if self._holds(n)]
        for nursery in within:
            for thread in list(nursery._running):
                if thread.greenlet is green:
                    return True
                within += [n for n in every if n._owner is thread.greenlet]
        return False

    def _holds(self, nursery: Any) -> bool:
        return (
            nursery._owner is self._green and nursery._number > self._number
        )


def _interrupt() -> None:
    """In the main thread, in the midst of whatever runs there."""
    global _is_asked
    _is_asked = False
    frame = sys._getframe().f_back
    if frame is None or frame.f_code.co_filename.startswith(_HERE):
        return  # a wait of ours may have just begun, or ended
    running = getcurrent()
    now = monotonic()
    for limit in list(_armed):
        timeout = limit._timeout
        if limit._due > now or not timeout.pending:
            continue
        if not limit._covers(running):
            continue
        limit._tries += 1
        if limit._tries % _TRIES and _misses_handler(frame):
            continue
        if running is limit._green:
            timeout.close()
            raise timeout
        if running not in limit._ended:
            limit._ended = {*limit._ended, running}
            raise GreenletExit


# --- where to raise ----------------------------------------------------------


def _misses_handler(frame: FrameType) -> bool:
    """Would what is raised here miss an `except` or `finally` around it?

    The interpreter looks for calls like ours when it jumps back. 3.11 and 3.12
    then look for a handler before the target of the jump, which for a loop
    that is the first thing in a block is outside; and the compilers of 3.12
    and 3.13 leave out some of these jumps.
    """
    if sys.version_info >= (3, 14):
        return False
    code, at = frame.f_code, frame.f_lasti
    text = code.co_code
    if not code.co_exceptiontable or text[at] != opmap["JUMP_BACKWARD"]:
        return False
    if sys.version_info >= (3, 13):
        return _handler(code, at) != _handler(code, at - 2)
    back, shift, extended = text[at + 1], 8, at - 2
    while extended >= 0 and text[extended] == opmap["EXTENDED_ARG"]:
        back |= text[extended + 1] << shift
        shift += 8
        extended -= 2
    return _handler(code, at - 2 * back) != _handler(code, at)


def _handler(code: CodeType, at: int) -> int:
    """Where it is, in bytes; 0 if there is none. The format is CPython's
    Objects/exception_handling_notes.txt."""
    table = iter(code.co_exceptiontable)

    def number(byte: int) -> int:
        value = byte & 63
        while byte & 64:
            byte = next(table)
            value = value << 6 | byte & 63
        return value

    for byte in table:
        start = 2 * number(byte)
        size, target = 2 * number(next(table)), 2 * number(next(table))
        number(next(table))  # depth
        if start <= at < start + size:
            return target
    return 0


# --- the thread --------------------------------------------------------------


def _look_at(when: float) -> None:
    global _wake, _wakes_at
    _wakes_at = when
    if _wake is None:
        wake = _new_lock()
        add_idle_threads(1)  # it ends nobody's wait
        try:
            _start_new_thread(_watch, (wake,))
        except RuntimeError:
            add_idle_threads(-1)
            _wakes_at = _NEVER  # only waits are ended; the next one tries
        else:
            _wake = wake
        return
    try:
        _wake.release()
    except RuntimeError:
        pass  # it is awake


def _watch(wake: Any) -> None:
    global _is_asked, _wakes_at
    while True:
        now = monotonic()
        first = _NEVER
        is_overdue = False
        for limit in list(_armed):
            if not limit._timeout.pending:
                continue  # it has been raised
            if limit._due > now:
                first = min(first, limit._due)
            else:
                is_overdue = True
        if is_overdue:
            if not _is_asked:
                _is_asked = True
                if not call_in_main_thread(_interrupt):
                    _is_asked = False
            first = min(first, now + _PAUSE)
        _wakes_at = first
        if first < _NEVER:
            wake.acquire(timeout=min(max(0, first - now), 3600))
        else:
            wake.acquire()


def _after_fork_in_child() -> None:
    """There is no such thread, and the one that runs is the main thread."""
    global _is_asked, _main_ident, _wake, _wakes_at
    _main_ident = _get_ident()
    _wake = None
    _is_asked = False
    _wakes_at = _NEVER
    if _armed:
        _look_at(0)


os.register_at_fork(after_in_child=_after_fork_in_child)
