"""One result for any number of green threads that wait for it.

Unlike a queue, it is sent once, and sending never blocks. The engine's type
may be sent to from any thread.
"""

from coir._core import EV_NOT_USED as NOT_USED
from coir._core import EvEvent as Event

__all__ = ["NOT_USED", "Event"]
