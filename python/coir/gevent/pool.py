"""Groups of greenlets, and pools: groups of a limited size.

A :class:`Group` knows the greenlets that run in it, can wait for them or kill
them, and maps functions over iterables by one greenlet for each item. A
:class:`Pool` lets no more than so many run at a time: who would add another
one waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from coir._core import GreenletExit, GroupBase, getcurrent

from ._imap import IMap, IMapUnordered
from .event import Event
from .greenlet import Greenlet, joinall
from .hub import kill as _kill
from .lock import DummySemaphore, Semaphore
from .queue import Full as QueueFull
from .timeout import Timeout

__all__ = ["Group", "Pool", "PoolFull"]


class GroupMappingMixin:
    """Calling functions by ``spawn()``; for groups, and for thread pools."""

    __slots__ = ()

    def spawn(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        """Run ``func(*args, **kwargs)``; returns what has its result.

        That has ``get()`` and ``rawlink()``. May block while this is full.
        """
        raise NotImplementedError

    def _apply_immediately(self) -> bool:
        """Must apply() call the function itself, lest it wait for ever?"""
        raise NotImplementedError

    def _apply_async_use_greenlet(self) -> bool:
        """Would ``spawn()`` block?"""
        raise NotImplementedError

    def _apply_async_cb_spawn(self, callback: Any, result: Any) -> None:
        """Call ``callback(result)``, now or soon."""
        raise NotImplementedError

    def apply(self, func: Any, args: Any = None, kwds: Any = None) -> Any:
        """Run ``func(*args, **kwds)``, wait, and return what it returns.

        Blocks; raises what it raises. Within one of the group's own greenlets
        the function is simply called.
        """
        args = () if args is None else args
        kwds = {} if kwds is None else kwds
        if self._apply_immediately():
            return func(*args, **kwds)
        return self.spawn(func, *args, **kwds).get()

    def apply_cb(
        self,
        func: Any,
        args: Any = None,
        kwds: Any = None,
        callback: Any = None,
    ) -> Any:
        """The same; ``callback(result)`` is called, unless it has raised."""
        result = self.apply(func, args, kwds)
        if callback is not None:
            self._apply_async_cb_spawn(callback, result)
        return result

    def apply_async(
        self,
        func: Any,
        args: Any = None,
        kwds: Any = None,
        callback: Any = None,
    ) -> Any:
        """The same without waiting: returns a greenlet that has the result.

        Never blocks: where ``spawn()`` would, that greenlet does it, which is
        not one of the group's then.
        """
        args = () if args is None else args
        kwds = {} if kwds is None else kwds
        if self._apply_async_use_greenlet():
            return Greenlet.spawn(self.apply_cb, func, args, kwds, callback)
        g = self.spawn(func, *args, **kwds)
        if callback is not None:
            g.link(pass_value(callback))
        return g

    def map(self, func: Any, iterable: Iterable[Any]) -> list[Any]:
        """``[func(item) for item in iterable]``, one greenlet for each item.

        Blocks; raises the first error, in the order of the items.
        """
        # In a greenlet: this one can be left by a timeout without harm, and
        # one of the group's own can wait for it.
        results: list[Any] = Greenlet.spawn(self.__map, func, iterable).get()
        return results

    def __map(self, func: Any, iterable: Iterable[Any]) -> list[Any]:
        # Those that have ended well, with none before them that runs, are
        # kept no longer. Errors wait until all have been spawned.
        spawn = self.spawn
        results: list[Any] = []
        greenlets: deque[Any] = deque()
        for item in iterable:
            greenlets.append(spawn(func, item))
            while greenlets and greenlets[0].successful():
                results.append(greenlets.popleft().value)
        results.extend([g.get() for g in greenlets])
        return results

    def map_cb(
        self, func: Any, iterable: Iterable[Any], callback: Any = None
    ) -> list[Any]:
        """The same, and ``callback(results)`` at the end."""
        results = self.map(func, iterable)
        if callback is not None:
            callback(results)
        return results

    def map_async(
        self, func: Any, iterable: Iterable[Any], callback: Any = None
    ) -> Any:
        """The same without waiting: returns a greenlet that has the list."""
        return Greenlet.spawn(self.map_cb, func, iterable, callback)

    def imap(
        self, func: Any, *iterables: Iterable[Any], maxsize: int | None = None
    ) -> Any:
        """Like the builtin `map`: an iterator, in the order of the items.

        The iterables are read, and greenlets spawned, ahead of who iterates:

        :param maxsize: no further than that; None for no limit. To be sure of
            the order more may have to be kept; see `imap_unordered`.
        """
        return self.__imap(IMap, func, iterables, maxsize)

    def imap_unordered(
        self, func: Any, *iterables: Iterable[Any], maxsize: int | None = None
    ) -> Any:
        """The same in the order in which the results are ready; cheaper."""
        return self.__imap(IMapUnordered, func, iterables, maxsize)

    def __imap(
        self, cls: Any, func: Any, iterables: Any, maxsize: int | None
    ) -> Any:
        return cls.spawn(
            func,
            zip(*iterables),
            spawn=self.spawn,
            _zipped=True,
            maxsize=maxsize,
        )


class Group(GroupBase, GroupMappingMixin):
    """The greenlets of an iterable, and those it spawns, while they run.

    Has a length, can be iterated and searched; false while it is empty. What
    it does for each greenlet, from ``spawn()`` to the end, is in the engine.
    """

    #: What `spawn` makes; classes and instances may have their own.
    greenlet_class: Any = Greenlet

    def __init__(self, *args: Iterable[Any]) -> None:
        if len(args) > 1:
            raise TypeError("Group() takes one iterable of greenlets at most")
        self._empty_event = Event()
        self._empty_event.set()
        for g in args[0] if args else ():
            self.add(g)

    def __repr__(self) -> str:
        name = self.__class__.__name__
        return f"<{name} at {id(self):#x} {self.greenlets}>"

    def join(
        self, timeout: float | None = None, raise_error: bool = False
    ) -> Any:
        """Wait until the group is empty, once: others may be added again.

        :param timeout: seconds; None for no limit.
        :param raise_error: raise the error of one that is in the group now,
            if there is one.
        :returns: whether it was empty in time.
        """
        greenlets = list(self.greenlets) if raise_error else ()
        empty = self._empty_event.wait(timeout=timeout)
        for g in greenlets:
            if g.exception is not None:
                if hasattr(g, "_raise_exception"):
                    g._raise_exception()
                raise g.exception
        return empty

    def kill(
        self,
        exception: Any = GreenletExit,
        block: bool = True,
        timeout: float | None = None,
    ) -> None:
        """Have `exception` raised in all of the group.

        :param block: wait until it is empty; who was added meanwhile is
            killed, too.
        :param timeout: seconds for that, after which it returns as well.
        """
        timer = Timeout._start_new_or_dummy(timeout)
        try:
            while self.greenlets:
                for g in list(self.greenlets):
                    if g in self.dying:
                        continue
                    kill = getattr(g, "kill", None)
                    if kill is not None:
                        kill(exception, block=False)
                    else:
                        _kill(g, exception)
                    self.dying.add(g)
                if not block:
                    break
                joinall(self.greenlets)
        except Timeout as exc:
            if exc is not timer:
                raise
        finally:
            timer.cancel()

    def killone(
        self,
        greenlet: Any,
        exception: Any = GreenletExit,
        block: bool = True,
        timeout: float | None = None,
    ) -> None:
        """Kill one greenlet, if it is of the group and not being killed."""
        if greenlet in self.dying or greenlet not in self.greenlets:
            return
        greenlet.kill(exception, block=False)
        self.dying.add(greenlet)
        if block:
            greenlet.join(timeout)

    def full(self) -> bool:
        """Would `add` block? Never, in a group."""
        return False

    def wait_available(self, timeout: float | None = None) -> Any:
        """Wait until `add` would not block: no time, in a group."""

    def _apply_immediately(self) -> bool:
        # Its greenlet may be the last one that fits in.
        return getcurrent() in self

    def _apply_async_cb_spawn(self, callback: Any, result: Any) -> None:
        Greenlet.spawn(callback, result)

    def _apply_async_use_greenlet(self) -> bool:
        return self.full()


class PoolFull(QueueFull):
    """The pool was full, and no longer was to be waited."""


class Pool(Group):
    """A group of `size` greenlets at most.

    :param size: None for any number; 0 for a pool that is always full.
    :param greenlet_class: what `spawn` makes.
    """

    def __init__(
        self, size: int | None = None, greenlet_class: Any = None
    ) -> None:
        if size is not None and size < 0:
            raise ValueError(f"size must not be negative: {size!r}")
        super().__init__()
        self.size = size
        if greenlet_class is not None:
            self.greenlet_class = greenlet_class
        self._semaphore: Any = (
            DummySemaphore() if size is None else Semaphore(size)
        )

    def wait_available(self, timeout: float | None = None) -> Any:
        """Wait until there is room for one more greenlet.

        :param timeout: seconds; None for no limit.
        :returns: for how many there is, 0 after the timeout.
        """
        return self._semaphore.wait(timeout=timeout)

    def full(self) -> bool:
        """Would `add` block?"""
        return self.free_count() <= 0

    def free_count(self) -> int:
        """How many more greenlets fit in now; 1 if any number does."""
        if self.size is None:
            return 1
        return max(0, self.size - len(self))


class pass_value:
    """A link that calls a callback with the value, if there is one.

    Equal to the callback, so that it can be unlinked by that.
    """

    __slots__ = ["callback"]

    def __init__(self, callback: Callable[[Any], Any]) -> None:
        self.callback = callback

    def __call__(self, source: Any) -> None:
        if source.successful():
            self.callback(source.value)

    def __hash__(self) -> int:
        return hash(self.callback)

    def __eq__(self, other: object) -> bool:
        return bool(self.callback == getattr(other, "callback", other))

    def __str__(self) -> str:
        return str(self.callback)

    def __repr__(self) -> str:
        return repr(self.callback)

    def __getattr__(self, item: str) -> Any:
        if item == "callback":
            raise AttributeError(item)
        return getattr(self.callback, item)
