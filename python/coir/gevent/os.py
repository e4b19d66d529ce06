"""The standard library's :mod:`os`, with what forks and waits made to fit in.

:func:`nb_read` and :func:`nb_write` wait for a descriptor in non-blocking
mode; :func:`tp_read` and :func:`tp_write` use the thread pool, for files and
other descriptors that always are ready, or never block. These four are not
put in place of ``os.read`` and ``os.write`` by patching.

In the child after a fork, the greenlet that forked goes on and no other.

:func:`waitpid` and :func:`waitid` let others run, for whatever they are asked:
they wait for one process by a descriptor (pidfd), and otherwise in a thread,
without taking the status of a child from somebody else.
"""

from __future__ import annotations

import errno
import os
import sys
import time
import warnings
from _thread import start_new_thread as _start_new_thread
from collections.abc import Callable
from signal import SIGCHLD
from typing import Any

from ._config import config
from ._hub_local import get_hub_if_exists as _get_hub
from ._util import copy_globals
from .hub import Waiter, get_hub

__implements__ = [
    "fork",
    "close",
    "forkpty",
    "waitpid",
    "waitid",
]
__extensions__ = [
    "tp_read",
    "tp_write",
    "make_nonblocking",
    "nb_read",
    "nb_write",
    "fork_gevent",
    "forkpty_gevent",
    "fork_and_watch",
    "forkpty_and_watch",
]

EAGAIN = errno.EAGAIN
ignored_errors = [EAGAIN, errno.EINTR]

_read = os.read
_write = os.write
_close = os.close
_raw_fork = os.fork
_raw_forkpty = os.forkpty
_waitpid = os.waitpid
_waitid = os.waitid

# --- descriptors -------------------------------------------------------------


def make_nonblocking(fd: int) -> bool | None:
    """Put a descriptor into non-blocking mode; true if it was not before."""
    if os.get_blocking(fd):
        os.set_blocking(fd, False)
        return True
    return None


def _until_ready(
    func: Callable[..., Any], fd: int, arg: Any, events: int
) -> Any:
    hub = watcher = None
    try:
        while True:
            try:
                return func(fd, arg)
            except OSError as exc:
                if exc.errno not in ignored_errors:
                    raise
            if hub is None:
                hub = get_hub()
                watcher = hub.loop.io(fd, events)
            hub.wait(watcher)
    finally:
        if watcher is not None:
            watcher.close()


def nb_read(fd: int, n: int) -> bytes:
    """As ``os.read``, waiting until there is something.

    :param fd: in non-blocking mode.
    """
    data: bytes = _until_ready(_read, fd, n, 1)
    return data


def nb_write(fd: int, buf: Any) -> int:
    """As ``os.write``, waiting until something of it can be written.

    :param fd: in non-blocking mode.
    :returns: how many bytes were.
    """
    count: int = _until_ready(_write, fd, buf, 2)
    return count


def tp_read(fd: int, n: int) -> bytes:
    """``os.read`` in the thread pool."""
    data: bytes = get_hub().threadpool.apply(_read, (fd, n))
    return data


def tp_write(fd: int, buf: Any) -> int:
    """``os.write`` in the thread pool."""
    count: int = get_hub().threadpool.apply(_write, (fd, buf))
    return count


def close(fd: int) -> None:
    """As ``os.close``; greenlets that wait for the descriptor are woken."""
    hub = _get_hub()
    if hub is not None and hub.loop is not None and isinstance(fd, int):
        if fd >= 0:
            hub.loop.closing_fd(fd)
    _close(fd)


# --- children ----------------------------------------------------------------

#: By pid: the watcher of a child; or, once it was reaped by that, its pid, its
#: status, and when that was.
_watched_children: dict[int, Any] = {}

#: Watchers to be told when waitid() with these arguments returns; for each
#: key, a thread is in there.
_waits: dict[tuple[int, int, int], list[Any]] = {}


def _forget_children() -> None:
    # They are the parent's.
    _watched_children.clear()
    _waits.clear()


os.register_at_fork(after_in_child=_forget_children)


def _watch_child(
    pid: int,
    callback: Callable[[Any], object] | None = None,
    loop: Any = None,
    ref: bool = False,
) -> None:
    if loop is None:
        loop = get_hub().loop
        if callback is None and not loop.default:
            return  # nothing is lost: waitpid() reaps it
    watcher = loop.child(pid, ref=ref)
    _watched_children[pid] = watcher
    watcher.start(_on_child, watcher, callback)


