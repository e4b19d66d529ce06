"""Queues between greenlets, ``gevent.queue``.

As the standard library's queues, and besides: ``peek()``, ``copy()``, items
given to the constructor, and iteration, which ends at the class
``StopIteration`` as an item. :class:`Channel` hands over item by item and
holds none. All may be used from native threads, too, and from callbacks in
the hub, where nothing waits: what cannot be done at once raises
:exc:`Empty` or :exc:`Full`.

Who is killed, or runs out of time, while it waits has not taken an item, and
has not put one.

    >>> import gevent
    >>> from gevent.queue import PriorityQueue, Queue
    >>> work, done = Queue(maxsize=2), Queue()
    >>> def worker():
    ...     for number in work:
    ...         done.put(number * number)
    >>> team = [gevent.spawn(worker) for _ in range(2)]
    >>> for number in range(5):
    ...     work.put(number)
    >>> for _ in team:
    ...     work.put(StopIteration)
    >>> _ = gevent.joinall(team)
    >>> sorted(done.get_nowait() for _ in range(done.qsize()))
    [0, 1, 4, 9, 16]

    >>> urgent = PriorityQueue(items=[(2, "later"), (1, "now")])
    >>> urgent.peek(), urgent.qsize()
    ((1, 'now'), 2)
    >>> [text for _, text in (urgent.get(), urgent.get())]
    ['now', 'later']
"""

from __future__ import annotations

import sys
from queue import Empty, Full
from typing import TYPE_CHECKING, Any

from coir._core import Channel, LifoQueue, PriorityQueue, Queue, SimpleQueue

from ._waiter import Waiter

if sys.version_info >= (3, 13):
    from queue import ShutDown
else:
    from coir._core import ShutDown

if TYPE_CHECKING:
    from collections.abc import Iterable

__implements__ = ["Queue", "PriorityQueue", "LifoQueue", "SimpleQueue"]
__imports__ = ["Empty", "Full"]
__extensions__ = ["JoinableQueue", "Channel"]
# Python's own, where it has one.
(__imports__ if sys.version_info >= (3, 13) else __extensions__).append(
    "ShutDown"
)
__all__ = __implements__ + __extensions__ + __imports__

JoinableQueue = Queue


class ItemWaiter(Waiter):
    """A waiter for room in a queue, with the item that is to go there."""

    __slots__ = ("item", "queue")

    def __init__(self, item: Any, queue: Any) -> None:
        super().__init__()
        self.item = item
        self.queue = queue

    def put_and_switch(self) -> Any:
        """There is room: put the item, and wake who waits, with this."""
        item, queue = self.item, self.queue
        self.item = self.queue = None
        queue._put(item)
        return self.switch(self)


class UnboundQueue(Queue[Any]):
    """A queue without a limit, so that put() never waits."""

    def __init__(
        self,
        maxsize: None = None,
        items: Iterable[Any] = (),
        unfinished_tasks: int | None = None,
    ) -> None:
        if maxsize is not None:
            raise ValueError("UnboundQueue has no maxsize")
        super().__init__(None, items, unfinished_tasks)
