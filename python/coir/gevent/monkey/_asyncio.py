"""Loops of asyncio that wait as green threads do: gevent's or eventlet's.

asyncio keeps which of its loops runs, and in Python 3.14 which task, for a
native thread. Here it is kept for a greenlet: what runs while a loop waits
was not called by it, may run another one, and is to set futures from outside
of it.
"""

from __future__ import annotations

import sys
from types import BuiltinFunctionType
from typing import Any

from coir._core import running_loop_setter

from ._state import is_object_patched
from .api import patch_item


def adopt() -> None:
    """Have each greenlet run a loop of its own; once.

    Does nothing if nobody has imported asyncio, or if that is without its
    extension.
    """
    asyncio: Any = sys.modules.get("asyncio")
    events: Any = sys.modules.get("asyncio.events")
    tasks: Any = sys.modules.get("asyncio.tasks")
    if (
        # All that is looked for below is there when this is.
        not hasattr(asyncio, "SelectorEventLoop")
        or is_object_patched("asyncio.events", "_set_running_loop")
        or not isinstance(events._set_running_loop, BuiltinFunctionType)
    ):
        return
    setter = running_loop_setter(
        events._set_running_loop,
        events._get_running_loop,
        tasks._swap_current_task if sys.version_info >= (3, 14) else None,
    )
    for module in (events, asyncio):
        patch_item(module, "_set_running_loop", setter)
    # Where select() is what waits, that is the first to be asked.
    loop = events._get_running_loop()
    threading: Any = sys.modules["asyncio.base_events"].threading
    if getattr(loop, "_thread_id", None) == threading.get_ident():
        setter(loop)
