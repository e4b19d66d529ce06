"""gevent's Greenlet, and waiting for several of them or killing them.

The type is ``coir._core.Greenlet``: the greenlet that most programs are made
of, spawned by ``gevent.spawn()``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from coir._core import (  # noqa: F401
    FailureSpawnedLink,
    Greenlet,
    GreenletExit,
    SpawnedLink,
    SuccessSpawnedLink,
    getcurrent,
    greenlet,
    iwait,
    set_copy_context,
    set_track_greenlet_tree,
    wait,
)

from ._config import config
from ._hub_local import get_hub
from ._waiter import Waiter
from .timeout import Timeout

__all__ = ["Greenlet", "joinall", "killall"]

set_track_greenlet_tree(config.track_greenlet_tree)
set_copy_context(config.copy_context)


# By these names gevent's own code, and what extends it, asks for the like.


def get_generic_parent(s: Any) -> Any:
    """The parent of a greenlet; of a Greenlet this is its hub."""
    return s.parent


get_my_hub = get_generic_parent


def Gevent_PyFrame_GetBack(frame: Any) -> Any:
    """Its caller's frame."""
    return frame.f_back


def Gevent_PyFrame_GetCode(frame: Any) -> Any:
    """What it runs."""
    return frame.f_code


def Gevent_PyFrame_GetLineNumber(frame: Any) -> Any:
    """Where it is."""
    return frame.f_lineno


def joinall(
    greenlets: Any,
    timeout: float | None = None,
    raise_error: bool = False,
    count: int | None = None,
) -> list[Any]:
    """Wait until the greenlets have ended.

    :param greenlets: a sequence of them.
    :param timeout: seconds for all of it; None for no limit.
    :param raise_error: raise the first error that ends one of them, as soon
        as it does. Else errors stay with the greenlets.
    :param count: how many to wait for at most; None for all.
    :returns: a list of those that have ended, in that order.
    """
    if not raise_error:
        ended: list[Any] = wait(greenlets, timeout, count)
        return ended
    ended = []
    with iwait(greenlets, timeout, count) as ending:
        for g in ending:
            if getattr(g, "exception", None) is not None:
                if hasattr(g, "_raise_exception"):
                    g._raise_exception()
                raise g.exception
            ended.append(g)
    return ended


def _throw_into_all(greenlets: Iterable[Any], exception: Any) -> list[Any]:
    """In the hub: returns those that have not ended by it."""
    alive = []
    for g in greenlets:
        if g.dead:
            continue
        try:
            g.throw(exception)
        except BaseException as exc:
            get_hub().handle_error(g, type(exc), exc, exc.__traceback__)
        if not g.dead:
            alive.append(g)
    return alive


def _killall_and_tell(
    greenlets: list[Any], exception: Any, waiter: Waiter
) -> None:
    left = _throw_into_all(greenlets, exception)
    # The hub stays in here until somebody waits again: it must not keep them.
    greenlets.clear()
    waiter.switch(left)


def killall(
    greenlets: Iterable[Any],
    exception: Any = GreenletExit,
    block: bool = True,
    timeout: float | None = None,
) -> None:
    """Have `exception` raised in all the greenlets, which are of this thread.

    Those that never ran never will. Plain greenlets may be among them.

    :param block: wait until all have ended, also those that catch the
        exception.
    :param timeout: seconds for that; None for no limit.
    :raises Timeout: if they have not ended by then.
    """
    alive = []
    for g in greenlets:
        # First of all, so that none begins while others are killed.
        before_start = getattr(g, "_maybe_kill_before_start", None)
        if before_start is None or not before_start(exception):
            alive.append(g)
    if not alive:
        return
    loop = get_hub().loop
    if not block:
        loop.run_callback(_throw_into_all, alive, exception)
        return
    waiter = Waiter()
    loop.run_callback(_killall_and_tell, alive, exception, waiter)
    timer = Timeout._start_new_or_dummy(timeout)
    try:
        left = waiter.get()
        if left:
            joinall(left)
    finally:
        timer.cancel()
