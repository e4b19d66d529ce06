"""Waiting for something to happen: a flag, or a value that will come.

Greenlets of all threads, and threads without any, may use the same object.

    >>> import gevent
    >>> from gevent.event import Event
    >>> started = Event()
    >>> waiting = [gevent.spawn(started.wait) for _ in range(3)]
    >>> started.is_set(), started.wait(timeout=0)
    (False, False)
    >>> started.set()
    >>> [greenlet.get() for greenlet in waiting]
    [True, True, True]
"""

from __future__ import annotations

from coir._core import AbstractLinkable, AsyncResult, Event

__all__ = ["Event", "AsyncResult"]
