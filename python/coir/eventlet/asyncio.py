"""Green threads and asyncio in one thread.

Needs the hub of that name, see `coir.eventlet.hubs.asyncio`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from coir._core import GreenletExit, getcurrent

from .event import Event
from .greenthread import spawn
from .hubs import get_hub  # noqa: F401
from .hubs.asyncio import Hub as AsyncioHub  # noqa: F401
from .hubs.asyncio import running_hub

__all__ = ["spawn_for_awaitable"]


def spawn_for_awaitable(coroutine: Awaitable[Any]) -> Any:
    """Start what can be awaited, and return a `GreenThread` that ends with
    its result.

    Killing that cancels it. It runs as a task of the hub's loop, so what it
    waits for should be asyncio's.

    :raises RuntimeError: if the hub is another.
    """
    loop = running_hub().loop

    def wait() -> Any:
        future: Any = asyncio.ensure_future(coroutine, loop=loop)  # type: ignore[call-overload]

        def killed(gt: Any) -> None:
            try:
                gt.wait()
            except GreenletExit:
                future.cancel()
            except BaseException:
                pass

        current: Any = getcurrent()
        current.link(killed)
        ended = Event()
        future.add_done_callback(lambda _: ended.send(True))
        ended.wait()
        return future.result()

    return spawn(wait)
