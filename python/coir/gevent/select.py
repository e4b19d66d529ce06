"""Waiting for several descriptors, blocking the current greenlet only.

:func:`select` and :class:`poll` behave as those of :mod:`select`. They ask the
kernel first; if nothing is ready they wait in the hub, then ask again. What
came while they waited counts as ready even if another watcher of the same
descriptor has taken it: that watcher may have left a trace elsewhere, as in a
socket of ZeroMQ. Descriptors may be of any number, also for :func:`select`.
"""

from __future__ import annotations

import select as __select__
import sys
from collections.abc import Iterable
from errno import EBADF
from time import monotonic
from typing import Any

from coir._core import Event, wait_fd, wait_fds

from ._util import _NONE, copy_globals
from .hub import get_hub as _get_hub
from .timeout import sleep as _g_sleep

error = __select__.error

__implements__ = ["select"]
if hasattr(__select__, "poll"):
    __implements__.append("poll")
if hasattr(__select__, "epoll"):
    __implements__.append("epoll")

__all__ = ["error", *__implements__]

__imports__ = copy_globals(
    __select__,
    globals(),
    names_to_ignore=__all__,
    dunder_names_to_keep=(),
)

# Once they are patched the names there are ours.
_kernel_poll: Any = __select__.poll

_EV_READ = 1
_EV_WRITE = 2

_READABLE = __select__.POLLIN | __select__.POLLHUP | __select__.POLLERR
_WRITABLE = __select__.POLLOUT | __select__.POLLERR


def get_fileno(fileobj: Any) -> int:
    """The number of a descriptor, given itself or what has `fileno()`."""
    fileno = getattr(fileobj, "fileno", None)
    number = fileobj if fileno is None else fileno()
    if not isinstance(number, int):
        raise TypeError("argument must be an int, or have a fileno() method.")
    if number < 0:
        raise ValueError(
            f"file descriptor cannot be a negative integer ({number})"
        )
    return number


class _Deadline:
    """What is left of a timeout."""

    __slots__ = ("at",)

    def __init__(self, timeout: float | None) -> None:
        self.at = None if timeout is None else monotonic() + timeout

    def left(self) -> float | None:
        return None if self.at is None else max(self.at - monotonic(), 0)


def _wanted(events: int) -> int:
    """What to wait for in the hub, for events of poll()."""
    wanted = 0
    if events & ~_WRITABLE or not events:
        wanted |= _EV_READ
    if events & _WRITABLE:
        wanted |= _EV_WRITE
    return wanted


def _meet_asyncio() -> None:
    """What is made may be for a loop of asyncio."""
    if "asyncio.futures" in sys.modules:
        from .monkey._asyncio import adopt

        adopt()


# --- select ------------------------------------------------------------------


#: Numbers, and the objects that they came as.
_Files = list[tuple[int, Any]]


def _poll_flags(came: int, wanted: int) -> int:
    """Flags of poll() for what came by waiting in the hub."""
    flags = __select__.POLLIN if came & _EV_READ else 0
    flags |= __select__.POLLOUT if came & _EV_WRITE else 0
    return flags & wanted


def _check(
    *lists: _Files, came: dict[int, int] | None = None
) -> tuple[Any, set[int]]:
    """What is ready now, and which descriptors are invalid: ready, too.

    :param came: what was ready, though somebody else may have had it since.
    """
    kinds = (__select__.POLLIN, __select__.POLLOUT, __select__.POLLPRI)
    events: dict[int, int] = {}
    for files, kind in zip(lists, kinds):
        for fd, _ in files:
            events[fd] = events.get(fd, 0) | kind
    kernel = _kernel_poll()
    for fd, mask in events.items():
        kernel.register(fd, mask)
    got = dict(kernel.poll(0))
    for fd, which in (came or {}).items():
        got[fd] = got.get(fd, 0) | _poll_flags(which, events[fd])
    bad = {fd for fd, mask in got.items() if mask & __select__.POLLNVAL}
    ready = tuple(
        [
            file
            for fd, file in files
            if got.get(fd, 0) & (mask | __select__.POLLNVAL)
        ]
        for files, mask in zip(
            lists, (_READABLE, _WRITABLE, __select__.POLLPRI)
        )
    )
    return ready, bad


