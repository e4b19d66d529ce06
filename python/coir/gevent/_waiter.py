"""Where one greenlet waits for what callbacks bring.

A `MultipleWaiter` is brought more than one thing:

    >>> from gevent._waiter import MultipleWaiter
    >>> parcels = MultipleWaiter()
    >>> for name in "one", "two":
    ...     parcels.switch(name)
    >>> parcels.get(), parcels.get()
    ('one', 'two')
"""

from __future__ import annotations

from coir._core import MultipleWaiter, Waiter

__all__ = ["Waiter", "MultipleWaiter"]
