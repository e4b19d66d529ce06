"""pyzmq, whose sockets block the current green thread only.

Several green threads may send by one socket, and receive by it: they are
served in turn, and a message of several parts stays together.
"""

from __future__ import annotations

from typing import Any

import zmq as __zmq__

from coir._core import get_hub as _get_engine
from coir.gevent.event import Event as _Event
from coir.gevent.lock import RLock as _RLock

from ..patcher import slurp_properties

__patched__ = ["Context", "Socket"]
slurp_properties(__zmq__, globals(), ignore=__patched__)

_POLLIN = __zmq__.POLLIN
_POLLOUT = __zmq__.POLLOUT
_NOBLOCK = __zmq__.NOBLOCK
_EVENTS = __zmq__.EVENTS

#: Of older versions.
XREQ = getattr(__zmq__, "XREQ", __zmq__.DEALER)
XREP = getattr(__zmq__, "XREP", __zmq__.ROUTER)


class LockReleaseError(Exception):
    """The lock is not held."""


class _QueueLock:
    """A lock that its holder may acquire again; who waits longest is next."""

    def __init__(self) -> None:
        self._lock = _RLock()
        self._count = 0

    def __bool__(self) -> bool:
        return self._count > 0

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def acquire(self) -> None:
        """Wait until it is free, or the caller's."""
        self._lock.acquire()
        self._count += 1

    def release(self) -> None:
        """Undo one `acquire`."""
        if not self._count:
            raise LockReleaseError("Cannot release unacquired lock")
        self._count -= 1
        self._lock.release()


class _BlockedThread:
    """Where one green thread may wait until it is woken."""

    def __init__(self) -> None:
        self._event: Any = None

    def __bool__(self) -> bool:
        return self._event is not None

    def block(self, deadline: float | None = None) -> bool:
        """Wait; False if `deadline`, of the hub's clock, came first."""
        if self._event is not None:
            raise RuntimeError("somebody is blocked here already")
        self._event = event = _Event()
        left = None
        if deadline is not None:
            from ..hubs import get_hub

            left = max(deadline - get_hub().clock(), 0)
        try:
            return bool(event.wait(left))
        finally:
            self._event = None

    def wake(self) -> bool:
        """End the wait; False if nobody waits, or was woken already."""
        if self._event is None or self._event.is_set():
            return False
        self._event.set()
        return True


class Context(__zmq__.Context):
    """Makes sockets that are green."""

    def socket(self, socket_type: int, *args: Any, **kwargs: Any) -> Any:
        """A new `Socket`."""
        if self.closed:
            raise __zmq__.ZMQError(__zmq__.ENOTSUP)
        return Socket(self, socket_type, *args, **kwargs)


class Socket(__zmq__.Socket):
    """A socket whose calls wait in the hub.

    What tells that something happened is one descriptor for both directions,
    which tells it once. So whoever asks the socket what it can do, which any
    call does, has those who wait look, too.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Attributes are options of the socket otherwise.
        self.__dict__.update(
            _eventlet_waits={
                _POLLIN: _BlockedThread(),
                _POLLOUT: _BlockedThread(),
            },
            _eventlet_locks={_POLLIN: _QueueLock(), _POLLOUT: _QueueLock()},
            _eventlet_watcher=None,
        )

    # --- waiting

    def _look(self) -> None:
        """Wake those for whom there is something now."""
        waits = self._eventlet_waits
        if not (waits[_POLLIN] or waits[_POLLOUT]):
            return
        try:
            events = super().getsockopt(_EVENTS)
        except __zmq__.ZMQError:
            events = _POLLIN | _POLLOUT  # closed: they will find out
        for kind, wait in waits.items():
            if events & kind:
                wait.wake()

    def _wait(self, kind: int, deadline: float | None) -> bool:
        """Wait until there may be something; False: time is over."""
        wait = self._eventlet_waits[kind]
        watcher = _get_engine().loop.io(super().getsockopt(__zmq__.FD), 1)
        watcher.start(self._look)
        try:
            if super().getsockopt(_EVENTS) & kind:
                return True
            return bool(wait.block(deadline))
        finally:
            watcher.close()

    def _call(self, kind: int, func: Any, option: int, *args: Any) -> Any:
        """Call what does not block until it has done something."""
        from ..hubs import get_hub

        with self._eventlet_locks[kind]:
            deadline = None
            while True:
                try:
                    return func(*args)
                except __zmq__.Again:
                    pass
                finally:
                    self._look()
                if deadline is None:
                    timeout = super().getsockopt(option)
                    if timeout >= 0:
                        deadline = get_hub().clock() + timeout / 1000
                if not self._wait(kind, deadline):
                    error = __zmq__.Again()
                    error.is_timeout = True
                    raise error

    # --- calls

    def close(self, linger: int | None = None) -> None:
        """Close it; those who wait get an error."""
        super().close(linger)
        for wait in self._eventlet_waits.values():
            wait.wake()

    def getsockopt(self, option: int) -> Any:
        """The value of an option."""
        value = super().getsockopt(option)
        if option == _EVENTS:
            self._look()
        return value

    get = getsockopt

    def send(
        self,
        msg: Any,
        flags: int = 0,
        copy: bool = True,
        track: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Send a message, or a part of one."""
        send = super().send
        if flags & _NOBLOCK:
            try:
                return send(msg, flags, copy, track, **kwargs)
            finally:
                self._look()
        return self._call(
            _POLLOUT,
            lambda: send(msg, flags | _NOBLOCK, copy, track, **kwargs),
            __zmq__.SNDTIMEO,
        )

    def recv(
        self, flags: int = 0, copy: bool = True, track: bool = False
    ) -> Any:
        """Receive a message, or a part of one."""
        recv = super().recv
        if flags & _NOBLOCK:
            try:
                return recv(flags, copy, track)
            finally:
                self._look()
        return self._call(
            _POLLIN,
            lambda: recv(flags | _NOBLOCK, copy, track),
            __zmq__.RCVTIMEO,
        )

    def send_multipart(
        self, msg_parts: Any, flags: int = 0, *args: Any, **kwargs: Any
    ) -> Any:
        """Send a message of several parts."""
        if flags & _NOBLOCK:
            return super().send_multipart(msg_parts, flags, *args, **kwargs)
        with self._eventlet_locks[_POLLOUT]:
            return super().send_multipart(msg_parts, flags, *args, **kwargs)

    def recv_multipart(
        self, flags: int = 0, copy: bool = True, track: bool = False
    ) -> Any:
        """Receive all parts of a message."""
        if flags & _NOBLOCK:
            return super().recv_multipart(flags, copy, track)
        with self._eventlet_locks[_POLLIN]:
            return super().recv_multipart(flags, copy, track)