def _on_child(watcher: Any, callback: Callable[[Any], object] | None) -> None:
    watcher.stop()
    pid = watcher.pid
    if pid in _watched_children and _watched_children[pid] is watcher:
        if watcher.rpid:
            _watched_children[pid] = pid, watcher.rstatus, time.monotonic()
        else:  # somebody else has taken its status
            del _watched_children[pid]
    try:
        if callback is not None:
            callback(watcher)
        _reap_children()
    finally:
        watcher.close()


def _reap_children(timeout: float = 60) -> None:
    """Forget those whom nobody has asked for since `timeout` seconds."""
    oldest = time.monotonic() - timeout
    for pid, known in list(_watched_children.items()):
        if isinstance(known, tuple) and known[2] < oldest:
            del _watched_children[pid]


def _take_finished(pid: int) -> tuple[int, int] | None:
    """One that a watcher has reaped: `pid`, or for -1 the first of all."""
    found = None
    for key in [pid] if pid > 0 else list(_watched_children):
        known = _watched_children.get(key)
        if isinstance(known, tuple) and (found is None or known[2] < found[2]):
            found = known
    if found is None:
        return None
    del _watched_children[found[0]]
    return found[0], found[1]


def _finish(pid: int, status: int) -> None:
    """waitpid() has reaped it: what its watcher would do."""
    if os.WIFSTOPPED(status) or os.WIFCONTINUED(status):
        return
    watcher: Any = _watched_children.get(pid)
    if watcher is None or isinstance(watcher, tuple):
        return
    del _watched_children[pid]
    callback = watcher.args[1]
    watcher.stop()
    watcher.rpid = pid
    watcher.rstatus = status
    if callback is not None:
        watcher.loop.run_callback(callback, watcher)


def waitpid(pid: int, options: int) -> tuple[int, int]:
    """As ``os.waitpid``; while it waits, others run.

    Children that :func:`fork` and others here have started are reaped when
    they end, if the hub runs; their status is kept for a minute.
    """
    while True:
        if pid > 0 or pid == -1:
            finished = _take_finished(pid)
            if finished is not None:
                return finished
        found = _waitpid(pid, options | os.WNOHANG)
        if found[0]:
            _finish(*found)
            return found
        if options & os.WNOHANG:
            return found
        wait_for_child(pid, None, options)


_STATES = os.WEXITED | os.WSTOPPED | os.WCONTINUED


def waitid(idtype: int, ident: int, options: int, /) -> Any:
    """As ``os.waitid``; while it waits, others run.

    What :func:`waitpid` finds in the table of those that were reaped when
    they ended is found here, too.
    """
    keep = options & os.WNOWAIT
    while True:
        if options & os.WEXITED and idtype in (os.P_PID, os.P_ALL):
            pid = ident if idtype == os.P_PID else -1
            finished = _take_finished(pid)
            if finished is not None:
                if keep:
                    _watched_children[finished[0]] = (
                        *finished,
                        time.monotonic(),
                    )
                return _told(*finished)
        found = _waitid(idtype, ident, options | os.WNOHANG)
        if found is not None:
            if not keep:
                _finish(found.si_pid, _status_of(found))
            return found
        if options & os.WNOHANG:
            return None
        if idtype == os.P_PID and options & _STATES == os.WEXITED:
            wait_for_child(ident)
        else:
            _wait_in_thread((idtype, ident, options & _STATES | os.WNOWAIT))


def _told(pid: int, status: int) -> os.waitid_result:
    """What waitid() says of a process that has ended."""
    if os.WIFEXITED(status):
        value, code = os.WEXITSTATUS(status), os.CLD_EXITED
    else:
        value = os.WTERMSIG(status)
        code = os.CLD_DUMPED if os.WCOREDUMP(status) else os.CLD_KILLED
    return os.waitid_result((pid, os.getuid(), SIGCHLD, value, code))


def _status_of(info: os.waitid_result) -> int:
    """What waitpid() would have said."""
    if info.si_code == os.CLD_EXITED:
        return info.si_status << 8
    if info.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
        return info.si_status | (info.si_code == os.CLD_DUMPED) << 7
    if info.si_code == os.CLD_CONTINUED:
        return 0xFFFF
    return info.si_status << 8 | 0x7F  # stopped


