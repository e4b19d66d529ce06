"""Coir's hub, with an asyncio loop that waits through it.

Asked for by ``EVENTLET_HUB=asyncio`` or ``use_hub("asyncio")``. The loop runs
in a green thread of its own: while it waits, others run, and its tasks run
while they wait. It is the running loop of the whole thread, so that green
threads may make futures and tasks.

A coroutine may await a `GreenThread`; `coir.eventlet.asyncio` has the reverse.
A task that blocks as a green thread does keeps other tasks from running, but
no green thread.
"""

from __future__ import annotations

import _socket
import asyncio
import os
import selectors
import sys
import weakref
from asyncio import events
from typing import Any

from coir._core import (
    EvEvent,
    GreenletExit,
    ev_hurry,
    ev_sleep,
    ev_spawn,
    ev_spawn_n,
    getcurrent,
)

from . import hub

__all__ = ["Hub", "is_available"]


def is_available() -> bool:
    """True: every Python has asyncio."""
    return True


class _Selector(selectors.BaseSelector):
    """Waits for descriptors as green threads do."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._watchers: dict[int, Any] = {}
        self._ready: dict[int, int] = {}
        self._wakeup: EvEvent | None = None
        self._waiting: Any = None

    def _fileno(self, fileobj: Any) -> int:
        return fileobj if isinstance(fileobj, int) else fileobj.fileno()

    def register(self, fileobj: Any, events: int, data: Any = None) -> Any:
        fd = self._fileno(fileobj)
        if fd in self._keys:
            raise KeyError(f"{fileobj!r} is already registered")
        key = selectors.SelectorKey(fileobj, fd, events, data)
        self._keys[fd] = key
        self._watch(fd)
        return key

    def unregister(self, fileobj: Any) -> Any:
        try:
            key = self._keys.pop(self._fileno(fileobj))
        except KeyError:
            raise KeyError(f"{fileobj!r} is not registered") from None
        self._unwatch(key.fd)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> Any:
        self.unregister(fileobj)
        return self.register(fileobj, events, data)

    def _watch(self, fd: int) -> None:
        # The flags are those of the loop's watchers: 1 reads, 2 writes.
        watcher = self._loop.io(fd, self._keys[fd].events)
        self._watchers[fd] = watcher
        watcher.start(self._is_ready, fd, pass_events=True)

    def _unwatch(self, fd: int) -> None:
        watcher = self._watchers.pop(fd, None)
        if watcher is not None:
            watcher.stop()
            watcher.close()
        self._ready.pop(fd, None)

    def _is_ready(self, revents: int, fd: int) -> None:
        # It is told once; watched again when the loop comes back to wait.
        watcher = self._watchers.pop(fd, None)
        if watcher is not None:
            watcher.stop()
            watcher.close()
        key = self._keys.get(fd)
        if key is not None:
            self._ready[fd] = (revents & key.events) or key.events
            self.wake()

    def wake(self) -> None:
        """End the wait, if there is one."""
        wakeup = self._wakeup
        if wakeup is not None and not wakeup.ready():
            wakeup.send()
            # What asyncio has to do comes before green threads that are to
            # start, as it does in eventlet's hub.
            ev_hurry(self._waiting)

    def select(self, timeout: float | None = None) -> Any:
        for fd in self._keys:
            if fd not in self._watchers and fd not in self._ready:
                self._watch(fd)
        if self._ready or (timeout is not None and timeout <= 0):
            ev_sleep(0)
        else:
            self._wakeup = EvEvent()
            self._waiting = getcurrent()
            try:
                self._wakeup.wait(timeout)
            finally:
                self._wakeup = self._waiting = None
        ready, self._ready = self._ready, {}
        return [(self._keys[fd], mask) for fd, mask in ready.items()]

    def close(self) -> None:
        for fd in list(self._watchers):
            self._unwatch(fd)
        self._keys.clear()

    def get_map(self) -> Any:
        return {key.fileobj: key for key in self._keys.values()}


class _Loop(asyncio.SelectorEventLoop):
    """asyncio's own loop; what green threads give it ends its wait."""

    _selector: _Selector
    #: While it waits it is the running loop all the same.
    is_of_thread = True

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Any = None
    ) -> Any:
        handle = super().call_soon(callback, *args, context=context)
        self._selector.wake()
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> Any:
        handle = super().call_at(when, callback, *args, context=context)
        self._selector.wake()
        return handle


    # Names are looked up by the system, whatever was patched.

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        return await _in_thread(
            _socket.getaddrinfo, host, port, family, type, proto, flags
        )

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> Any:
        return await _in_thread(_socket.getnameinfo, sockaddr, flags)


def _in_thread(function: Any, *args: Any) -> Any:
    from .. import tpool

    return ev_spawn(tpool.execute, function, *args)


class Hub(hub.BaseHub):
    """Coir's hub with an asyncio loop, ``loop``."""

    def __init__(self) -> None:
        super().__init__()
        self.loop: Any = None

    def _post_initialize(self) -> None:
        from ..patcher import _unmonkey_patch_asyncio_all

        _unmonkey_patch_asyncio_all()
        _hubs.add(self)
        self.loop = _Loop(_Selector(self.greenlet.loop))
        asyncio.set_event_loop(self.loop)
        ev_spawn_n(self._run_loop, self.loop)

    def _run_loop(self, loop: Any) -> None:
        try:
            loop.run_forever()
        except GreenletExit:
            pass
        except self.SYSTEM_EXCEPTIONS:
            self.greenlet.handle_system_error(*sys.exc_info())

    def add(
        self, evtype: str, fileno: int, cb: Any, tb: Any, mark_as_closed: Any
    ) -> Any:
        """See `BaseHub.add`; raises ValueError if it is not open."""
        try:
            os.fstat(fileno)
        except OSError:
            raise ValueError("Invalid file descriptor") from None
        return super().add(evtype, fileno, cb, tb, mark_as_closed)


_hubs: weakref.WeakSet[Hub] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    """The loop goes on, with the greenlet that runs it; but asyncio counts
    it as the parent's, and what wakes it must not be shared."""
    for each in list(_hubs):
        each.loop._close_self_pipe()
        each.loop._make_self_pipe()
        events._set_running_loop(each.loop)


os.register_at_fork(after_in_child=_after_fork_in_child)


def running_hub() -> Hub:
    """This thread's hub.

    :raises RuntimeError: if it is not one of this module.
    """
    from . import get_hub

    found = get_hub()
    if not isinstance(found, Hub):
        raise RuntimeError(
            "This API only works with eventlet's asyncio hub. To use it, set "
            "an EVENTLET_HUB=asyncio environment variable."
        )
    return found


def await_green_thread(thread: Any) -> Any:
    """``GreenThread.__await__``: an iterator for the awaiting coroutine.

    If the wait is cancelled, the green thread is killed.
    """
    future = running_hub().loop.create_future()

    def ended(gt: Any) -> None:
        if future.done():
            return
        try:
            future.set_result(gt.wait())
        except GreenletExit:
            future.cancel()
        except BaseException as exc:
            future.set_exception(exc)

    def done(_future: Any) -> None:
        if future.cancelled() and not thread.dead:
            thread.kill()

    future.add_done_callback(done)
    thread.link(ended)
    return future.__await__()
