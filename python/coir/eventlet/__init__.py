"""eventlet's API on Coir's engine.

Green threads, pools and a network library for unchanged programs:
``coir.eventlet`` has the modules, names and signatures of eventlet 0.41, see
docs/guide/coming-from-eventlet.md.
"""

from __future__ import annotations

from coir._core import getcurrent as getcurrent

from . import (
    convenience,
    event,
    greenpool,
    greenthread,
    patcher,
    queue,
    semaphore,
    support,
    timeout,
)
from .support import greenlets as greenlet  # noqa: F401

#: The eventlet whose API this is.
__version__ = "0.41.3"

Event = event.Event

sleep = greenthread.sleep
spawn = greenthread.spawn
spawn_n = greenthread.spawn_n
spawn_after = greenthread.spawn_after
kill = greenthread.kill

GreenPool = greenpool.GreenPool
GreenPile = greenpool.GreenPile

Queue = queue.Queue

Semaphore = semaphore.Semaphore
CappedSemaphore = semaphore.CappedSemaphore
BoundedSemaphore = semaphore.BoundedSemaphore

Timeout = timeout.Timeout
with_timeout = timeout.with_timeout
wrap_is_timeout = timeout.wrap_is_timeout
is_timeout = timeout.is_timeout

connect = convenience.connect
listen = convenience.listen
serve = convenience.serve
wrap_ssl = convenience.wrap_ssl
StopServe = convenience.StopServe

import_patched = patcher.import_patched
monkey_patch = patcher.monkey_patch

# Old names.
TimeoutError = support.wrap_deprecated(  # noqa: A001
    "TimeoutError", "Timeout"
)(Timeout)
exc_after = support.wrap_deprecated("exc_after", "greenthread.exc_after")(
    greenthread.exc_after
)
call_after_global = support.wrap_deprecated(
    "call_after_global", "greenthread.call_after_global"
)(greenthread.call_after_global)


class EventletDeprecationWarning(Warning):
    """What eventlet says of itself when it is imported; Coir does not."""
