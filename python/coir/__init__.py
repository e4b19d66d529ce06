"""Coir: green threads on a C engine.

Its own API is small: :func:`spawn`, :class:`Nursery`, :class:`deadline`,
:func:`sleep`, locks, events and queues; see the guide. ``coir.greenlet``
offers greenlet's API, ``coir.gevent`` and ``coir.eventlet`` those of gevent
and eventlet. :func:`install_as` makes them answer to the names of these as
well, so that programs written for them run on Coir unchanged.

Importing this package loads no C code and changes nothing; the first use of
one of its names loads the engine.
"""

from typing import TYPE_CHECKING

from coir._alias import install_as

if TYPE_CHECKING:
    from coir._native import (
        Cancelled,
        Event,
        GreenThread,
        Lock,
        Nursery,
        Queue,
        RLock,
        Semaphore,
        blocking,
        deadline,
        dump,
        local,
        run_async,
        shield,
        sleep,
        spawn,
    )

__version__ = "0.1.0"

__all__ = [
    "Cancelled",
    "Event",
    "GreenThread",
    "Lock",
    "Nursery",
    "Queue",
    "RLock",
    "Semaphore",
    "__version__",
    "blocking",
    "deadline",
    "dump",
    "install_as",
    "local",
    "run_async",
    "shield",
    "sleep",
    "spawn",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from coir import _native

    value = globals()[name] = getattr(_native, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
