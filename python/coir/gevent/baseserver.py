"""What the servers have in common: listening, accepting, starting, stopping.

A server has a listening socket and a watcher for it in the loop of the hub it
was made in. When the socket is ready, the hub reads up to ``max_accept``
things from it (connections, datagrams) and has each handled: in a greenlet of
its own, in one of a pool, or by the hub itself. While a pool is full, and for
a moment after an error, the watcher is stopped: what comes then waits in the
kernel.

Reading never blocks: it is done by the methods of ``_socket.socket``, from
which all sockets derive, and a listener of the standard library is taken out
of blocking mode.
"""

from __future__ import annotations

import _socket
import errno
import sys
from typing import TYPE_CHECKING, Any

from ._socket3 import socket as _green_socket
from .event import Event
from .greenlet import Greenlet
from .hub import get_hub

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BaseServer"]


class BaseServer:
    """A server that reads from a socket and calls a function for what comes.

    :param listener: an address, or a socket that is bound and, if it is to
        accept connections, listens. An address is ``(host, port)``, a port,
        or a string like ``"127.0.0.1:80"``, ``":80"`` or ``"[::1]:80"``; a
        socket is made for it by :meth:`start`.
    :param handle: called with what was read: a socket and an address. A
        subclass may have a method of that name instead.
    :param spawn: how it is called. ``"default"``: in a new
        :class:`Greenlet`; a function like ``gevent.spawn_raw``: by that; a
        :class:`gevent.pool.Pool`: in it, and nothing is read while it is full;
        a number: in a new pool of that size; ``None``: in the hub, where it
        must not block.

    What was read is closed when ``handle`` returns. As a context manager it
    is stopped at the end. It cannot be started again once it was stopped.

    Behaves as ``gevent.baseserver.BaseServer``, gevent 26.9.
    """

    #: Seconds without reading after an error; doubled by each further one.
    #: A negative one: read on at once.
    min_delay = 0.01
    #: The longest such pause, in seconds.
    max_delay = 1

    #: How many connections are accepted before others may run. A server
    #: whose listener is shared by several processes may want 1.
    max_accept = 100

    #: Seconds that :meth:`stop` waits for the pool.
    stop_timeout = 1

    #: Errors of the listener after which it is closed.
    fatal_errors = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK)

    _spawn: Any = Greenlet.spawn
    _last_close: Any = None

    socket: Any
    handle: Any
    family: Any
    address: Any

    def __init__(
        self, listener: Any, handle: Any = None, spawn: Any = "default"
    ) -> None:
        self._stop_event = Event()
        self._stop_event.set()
        self._watcher: Any = None
        self._timer: Any = None
        self._full_pool: Any = None  # the one that is waited for
        self._handle: Any = None
        self.pool: Any = None
        try:
            self.set_listener(listener)
            self.set_spawn(spawn)
            self.set_handle(handle)
            self.delay = self.min_delay
            self.loop = get_hub().loop
            if self.max_accept < 1:
                raise ValueError("max_accept must be at least 1")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *args: Any) -> None:
        self.stop()

    # What it is to do

    def set_listener(self, listener: Any) -> None:
        """Take a socket, or the address that one is to be made for."""
        if hasattr(listener, "accept"):
            if hasattr(listener, "do_handshake"):
                raise TypeError(
                    "the listener must be a plain socket, not one of SSL: "
                    f"{listener!r}"
                )
            self.family = listener.family
            self.address = listener.getsockname()
            self.socket = listener
        else:
            self.family, self.address = parse_address(listener)

    def set_spawn(self, spawn: Any) -> None:
        """Say how handlers are called; see the class."""
        self.pool = None
        self.__dict__.pop("_spawn", None)  # then it is the class's
        self.__dict__.pop("full", None)
        if hasattr(spawn, "spawn"):
            self.pool = spawn
        elif isinstance(spawn, int):
            from .pool import Pool

            self.pool = Pool(spawn)
        elif spawn != "default":
            self._spawn = spawn
        if self.pool is not None:
            self._spawn = self.pool.spawn
            if hasattr(self.pool, "full"):
                self.full = self.pool.full  # type: ignore[method-assign]

    def set_handle(self, handle: Any) -> None:
        """Say what is called for each connection."""
        if handle is not None:
            self.handle = handle
        if not hasattr(self, "handle"):
            raise TypeError("'handle' must be provided")
        self._handle = self.handle

    # Starting and stopping

    @property
    def started(self) -> bool:
        """Whether it was started and not stopped since."""
        return not self.closed

    @property
    def closed(self) -> bool:
        """The contrary of `started`."""
        return bool(self._stop_event.is_set())

    def init_socket(self) -> None:
        """Make the socket, if an address was given; called by :meth:`start`.

        A subclass sets ``socket`` here, and ``address`` to what it is bound
        to.
        """

    def start(self) -> None:
        """Begin to read; if an address was given, make the socket first.

        Does not block.
        """
        self.init_socket()
        self._stop_event.clear()
        try:
            self.start_accepting()
        except BaseException:
            self.close()
            raise

    def stop(self, timeout: float | None = None) -> None:
        """Close the listener, and wait for the handlers in the pool.

        :param timeout: seconds to wait; None for ``stop_timeout``. Then those
            that still run are killed.

        Handlers that do not run in a pool are left alone.
        """
        self.close()
        if timeout is None:
            timeout = self.stop_timeout
        if self.pool:
            self.pool.join(timeout=timeout)
            self.pool.kill(block=True, timeout=1)

    def serve_forever(self, stop_timeout: float | None = None) -> None:
        """Start, if need be, and wait until stopped by somebody else.

        :param stop_timeout: for :meth:`stop`, which is called in the end.
        """
        if not self.started:
            self.start()
        try:
            self._stop_event.wait()
        finally:
            # In a greenlet of its own: this one may have been killed, and
            # what kills it again is not to stop that.
            Greenlet.spawn(self.stop, timeout=stop_timeout).join()

    def close(self) -> None:
        """Close the listener and read no more; handlers run on."""
        self._stop_event.set()
        self.stop_accepting()
        own = self.__dict__
        # They are likely to refer to us.
        for name in ("handle", "_handle", "_spawn", "full", "_last_close"):
            own.pop(name, None)
        socket = own.pop("socket", None)
        if socket is not None:
            socket.close()

    def do_close(self, *args: Any) -> None:
        """Close what was read; called with the arguments of the handler."""

    # Reading

    def start_accepting(self) -> None:
        """Have the loop tell when there is something to be read."""
        if self._watcher is not None:
            return
        if not isinstance(self.socket, _green_socket):
            self.socket.setblocking(False)
        self._watcher = self.loop.io(self.socket.fileno(), 1)
        self._watcher.start(self._do_read)

    def stop_accepting(self) -> None:
        """The contrary: what comes waits in the kernel."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.stop()
            watcher.close()
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.stop()
            timer.close()
        pool, self._full_pool = self._full_pool, None
        if pool is not None:
            pool._semaphore.unlink(self._start_accepting_if_started)

    def _start_accepting_if_started(self, _event: Any = None) -> None:
        # Called when a pause is over, or the pool has room again.
        self.stop_accepting()
        if self.started:
            self.start_accepting()

    def _wait_for_pool(self) -> None:
        self.stop_accepting()
        if hasattr(self.pool, "_semaphore"):
            self._full_pool = self.pool
            self.pool._semaphore.rawlink(self._start_accepting_if_started)
        else:
            self._wait_for(self.min_delay)  # some object of the user's

    def _wait_for(self, seconds: float) -> None:
        self.stop_accepting()
        self._timer = self.loop.timer(seconds)
        self._timer.start(self._start_accepting_if_started)

    def _wait_after_error(self) -> None:
        if self.delay >= 0:
            self._wait_for(self.delay)
            self.delay = min(self.max_delay, self.delay * 2)

    def full(self) -> bool:  # the pool's own, if there is one: set_spawn()
        """Whether the pool has no room; False without one."""
        return False

    def do_read(self) -> Any:
        """Read one thing: the arguments of the handler; None if none is there.

        Called by the hub: must not block.
        """
        raise NotImplementedError

    def do_handle(self, *args: Any) -> None:
        """Have it handled, as `spawn` says."""
        spawn = self._spawn
        handle = self._handle
        close = self.do_close
        if close == self._last_close:
            close = self._last_close  # one method object for all
        else:
            self._last_close = close
        try:
            if spawn is None:
                _handle_and_close(handle, close, args)
            else:
                spawn(_handle_and_close, handle, close, args)
        except BaseException:
            close(*args)
            raise

    def is_fatal_error(self, ex: BaseException | None) -> bool:
        """Whether an error of the listener is one of `fatal_errors`."""
        return isinstance(ex, OSError) and ex.errno in self.fatal_errors

    def _do_read(self) -> None:
        for _ in range(self.max_accept):
            if self.full():
                self._wait_for_pool()
                return
            try:
                args = self.do_read()
                self.delay = self.min_delay
                if not args:
                    return
            except BaseException as ex:
                self._failed(ex)
                return
            try:
                self.do_handle(*args)
            except BaseException:
                self.loop.handle_error((args[1:], self), *sys.exc_info())
                self._wait_after_error()
                return
            if self._watcher is None:
                return  # the handler has stopped us

    def _failed(self, ex: BaseException) -> None:
        self.loop.handle_error(self, type(ex), ex, ex.__traceback__)
        if self.is_fatal_error(ex):
            self.close()
            print(f"ERROR: {self} failed with {ex}", file=sys.stderr)
        else:
            self._wait_after_error()

    # How it looks

    @property
    def server_host(self) -> Any:
        """The host of `address`; None if that has none."""
        if isinstance(self.address, tuple):
            return self.address[0]
        return None

    @property
    def server_port(self) -> Any:
        """The port of `address`; None if that has none."""
        if isinstance(self.address, tuple):
            return self.address[1]
        return None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x}{self._formatinfo()}>"

    def __str__(self) -> str:
        return f"<{type(self).__name__}{self._formatinfo()}>"

    def _formatinfo(self) -> str:
        text = ""
        socket = self.__dict__.get("socket")
        if socket is not None:
            try:
                text = f" fileno={socket.fileno()}"
            except Exception as ex:
                text = f" fileno={ex!s}"
        address = getattr(self, "address", None)
        if isinstance(address, tuple) and len(address) >= 2:
            host, port = address[:2]
            host = f"[{host}]" if ":" in str(host) else host
            text += f" address={host}:{port}"
        else:
            text += f" address={address}"
        handle = self.__dict__.get("handle")
        if handle is not None:
            function = getattr(handle, "__func__", None)
            if function is not None and handle.__self__ is self:
                name = getattr(function, "__qualname__", function)
                text += f" handle=<bound method {name} of self>"
            else:
                text += f" handle={handle!r}"
        return text


def _handle_and_close(
    handle: Callable[..., Any], close: Callable[..., Any], args: Any
) -> Any:
    try:
        return handle(*args)
    finally:
        close(*args)


def _family_of(host: str) -> int:
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if ":" in host or not host:
        return int(_socket.AF_INET6)
    return int(_socket.AF_INET)


def parse_address(address: Any) -> tuple[int, Any]:
    """The family and the ``(host, port)`` of an address.

    No host means all addresses, of both versions of IP where the system has
    both; ``"*"``, or nothing before the colon, those of IPv4.

    :raises ValueError: if a string cannot be understood.
    """
    if isinstance(address, tuple):
        if not address[0]:
            return _everywhere(address)
        return _family_of(address[0]), address
    if isinstance(address, str):
        host, colon, port = address.rpartition(":")
        try:
            number = int(port)
        except ValueError as ex:
            raise ValueError(
                f"Failed to parse address {address!r}: {ex}"
            ) from None
        if not colon:
            return _everywhere(("", number))
        if host.startswith("[") and host.endswith("]"):
            return int(_socket.AF_INET6), (host[1:-1], number)
        if host == "*":
            host = ""
        if ":" in host:
            return int(_socket.AF_INET6), (host, number)
        return int(_socket.AF_INET), (host, number)
    if isinstance(address, int):
        return _everywhere(("", address))
    raise TypeError(
        "an address is a tuple, a string or a port, not "
        f"{type(address).__name__}"
    )


def _everywhere(address: tuple[Any, ...]) -> tuple[int, Any]:
    # As all addresses of IPv6, which on Linux takes those of IPv4, too.
    if _socket.has_ipv6 and _can_bind_ipv6():
        return int(_socket.AF_INET6), address
    return int(_socket.AF_INET), address


def _can_bind_ipv6() -> bool:
    try:
        _socket.socket(_socket.AF_INET6).close()
    except OSError:
        return False
    return True
