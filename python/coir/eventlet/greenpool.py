"""Pools of green threads, and what collects their results."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from coir._core import EvGreenPool, GreenletExit, getcurrent

from . import event, greenthread, queue, semaphore

__all__ = ["GreenPool", "GreenPile"]

#: Whether errors of `GreenPool.spawn_n` are printed.
DEBUG = True


class GreenPool(EvGreenPool):
    """Runs functions in green threads, so many at a time at most.

    Who asks for more waits until one has ended; but a green thread of the
    pool that does so runs the function itself, since it might wait for ever.
    """

    def __init__(self, size: Any = 1000) -> None:
        try:
            size = int(size)
        except ValueError as exc:
            raise TypeError(
                f"GreenPool() expect size :: int, actual: {type(size)} {exc}"
            ) from None
        if size < 0:
            raise ValueError(
                f"GreenPool() expect size >= 0, actual: {size!r}"
            )
        self.size = size
        self.coroutines_running: set[Any] = set()
        self.sem = semaphore.Semaphore(size)
        self.no_coros_running = event.Event()

    def resize(self, new_size: int) -> None:
        """Let so many run at a time from now on.

        Those that run go on; while they are more, `free` is less than zero.
        """
        self.sem.counter += new_size - self.size
        self.size = new_size

    def running(self) -> int:
        """How many run, or are about to."""
        return len(self.coroutines_running)

    def free(self) -> int:
        """How many could be spawned without waiting."""
        return int(self.sem.counter)

    def waiting(self) -> int:
        """How many wait in `spawn` or `spawn_n`."""
        return max(0, -int(self.sem.balance))

    def _spawn_here(
        self, function: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Run it now: what `spawn` does for who is of a pool that is full."""
        g = greenthread.GreenThread(getcurrent())
        g.main(function, args, kwargs)
        return g

    def _spawn_n_impl(
        self, func: Callable[..., Any], args: Any, kwargs: Any, coro: Any
    ) -> None:
        try:
            func(*args, **kwargs)
        except (KeyboardInterrupt, SystemExit, GreenletExit):
            raise
        except BaseException:
            if DEBUG:
                traceback.print_exc()
        finally:
            if coro is not None:
                self._spawn_done(getcurrent())

    def spawn_n(
        self, function: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> None:
        """As `spawn`, but what the function comes to is not kept."""
        if self._is_reentrant():
            self._spawn_n_impl(function, args, kwargs, None)
            return
        self.sem.acquire()
        self._add(
            greenthread.spawn_n(
                self._spawn_n_impl, function, args, kwargs, True
            )
        )

    def waitall(self) -> None:
        """Wait until none runs; not for green threads of the pool."""
        if getcurrent() in self.coroutines_running:
            raise AssertionError(
                "Calling waitall() from within one of the GreenPool's "
                "greenthreads will never terminate."
            )
        if self.running():
            self.no_coros_running.wait()

    def _do_map(
        self, func: Callable[..., Any], it: Iterable[Any], gi: Any
    ) -> None:
        for args in it:
            gi.spawn(func, *args)
        gi.done_spawning()

    def starmap(
        self, function: Callable[..., Any] | None, iterable: Iterable[Any]
    ) -> Iterator[Any]:
        """``function(*args)`` for each of `iterable`: the results in order.

        No more is taken from it than the pool can run and the caller has
        taken results of.
        """
        results = GreenMap(self.size)
        greenthread.spawn_n(
            self._do_map, function or _tuple, iterable, results
        )
        return results

    def imap(
        self, function: Callable[..., Any] | None, *iterables: Iterable[Any]
    ) -> Iterator[Any]:
        """``function`` for each tuple of items of `iterables`."""
        return self.starmap(function, zip(*iterables, strict=False))


def _tuple(*args: Any) -> Any:
    return args


class GreenPile:
    """Green threads whose results are iterated over, in the order in which
    they were spawned; by who spawns them."""

    def __init__(self, size_or_pool: Any = 1000) -> None:
        if not isinstance(size_or_pool, GreenPool):
            size_or_pool = GreenPool(size_or_pool)
        self.pool = size_or_pool
        self.waiters: queue.LightQueue[Any] = queue.LightQueue()
        self.counter = 0

    def spawn(self, func: Callable[..., Any], *args: Any, **kw: Any) -> None:
        """Run ``func(*args, **kw)`` in the pool; its result will come up."""
        self.counter += 1
        try:
            self.waiters.put(self.pool.spawn(func, *args, **kw))
        except BaseException:
            self.counter -= 1
            raise

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        """The next result, waiting for it, or raise its error."""
        if not self.counter:
            raise StopIteration
        return self._next()

    def next(self) -> Any:
        """As ``next(self)``."""
        return self.__next__()

    def _next(self) -> Any:
        try:
            return self.waiters.get().wait()
        finally:
            self.counter -= 1


class GreenMap(GreenPile):
    """A pile that one green thread fills and another takes from: it ends
    when `done_spawning` was called, and lets nobody run ahead too far."""

    def __init__(self, size_or_pool: Any) -> None:
        super().__init__(size_or_pool)
        self.waiters = queue.LightQueue(maxsize=self.pool.size)

    def done_spawning(self) -> None:
        """There will be no more."""
        self.spawn(StopIteration)

    def __next__(self) -> Any:
        value = self._next()
        if isinstance(value, StopIteration):
            raise value
        return value