def _original_select(
    rlist: _Files, wlist: _Files, xlist: _Files, timeout: float = 0
) -> Any:
    """What is ready now."""
    ready, bad = _check(rlist, wlist, xlist)
    if bad:
        raise OSError(EBADF, "Bad file descriptor")
    return ready


def select(
    rlist: Iterable[Any],
    wlist: Iterable[Any],
    xlist: Iterable[Any],
    timeout: float | None = None,
) -> tuple[list[Any], list[Any], list[Any]]:
    """Wait until some of the descriptors are ready.

    Others run at least once meanwhile, even if something is ready already.
    A descriptor that somebody closes meanwhile counts as ready.

    :param rlist: to be read from; numbers, or objects with `fileno()`.
    :param wlist: to be written to.
    :param xlist: with exceptional conditions; these are found, but not
        waited for apart from data to be read.
    :param timeout: seconds; ``None`` waits for ever, 0 polls.
    :returns: the ready ones of each list.
    """
    if timeout is not None:
        if not hasattr(timeout, "__float__"):
            raise TypeError("timeout must be a float or None")
        timeout = float(timeout)
        if timeout < 0:
            raise ValueError("timeout must be non-negative")
    lists: list[_Files] = [
        [(get_fileno(file), file) for file in files]
        for files in (rlist, wlist, xlist)
    ]
    readable, writable, exceptional = lists
    ready = _original_select(readable, writable, exceptional, 0)
    if any(ready) or timeout == 0:
        _g_sleep(0)
        return ready  # type: ignore[no-any-return]
    deadline = _Deadline(timeout)
    fds: dict[int, int] = {}
    for of_kind, kind in zip(lists, (_EV_READ, _EV_WRITE, _EV_READ)):
        for fd, _ in of_kind:
            fds[fd] = fds.get(fd, 0) | kind
    while True:
        came = wait_fds(fds, deadline.left())
        ready, _ = _check(*lists, came=came)
        if any(ready) or not came:
            return ready  # type: ignore[no-any-return]


class SelectResult:
    """select() of descriptors to be read from and to be written to."""

    __slots__ = ()

    def select(
        self,
        rlist: Iterable[Any],
        wlist: Iterable[Any],
        timeout: float | None,
    ) -> tuple[list[Any], list[Any], list[Any]]:
        """As the function; the third list is empty."""
        return select(rlist, wlist, (), timeout)


# --- poll --------------------------------------------------------------------


class PollResult:
    """For callbacks of watchers: notes what came, and tells who waits.

    `events` are pairs of a descriptor and flags of poll(), `event` is set as
    soon as there are any that came by waiting.
    """

    __slots__ = ("events", "event")

    def __init__(self) -> None:
        self.events: set[tuple[int, int]] = set()
        self.event = Event()

    def add_event(self, events: int, fd: int) -> None:
        """Note those of a watcher; negative: the descriptor is no good."""
        if events < 0:
            flags = __select__.POLLNVAL
        else:
            flags = __select__.POLLIN if events & _EV_READ else 0
            flags |= __select__.POLLOUT if events & _EV_WRITE else 0
        self.events.add((fd, flags))
        self.event.set()

    def add_error_before_io(self, fd: int) -> None:
        """The descriptor is no good, as was found before any wait."""
        self.events.add((fd, __select__.POLLNVAL))


