"""A WebSocket connection on a stream of bytes.

Receiving and sending are in C (``python/ext/wsstream.c``); here is what
happens seldom: the end, timeouts, and what they need of the scheduler that
the stream belongs to. A stream of Coir's waits in Coir's hub, and so do locks
and timeouts for it; one of gevent's or eventlet's own in theirs; any other
blocks its thread.
"""

from __future__ import annotations

import contextlib
import select
import sys
import threading
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any, NamedTuple

from coir import _core
from coir._core import (
    Semaphore,
    Timeout,
    WebSocketBase,
    WebSocketCodec,
    WebSocketConnectionClosed,
    WebSocketError,
)

__all__ = ["Deflate", "WebSocket", "limited"]


class Deflate(NamedTuple):
    """What is offered or accepted of permessage-deflate, and how messages
    are compressed.

    A window of 2**12 bytes and zlib's memory level 5 make 32 KiB for each
    direction that is used; 15 and 9 make 384.
    """

    #: Each message of the server by itself: worse compression, but its
    #: memory could be freed in between.
    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    #: 9 to 15; 0 for 15.
    server_max_window_bits: int = 12
    client_max_window_bits: int = 12
    #: zlib's, 1 to 9.
    level: int = 6
    memory_level: int = 5
    #: Messages of fewer bytes are sent as they are.
    threshold: int = 64


def deflate_of(value: bool | Deflate | None) -> Deflate | None:
    """What an argument ``deflate`` means, in this build."""
    if value is True:
        return Deflate() if _core.WEBSOCKET_DEFLATE else None
    return value or None


# --- the scheduler of a stream -----------------------------------------------


def scheduler_of(stream: Any) -> str:
    """``"coir"``, ``"gevent"``, ``"eventlet"``, or ``""`` for threads."""
    for cls in type(stream).__mro__:
        root = cls.__module__.partition(".")[0]
        if root in ("coir", "gevent", "eventlet"):
            return root
    return ""


def _lock_for(scheduler: str) -> Callable[[], Any]:
    if scheduler == "coir":
        return lambda: Semaphore(1)
    if scheduler == "gevent":
        return lambda: sys.modules["gevent.lock"].Semaphore(1)
    if scheduler == "eventlet":
        return lambda: sys.modules["eventlet.semaphore"].Semaphore(1)
    return threading.Lock


@contextlib.contextmanager
def limited(scheduler: str, seconds: float | None) -> Iterator[None]:
    """Raise TimeoutError in the block after this time, if the scheduler can
    interrupt a wait; threads cannot."""
    if seconds is None or not scheduler:
        yield
        return
    cls: Any = Timeout
    if scheduler != "coir":
        cls = sys.modules[scheduler].Timeout
    timer = cls(seconds)
    if scheduler != "eventlet":  # there it starts when it is made
        timer.start()
    try:
        yield
    except cls as exc:
        if exc is not timer:
            raise
        raise TimeoutError("timed out") from None
    finally:
        timer.cancel()


# --- connections -------------------------------------------------------------


