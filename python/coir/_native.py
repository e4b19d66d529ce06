"""Coir's own API for Python: green threads, and how they end together.

Its names are those of `coir`. All of it runs on the scheduler of
`coir.gevent`, so that code of both, and libraries for gevent, go together in
one thread.

A `GreenThread` has a Greenlet, whose body is `GreenThread._run`: that keeps
the result, or the error. An error that nobody looks at is reported when the
object goes.

A `Nursery` ends after all that were spawned in it. What fails first cancels
the others, and the body: by an exception of its own, `_Stop`, thrown by a
callback of the hub, which looks whether the body still runs.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from contextvars import copy_context
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    ParamSpec,
    Self,
    TypeVar,
    final,
)

from coir._core import (
    Event,
    Greenlet,
    GreenletExit,
    LockType,
    RLock,
    Semaphore,
    get_hub,
    getcurrent,
    local,
    sleep,
)
from coir._deadline import deadline, numbers, nurseries
from coir.gevent.exceptions import LoopExit
from coir.gevent.queue import Queue

if TYPE_CHECKING:
    import asyncio

__all__ = [
    "Cancelled",
    "Event",
    "GreenThread",
    "Lock",
    "Nursery",
    "Queue",
    "RLock",
    "Semaphore",
    "blocking",
    "deadline",
    "dump",
    "local",
    "run_async",
    "shield",
    "sleep",
    "spawn",
]

T = TypeVar("T")
P = ParamSpec("P")

#: Raised in the wait of a green thread that was cancelled. A BaseException;
#: gevent's GreenletExit.
Cancelled = GreenletExit

#: Owned by a green thread at a time; any of them, and native threads, wait.
Lock = LockType

# These end the program, or all that is left of it: nothing is put off by them.
_FATAL = (KeyboardInterrupt, SystemExit, LoopExit)


# --- green threads -----------------------------------------------------------


@final
class GreenThread(Generic[T]):
    """A call that runs in turn with others; made by `spawn`.

    It has a copy of the context variables of who spawned it. Its methods may
    be called from any thread.
    """

    __slots__ = ("__weakref__", "_error", "_greenlet", "_seen", "_value")

    _value: T
    _error: BaseException | None
    _seen: bool

    def __init__(
        self,
        function: Callable[..., T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._error = None
        self._seen = False
        name = getattr(function, "__qualname__", None)
        self._greenlet = Greenlet(self._run, function, args, kwargs)
        if name is not None:
            self._greenlet.name = name
        self._greenlet.gr_context = copy_context()
        self._greenlet.start()

    def _run(
        self,
        function: Callable[..., T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        try:
            self._value = function(*args, **kwargs)
        except BaseException as exc:
            # Without this frame: it is of no interest.
            trace = exc.__traceback__
            self._error = exc.with_traceback(trace and trace.tb_next)
            self._seen = isinstance(exc, (Cancelled, *_FATAL))
            if isinstance(exc, _FATAL):
                raise
        finally:
            # The error's own frames lead back to it, though.
            trace = None
            del self, function, args, kwargs

    @property
    def name(self) -> str:
        """Of the function, to begin with; for reports."""
        return self._greenlet.name

    @name.setter
    def name(self, name: str) -> None:
        self._greenlet.name = name

    @property
    def greenlet(self) -> Greenlet:
        """What it is for `coir.gevent`. Its `value` is None."""
        return self._greenlet

    @property
    def done(self) -> bool:
        """Has it ended?"""
        return self._greenlet.ready()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until it has ended; False if `timeout` seconds are over."""
        self._greenlet.join(timeout)
        return self.done

    def result(self, timeout: float | None = None) -> T:
        """Wait until it has ended; what it returned, or raises what it raised.

        :raises TimeoutError: if it takes longer than `timeout` seconds.
        :raises Cancelled: if that is how it ended.
        """
        if not self.join(timeout):
            raise TimeoutError(f"{self!r} takes longer than {timeout} s")
        error = self.exception()
        if error is not None:
            raise error
        return self._value

    def exception(self) -> BaseException | None:
        """What it raised; None if it returned, or has not ended."""
        if not self.done:
            return None
        self._seen = True
        if self._error is None and not hasattr(self, "_value"):
            self._error = Cancelled()  # before it had begun
        return self._error

    def cancel(self) -> None:
        """Raise `Cancelled` in it: where it waits, or when it next does.

        Does not wait. One that has not begun never does.
        """
        self._greenlet.kill(block=False)

    def __await__(self) -> Generator[Any, Any, T]:
        """For coroutines of asyncio. Who is cancelled there cancels it."""
        import asyncio

        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def wake(_: Any) -> None:
            if not future.done():
                future.set_result(None)

        def ended(_: Any) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(wake, None)

        self._greenlet.rawlink(ended)
        try:
            yield from future
        except BaseException:
            self.cancel()
            raise
        return self.result()

    def __repr__(self) -> str:
        if not self.done:
            state = "running"
        elif self._error is None:
            state = "done"
        else:
            state = f"raised {type(self._error).__name__}"
        return f"<coir.GreenThread {self.name!r}, {state}, at {id(self):#x}>"

    def __del__(self) -> None:
        error = getattr(self, "_error", None)
        if error is not None and not self._seen:
            self._seen = True
            # Its own hub: who drops it may be a thread that has none.
            hub: Any = self._greenlet.parent
            hub.handle_error(
                f"{self!r}, whose result nobody asked for,",
                type(error),
                error,
                error.__traceback__,
            )