class poll:
    """Waits for registered descriptors, as the objects of `select.poll()`."""

    def __init__(self) -> None:
        self.fds: dict[int, int] = {}
        self._kernel = _kernel_poll()
        self._is_polled = False
        _meet_asyncio()

    @property
    def loop(self) -> Any:
        """The loop of this thread's hub."""
        return _get_hub().loop

    def register(self, fd: Any, eventmask: Any = _NONE) -> None:
        """Wait for a descriptor.

        :param eventmask: ``POLLIN``, ``POLLPRI`` and ``POLLOUT`` or-ed; by
            default all of these.
        """
        if eventmask is _NONE:
            eventmask = (
                __select__.POLLIN | __select__.POLLPRI | __select__.POLLOUT
            )
        number = get_fileno(fd)
        self._kernel.register(number, eventmask)
        self.fds[number] = eventmask

    def modify(self, fd: Any, eventmask: int) -> None:
        """Change what a registered descriptor is waited for."""
        number = get_fileno(fd)
        self._kernel.modify(number, eventmask)
        self.fds[number] = eventmask

    def unregister(self, fd: Any) -> None:
        """Wait for it no more. KeyError if it is not registered."""
        number = get_fileno(fd)
        self._kernel.unregister(number)
        del self.fds[number]

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        """Wait until some are ready.

        :param timeout: milliseconds; ``None`` or negative: for ever.
        :returns: ``(fd, events)`` of those that are ready.
        """
        seconds = None
        if timeout is not None:
            if not hasattr(timeout, "__float__"):
                raise TypeError("timeout must be a number or None")
            if timeout > 0x7FFFFFFF:
                raise OverflowError("timeout is too large")
            if timeout >= 0:
                seconds = timeout / 1000
        if self._is_polled:
            raise RuntimeError("concurrent poll() invocation")
        self._is_polled = True
        try:
            return self._wait(seconds)
        finally:
            self._is_polled = False

    def _wait(self, seconds: float | None) -> list[tuple[int, int]]:
        result = list(self._kernel.poll(0))
        if result or seconds == 0:
            _g_sleep(0)
            return result
        deadline = _Deadline(seconds)
        while True:
            fds = {fd: _wanted(mask) for fd, mask in self.fds.items()}
            came = wait_fds(fds, deadline.left())
            got = dict(self._kernel.poll(0))
            for fd, which in came.items():
                flags = _poll_flags(which, self.fds.get(fd, 0))
                if flags:
                    got[fd] = got.get(fd, 0) | flags
            if got or not came:
                return list(got.items())


# --- epoll -------------------------------------------------------------------

if hasattr(__select__, "epoll"):

    class epoll:
        """The kernel's epoll object, as `select.epoll`, with a green wait.

        Its own descriptor is waited for in the hub.
        """

        _kernel = __select__.epoll

        def __init__(self, sizehint: int = -1, flags: int = 0) -> None:
            self._epoll = self._kernel(sizehint, flags)
            _meet_asyncio()

        @classmethod
        def fromfd(cls, fd: int) -> epoll:
            """One of an existing descriptor."""
            self = cls.__new__(cls)
            self._epoll = cls._kernel.fromfd(fd)
            return self

        @property
        def closed(self) -> bool:
            """Whether it was closed."""
            return self._epoll.closed

        def __enter__(self) -> epoll:
            self._epoll.__enter__()
            return self

        def __exit__(self, *args: object) -> None:
            self.close()

        def close(self) -> None:
            """Close it."""
            self._epoll.close()

        def fileno(self) -> int:
            """Its descriptor."""
            return self._epoll.fileno()

        def register(self, fd: Any, eventmask: int | None = None) -> None:
            """Have it watch a descriptor."""
            if eventmask is None:
                self._epoll.register(fd)
            else:
                self._epoll.register(fd, eventmask)

        def modify(self, fd: Any, eventmask: int) -> None:
            """Change what it watches a descriptor for."""
            self._epoll.modify(fd, eventmask)

        def unregister(self, fd: Any) -> None:
            """Have it watch a descriptor no more."""
            self._epoll.unregister(fd)

        def poll(
            self, timeout: float | None = None, maxevents: int = -1
        ) -> list[tuple[int, int]]:
            """Wait for events.

            :param timeout: seconds; ``None`` or negative: for ever.
            :param maxevents: how many to return at most.
            :returns: ``(fd, events)`` of those that are ready.
            """
            if timeout is not None and timeout < 0:
                timeout = None
            result = self._epoll.poll(0, maxevents)
            if result or timeout == 0:
                _g_sleep(0)
                return result
            deadline = _Deadline(timeout)
            while True:
                came = wait_fd(self._epoll.fileno(), 1, deadline.left())
                result = self._epoll.poll(0, maxevents)
                if result or not came:
                    return result


# --- patching ----------------------------------------------------------------


def _gevent_do_monkey_patch(patch_request: Any) -> None:
    """For :func:`gevent.monkey.patch_select`.

    With ``aggressive``, what would block goes: kqueue and the like; epoll
    does not.
    """
    aggressive = patch_request.patch_kwargs.get("aggressive", True)
    patch_request.default_patch_items()
    if aggressive:
        patch_request.remove_item("kqueue", "kevent", "devpoll")
    # What kept them when it was imported.
    selectors = sys.modules.get("selectors")
    if selectors is not None:
        from .selectors import adopt

        adopt(selectors)