class WebSocket(WebSocketBase):
    """A WebSocket on a stream: anything with ``recv_into`` or ``recv``, and
    ``sendall``.

    Any number of greenlets (threads, where the stream blocks them) may send;
    one at a time may receive. ``for message in ws`` receives to the end.

    :ivar protocol: the subprotocol that was agreed on, or None.
    :ivar close_reason: of the peer's close frame, or what happened.
    :ivar environ: of a server: the request's; else None.
    :ivar response: of a server: what a WSGI application is to return.
    :ivar headers: of a client: the fields of the server's answer.
    """

    protocol: str | None = None
    close_reason: str | None = None
    environ: dict[str, Any] | None = None
    response: Any = ()
    headers: list[tuple[str, str]] | None = None

    def __init__(
        self,
        stream: Any,
        codec: WebSocketCodec | None = None,
        *,
        role: str = "server",
        initial: bytes = b"",
        owns_stream: bool = True,
        linger: float = 2.0,
    ) -> None:
        """
        :param codec: with limits and compression; None: a new one for `role`.
        :param initial: bytes that were read of the stream already.
        :param owns_stream: close it at the end, not only its connection.
        :param linger: seconds that the end may wait for the peer's.
        """
        self._scheduler = scheduler_of(stream)
        self._make_lock = _lock_for(self._scheduler)
        if codec is None:
            codec = WebSocketCodec(role)
        super().__init__(stream, codec, self._make_lock(), initial)
        self._owns_stream = owns_stream
        self._linger = linger
        self._enders: list[Any] = []
        self._pongs: list[tuple[bytes, Any]] = []

    def __repr__(self) -> str:
        state = "open"
        if self.close_code is not None:
            state = f"closed {self.close_code}"
        return f"<{type(self).__name__} {self.codec.role} {state}>"

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(self, exc_type: Any, exc: Any, tb: Any) -> None:
        if exc_type is None:
            self.close()
        elif issubclass(exc_type, Exception):
            self.close(1011)
        else:
            # Killed: that may not take long.
            with contextlib.suppress(OSError, WebSocketError):
                with limited(self._scheduler, 0.1):
                    self._send_control("close", 1001)
            self.abort()

    # --- receiving ---

    def _recv_timed(self, timeout: float) -> str | bytes | None:
        if self._scheduler == "coir":
            timer = Timeout(timeout)
            timer.start()
            try:
                return self.recv()
            except Timeout as exc:
                if exc is not timer:
                    raise
                raise TimeoutError("timed out") from None
            finally:
                timer.cancel()
        if self._scheduler:
            with limited(self._scheduler, timeout):
                return self.recv()
        deadline = monotonic() + timeout
        self._before_read = lambda: self._wait_for_input(deadline)
        try:
            return self.recv()
        finally:
            self._before_read = None

    def _wait_for_input(self, deadline: float) -> None:
        """For streams that block their thread."""
        pending = getattr(self.stream, "pending", None)
        if pending is not None and pending():
            return
        poll = select.poll()
        poll.register(self.stream, select.POLLIN)
        left = max(0.0, deadline - monotonic())
        if not poll.poll(left * 1000):
            raise TimeoutError("timed out")

    # --- control frames ---

    def ping(
        self,
        data: str | bytes = b"",
        *,
        timeout: float | None = None,
    ) -> None:
        """Send a ping; with a timeout, wait for its pong.

        The pong is seen only if somebody receives meanwhile.

        :param data: 125 bytes at most.
        :param timeout: seconds; None does not wait.
        :raises TimeoutError: no pong came in time.
        """
        if timeout is None:
            self._send_control("ping", data)
            return
        if isinstance(data, str):
            data = data.encode()
        waiter = self._make_lock()
        waiter.acquire()
        entry = (bytes(data), waiter)
        self._pongs.append(entry)
        try:
            self._send_control("ping", data)
            if not waiter.acquire(timeout=timeout):
                raise TimeoutError("no pong came in time")
        finally:
            with contextlib.suppress(ValueError):
                self._pongs.remove(entry)
        if self.close_code is not None:
            raise WebSocketConnectionClosed("closed while it waited")

    def pong(self, data: str | bytes = b"") -> None:
        """Send a pong that no ping asked for; those that one did are sent by
        themselves."""
        self._send_control("pong", data)

    def _pong(self, data: bytes) -> None:
        """One came: it answers all pings up to the one with its data."""
        for i, (sent, _) in enumerate(self._pongs):
            if sent == data:
                for _, waiter in self._pongs[: i + 1]:
                    waiter.release()
                del self._pongs[: i + 1]
                break

    # --- the end ---

    def close(
        self, code: int = 1000, reason: str = "", *, timeout: float = 10.0
    ) -> None:
        """Send a close frame, wait for the peer's, and close the connection.

        Messages that come meanwhile are dropped, unless somebody else
        receives. Does nothing if it was closed.

        :param code: 1000 to 1014 but 1004, 1005, 1006; 3000 to 4999.
        :param reason: at most 123 bytes in UTF-8.
        :param timeout: seconds, for all of it; then the connection is just
            closed.
        """
        deadline = monotonic() + timeout
        try:
            if self.close_code is None:
                with limited(self._scheduler, timeout):
                    self._send_control("close", code, reason)
                self._await_end(deadline)
        except ValueError:
            raise  # code or reason
        except (OSError, WebSocketError):
            pass  # gone, or too slow
        except BaseException:
            self.abort()
            raise
        if self.close_code is None:
            self.abort()

    def _await_end(self, deadline: float) -> None:
        if not self._is_receiving:
            self._is_closing = True
            while self.close_code is None:
                self.recv(max(0.0, deadline - monotonic()))
        else:
            self._wait_for_end(max(0.0, deadline - monotonic()))

    def _wait_for_end(self, timeout: float = -1) -> None:
        """Until whoever receives has found it out."""
        if self.close_code is None:
            waiter = self._make_lock()
            waiter.acquire()
            self._enders.append(waiter)
            if timeout < 0:
                waiter.acquire()
            else:
                waiter.acquire(timeout=timeout)

    def abort(self) -> None:
        """Close the connection at once, without a word."""
        self._linger = 0
        self._shutdown()
        self._end(1006, "aborted")
        self._close_stream()

    @property
    def closed(self) -> bool:
        """Has it ended? Then nothing can be sent or received."""
        return self.close_code is not None

    @property
    def statistics(self) -> dict[str, int]:
        """Messages and their bytes, and bytes of frames, both ways."""
        return self.codec.statistics

    def _interrupted(self, exc: ConnectionError) -> bool:
        """Reading has failed: does it go on? It does if the server stops,
        and lets us say so: then the peer is to close."""
        heed_stop = getattr(self.stream, "heed_stop", None)
        if heed_stop is None or not isinstance(exc, ConnectionAbortedError):
            return False
        heed_stop(False)
        with contextlib.suppress(WebSocketConnectionClosed):
            self._send_control("close", 1001)
        return True

    def _ended(self, code: int, reason: str) -> None:
        """Called once, by who finds it out."""
        self.close_reason = reason
        for waiter in self._enders:
            waiter.release()
        for _, waiter in self._pongs:
            waiter.release()
        self._enders.clear()
        self._pongs.clear()
        if self._linger > 0 and not self._is_broken:
            # Closing with bytes unread would reset the connection, and the
            # peer might not see our close frame.
            with contextlib.suppress(OSError, ValueError):
                self._drain(code)
        self._close_stream()

    def _drain(self, code: int) -> None:
        stream = self.stream
        server_is_done = self.codec.role == "server" and self.codec.got_close
        if not hasattr(stream, "pending"):  # TLS has no half close
            with contextlib.suppress(AttributeError):
                stream.shutdown(1)
        if server_is_done or code == 1006:
            return
        deadline = monotonic() + self._linger
        with limited(self._scheduler, self._linger):
            while True:
                if not self._scheduler:
                    self._wait_for_input(deadline)
                if not stream.recv(65536) or monotonic() > deadline:
                    break

    def _shutdown(self) -> None:
        """End the connection, so that all who wait for it are told."""
        shutdown = getattr(self.stream, "shutdown", None)
        if shutdown is not None:
            with contextlib.suppress(OSError, ValueError, WebSocketError):
                shutdown(2)

    def _close_stream(self) -> None:
        if not self._owns_stream:
            self._shutdown()
            return
        close = getattr(self.stream, "close", None)
        if close is not None:
            with contextlib.suppress(OSError):
                close()
