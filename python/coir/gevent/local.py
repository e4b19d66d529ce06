"""Attributes of which each greenlet has its own, ``gevent.local``.

As with :class:`threading.local`, a subclass's ``__init__`` is called with the
arguments of the constructor in each greenlet that uses the object, and what
its ``__slots__`` name is shared by all. What a greenlet has in a local goes
when the greenlet ends, even if somebody still refers to the greenlet. A local
may be used in any thread.

    >>> import gevent
    >>> from gevent.local import local
    >>> current = local()
    >>> current.user = "ada"
    >>> def elsewhere():
    ...     seen = hasattr(current, "user")
    ...     current.user = "grace"
    ...     return seen, current.user
    >>> gevent.spawn(elsewhere).get()
    (False, 'grace')
    >>> current.user
    'ada'

A subclass gives each greenlet something to begin with, and may share the rest:

    >>> class Request(local):
    ...     __slots__ = ("total",)
    ...     def __init__(self, **start):
    ...         self.__dict__.update(start)
    >>> request = Request(retries=3)
    >>> request.retries -= 1
    >>> request.total = 10
    >>> def look():
    ...     return request.retries, request.total
    >>> look(), gevent.spawn(look).get()
    ((2, 10), (3, 10))
    >>> del request.retries
    >>> request.retries
    Traceback (most recent call last):
    ...
    AttributeError: 'Request' object has no attribute 'retries'
"""

from coir._core import all_local_dicts_for_greenlet, local  # noqa: F401

__all__ = [
    "local",
]
