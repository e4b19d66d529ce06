"""Iterators over results that greenlets are computing.

An :class:`IMapUnordered` is a greenlet that spawns one more for each item of
an iterable, and an iterator that yields their results as they come;
:class:`IMap` yields them in the order of the items.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from . import lock, queue
from .greenlet import Greenlet

__all__ = ["IMapUnordered", "IMap"]


class _Failed:
    """In the queue: a greenlet whose error next() is to raise."""

    __slots__ = ("greenlet",)

    def __init__(self, greenlet: Any) -> None:
        self.greenlet = greenlet

    def throw(self) -> Any:
        return self.greenlet.get(block=False)  # raises, with its traceback


class IMapUnordered(Greenlet):
    """Results in the order in which they are ready.

    :param func: called with each item, in a greenlet of its own.
    :param iterable: read by this greenlet.
    :param spawn: ``spawn(func, item)`` makes those greenlets, and may block.
    :param maxsize: how many may run or wait to be taken by ``next()``; one
        more while that waits; None for no limit.
    :param _zipped: items are tuples of arguments.

    ``next()`` raises what `func` has raised for an item, and goes on with the
    others after that; what the iterable raises is raised once, at the end.
    """

    def __init__(
        self,
        func: Any,
        iterable: Any,
        spawn: Any,
        maxsize: int | None = None,
        _zipped: bool = False,
    ) -> None:
        super().__init__()
        self.spawn = spawn  # type: ignore[method-assign]
        self.func = func
        self.iterable = iterable
        self._zipped = _zipped
        self.queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._room = lock.Semaphore(maxsize) if maxsize else None
        self._made_room = False  # for what was not taken since
        self._left = 1  # tasks that run, and this greenlet
        self.finished = False
        # Also if it is killed before it has begun.
        self.rawlink(self._spawning_ends)

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        """The next result; blocks until there is one."""
        if self.finished:
            raise StopIteration
        if self._room is not None and not self._made_room:
            self._made_room = True
            self._room.release()
        value = self._next()
        self._made_room = False
        if type(value) is _Failed:
            return value.throw()
        return value

    next = __next__

    def _run(self) -> None:
        func = self.func
        room = self._room
        spawn = self.spawn
        for number, item in enumerate(self.iterable):
            if room is not None:
                room.acquire()
            ends = partial(self._task_ends, number)
            g = spawn(func, *item) if self._zipped else spawn(func, item)
            g.rawlink(ends)
            self._left += 1

    def _spawning_ends(self, _: Any) -> None:
        # In the hub, as is what follows.
        self.func = self.iterable = None
        self.spawn = None  # type: ignore[assignment, method-assign]
        self._one_less()

    def _task_ends(self, number: int, g: Any) -> None:
        try:
            self._put(number, g.value if g.successful() else _Failed(g))
        finally:
            self._one_less()

    def _one_less(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._put(None, _END)

    def _put(self, number: int | None, value: Any) -> None:
        self.queue.put(value)

    def _next(self) -> Any:
        value = self.queue.get()
        if value is _END:
            self._end()
        return value

    def _end(self) -> None:
        self.finished = True
        self.get(block=False)  # raises what the iterable did
        raise StopIteration


_END = object()


class IMap(IMapUnordered):
    """Results in the order of the items."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._early: dict[int | None, Any] = {}  # not yet their turn
        self.index = 0  # of the next one

    def _put(self, number: int | None, value: Any) -> None:
        self.queue.put((number, value))

    def _next(self) -> Any:
        while self.index not in self._early:
            number, value = self.queue.get()
            if number == self.index:
                self.index += 1
                return value
            if value is _END:
                self._end()
            self._early[number] = value
        value = self._early.pop(self.index)
        self.index += 1
        return value
