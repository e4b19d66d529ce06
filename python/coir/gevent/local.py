"""Attributes of which each greenlet has its own, ``gevent.local``.

As with :class:`threading.local`, a subclass's ``__init__`` is called with the
arguments of the constructor in each greenlet that uses the object, and what
its ``__slots__`` name is shared by all. What a greenlet has in a local goes
when the greenlet ends, even if somebody still refers to the greenlet. A local
may be used in any thread.
"""

from coir._core import all_local_dicts_for_greenlet, local  # noqa: F401

__all__ = [
    "local",
]