def wait_for_child(
    pid: int, timeout: float | None = None, options: int = 0
) -> None:
    """Wait until waitpid() would return, or maybe shorter.

    At most for `timeout` seconds.
    """
    if timeout is not None:
        from .timeout import Timeout

        with Timeout(timeout, False):
            wait_for_child(pid, None, options)
        return
    if pid > 0 and not options & (os.WUNTRACED | os.WCONTINUED):
        try:
            fd = os.pidfd_open(pid)
        except (AttributeError, OSError):
            pass  # no such system call, or no permission
        else:
            _wait_for_pidfd(fd)
            return
    if pid > 0:
        idtype, ident = os.P_PID, pid
    elif pid == -1:
        idtype, ident = os.P_ALL, 0
    else:
        idtype, ident = os.P_PGID, -pid or os.getpgrp()
    flags = os.WEXITED | os.WNOWAIT
    if options & os.WUNTRACED:
        flags |= os.WSTOPPED
    if options & os.WCONTINUED:
        flags |= os.WCONTINUED
    _wait_in_thread((idtype, ident, flags))


def _wait_for_pidfd(fd: int) -> None:
    """Wait for the process of a descriptor to end, and close that."""
    try:
        hub = get_hub()
        watcher = hub.loop.io(fd, 1)
        try:
            hub.wait(watcher)
        finally:
            watcher.close()
    finally:
        _close(fd)


def _wait_in_thread(key: tuple[int, int, int]) -> None:
    """Wait for what waitid() with these arguments waits for."""
    hub = get_hub()
    waiter: Any = Waiter(hub)
    watcher = hub.loop.async_()
    # Before the thread is, which may be done at once.
    watcher.start(waiter.switch, None)
    watchers = _waits.get(key)
    try:
        if watchers is None:
            watchers = [watcher]
            _start_new_thread(_thread_of_waits, (key, watchers))
            _waits[key] = watchers
        else:
            watchers.append(watcher)
        waiter.get()
    finally:
        if watchers and watcher in watchers:
            watchers.remove(watcher)
        watcher.stop()
        watcher.close()


def _thread_of_waits(key: tuple[int, int, int], watchers: list[Any]) -> None:
    try:
        _waitid(*key)
    except OSError:
        pass  # none is left; the waiters will see it themselves
    if _waits.get(key) is watchers:
        del _waits[key]
    while watchers:
        watchers.pop().send()


# --- forking -----------------------------------------------------------------


def fork_gevent() -> int:
    """As ``os.fork``; the child is not watched."""
    if sys.version_info < (3, 12):
        return _raw_fork()
    # It warns of threads; those of the pool do no harm.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return _raw_fork()


def forkpty_gevent() -> tuple[int, int]:
    """As ``os.forkpty``; the child is not watched."""
    if sys.version_info < (3, 12):
        return _raw_forkpty()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return _raw_forkpty()


def fork_and_watch(
    callback: Callable[[Any], object] | None = None,
    loop: Any = None,
    ref: bool = False,
    fork: Callable[[], int] = fork_gevent,
) -> int:
    """As ``os.fork``, and reap the child when it ends.

    :func:`waitpid` still gives its status, for a minute.

    :param callback: called in the hub when it has ended, with the watcher,
        whose ``rpid`` and ``rstatus`` tell more; they are 0 if somebody else
        has taken its status.
    :param loop: the loop that watches it; by default, the thread's.
    :param ref: whether the watcher keeps the loop running.
    :param fork: what forks.
    """
    pid = fork()
    if pid:
        _watch_child(pid, callback, loop, ref)
    return pid


def forkpty_and_watch(
    callback: Callable[[Any], object] | None = None,
    loop: Any = None,
    ref: bool = False,
    forkpty: Callable[[], tuple[int, int]] = forkpty_gevent,
) -> tuple[int, int]:
    """As ``os.forkpty``; for the rest see :func:`fork_and_watch`."""
    pid, fd = forkpty()
    if pid:
        _watch_child(pid, callback, loop, ref)
    return pid, fd


def fork(*args: Any, **kwargs: Any) -> int:
    """:func:`fork_and_watch`; :func:`fork_gevent` with GEVENT_NOWAITPID."""
    if config.disable_watch_children:
        return fork_gevent()
    return fork_and_watch(*args, **kwargs)


def forkpty(*args: Any, **kwargs: Any) -> tuple[int, int]:
    """:func:`forkpty_and_watch`; without watching with GEVENT_NOWAITPID."""
    if config.disable_watch_children:
        return forkpty_gevent()
    return forkpty_and_watch(*args, **kwargs)


if config.disable_watch_children:
    for _name in ("waitpid", "waitid"):
        __implements__.remove(_name)
        __extensions__.append(_name)

__imports__ = copy_globals(
    os,
    globals(),
    names_to_ignore=__implements__ + __extensions__,
    dunder_names_to_keep=(),
)

_spawns = {name for name in __imports__ if name.startswith("posix_spawn")}
__all__ = list({*__implements__, *__extensions__, *_spawns})