def spawn(
    function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
) -> GreenThread[T]:
    """Start ``function(*args, **kwargs)`` in a green thread of this thread.

    It begins when this one waits. Nobody need keep what is returned. What
    belongs together is better spawned in a `Nursery`.
    """
    if not callable(function):
        raise TypeError(f"not callable: {function!r}")
    return GreenThread(function, args, kwargs)


# --- nurseries ---------------------------------------------------------------


class _Stop(BaseException):
    """Ends the body of a nursery in which something has failed."""


class Nursery:
    """Green threads that end before the block does in which they are.

        with coir.Nursery() as nursery:
            for url in urls:
                nursery.spawn(fetch, url)

    The block ends when all of them have. If one fails, the others are
    cancelled, and the body, if that waits; so they are if the body raises, is
    cancelled, or its deadline is over. What failed is raised as an
    ExceptionGroup (asyncio's TaskGroup is the model): the body's own error is
    in it. If nothing but the body was cancelled, or interrupted, that goes on.
    """

    def __init__(self) -> None:
        self._running: set[GreenThread[Any]] = set()
        self._errors: list[BaseException] = []
        self._fatal: BaseException | None = None
        self._owner: Any = None
        self._hub: Any = None
        self._is_in_body = False
        self._is_cancelled = False
        self._stop = _Stop()
        self._is_stopping = False

    def __enter__(self) -> Self:
        if self._owner is not None:
            raise RuntimeError("a nursery is for one block")
        self._owner = getcurrent()
        self._hub = get_hub()
        self._is_in_body = True
        self._number = next(numbers)
        nurseries.add(self)
        return self

    def spawn(
        self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> GreenThread[T]:
        """As `coir.spawn`, in here. What it starts may do so as well.

        :raises RuntimeError: before and after the block, and in other threads.
        """
        if self._owner is None or not (self._is_in_body or self._running):
            raise RuntimeError("the block of this nursery is not running")
        if get_hub() is not self._hub:
            raise RuntimeError("the nursery is another thread's")
        thread = spawn(function, *args, **kwargs)
        self._running.add(thread)
        thread._greenlet.rawlink(lambda _: self._ended(thread))
        if self._is_cancelled:
            thread.cancel()
        return thread

    def cancel(self) -> None:
        """Cancel all that runs in here, once, and what is spawned later."""
        if self._is_cancelled:
            return
        self._is_cancelled = True
        for thread in list(self._running):
            thread.cancel()

    def _ended(self, thread: GreenThread[Any]) -> None:
        if thread not in self._running:
            return
        self._running.discard(thread)
        error = thread.exception()
        if error is None or isinstance(error, Cancelled):
            return
        if isinstance(error, _FATAL):
            self._fatal = error  # the main greenlet gets it as well
        else:
            self._errors.append(error)
        self.cancel()
        if self._is_in_body and not self._is_stopping:
            self._is_stopping = True
            self._hub.loop.run_callback(self._end_body)

    def _end_body(self) -> None:
        if self._is_in_body:
            self._owner.throw(self._stop)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_in_body = False
        thrown = None
        if error is not None:
            self.cancel()
            thrown = self._note(error, None)
        while self._running:
            thread = next(iter(self._running))
            try:
                thread.join()
            except BaseException as exc:
                thrown = self._note(exc, thrown)
                if isinstance(exc, LoopExit) and self._is_cancelled:
                    break  # not even that helped
                self.cancel()
                continue
            self._ended(thread)
        nurseries.discard(self)
        self._raise(thrown)

    def _note(
        self, error: BaseException, thrown: BaseException | None
    ) -> BaseException | None:
        """Keep an error for the group, or choose what goes on by itself."""
        if error is self._stop or isinstance(thrown, _FATAL):
            return thrown
        if isinstance(error, Exception) and not isinstance(error, _FATAL):
            self._errors.append(error)
            return thrown
        return error

    def _raise(self, thrown: BaseException | None) -> None:
        if not isinstance(thrown, _FATAL):
            thrown = self._fatal or thrown
        errors, self._errors, self._fatal = self._errors, [], None
        group = None
        try:
            if errors:
                group = BaseExceptionGroup("errors in a nursery", errors)
            if group is None and thrown is not None:
                raise thrown
            if isinstance(thrown, _FATAL):
                raise thrown from group
            if group is not None:
                raise group from None
        finally:
            del errors, group, thrown  # they keep this frame


# --- limits ------------------------------------------------------------------


def shield(
    function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
) -> T:
    """Return ``function(*args, **kwargs)``, called in a green thread.

    Who waits here may be cancelled, and time may be over: that is put off
    until the call has ended, whose result is then lost. For what has to be
    done to the end, such as to say goodbye to a peer.
    """
    thread = spawn(function, *args, **kwargs)
    thrown: BaseException | None = None
    try:
        while not thread.done:
            try:
                thread.join()
            except _FATAL:
                raise
            except BaseException as exc:
                if thrown is None:
                    thrown = exc
        if thrown is not None:
            raise thrown
    finally:
        del thrown
    return thread.result()


# --- other worlds ------------------------------------------------------------


def blocking(
    function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
) -> T:
    """Return ``function(*args, **kwargs)``, called in a native thread.

    For what blocks, or computes without the GIL: other green threads run
    meanwhile. It sees a copy of the context variables. Who is cancelled while
    it waits does not wait for the end; the result is lost then.
    """
    call = copy_context().run
    result: T = get_hub().threadpool.apply(call, (function, *args), kwargs)
    return result


def run_async(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine of asyncio in this green thread; return its result.

    Each green thread may do so at the same time. What the coroutine waits for,
    it alone waits for; that it can await a `GreenThread` leads back.

    :raises RuntimeError: if a loop runs here already: in a coroutine.
    """
    import asyncio

    from coir.gevent.selectors import GeventSelector

    if asyncio._get_running_loop() is not None:
        raise RuntimeError("a coroutine runs here: await the other one")

    def make_loop() -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(GeventSelector())

    with asyncio.Runner(loop_factory=make_loop) as runner:
        return runner.run(coroutine)


def dump() -> str:
    """Who waits in this native thread, and where all greenlets are.

    Of those who wait: for what, how long already, and who waits for whom.
    """
    from coir.gevent._report import format_waiting
    from coir.gevent.util import format_run_info

    return "\n".join([format_waiting(), *format_run_info()])
