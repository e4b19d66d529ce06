"""Timers of the hub: something to be called later.

A timer is called in the hub's greenlet, once. It may be cancelled until then,
by code of its thread.
"""

from __future__ import annotations

import io
import traceback
from collections.abc import Callable
from typing import Any

from coir._core import getcurrent

__all__ = ["LocalTimer", "Timer"]

#: Whether timers keep the stack of who made them.
_g_debug = False


class Timer:
    """Calls ``cb(*args, **kw)`` `seconds` after it was scheduled."""

    _handle: Any = None
    _stamp = 0

    def __init__(
        self, seconds: float, cb: Callable[..., Any], *args: Any, **kw: Any
    ) -> None:
        self.seconds = seconds
        self.tpl = cb, args, kw
        self.called = False
        if _g_debug:
            self.traceback = io.StringIO()
            traceback.print_stack(file=self.traceback)

    @property
    def pending(self) -> bool:
        """Whether it was neither called nor cancelled."""
        return not self.called

    def __repr__(self) -> str:
        seconds = getattr(self, "seconds", None)
        cb, args, kw = getattr(self, "tpl", (None, None, None))
        text = f"Timer({seconds}, {cb}, *{args}, **{kw})"
        if hasattr(self, "traceback"):
            text += "\n" + self.traceback.getvalue()
        return text

    def copy(self) -> Any:
        """Another one that does the same, not scheduled."""
        cb, args, kw = self.tpl
        return type(self)(self.seconds, cb, *args, **kw)

    def schedule(self) -> Any:
        """Start it in the hub of this thread; returns itself."""
        from . import get_hub

        self.called = False
        self.scheduled_time = get_hub().add_timer(self)
        return self

    def __call__(self, *args: Any) -> None:
        if self.called:
            return
        self.called = True
        cb, params, kw = self.tpl
        try:
            cb(*params, **kw)
        finally:
            self._forget()

    def cancel(self) -> None:
        """Do not call it; nothing, if that has happened."""
        if self.called:
            return
        self.called = True
        from . import get_hub

        get_hub().timer_canceled(self)
        self._forget()

    def _forget(self) -> None:
        self.__dict__.pop("tpl", None)

    def __lt__(self, other: Any) -> bool:
        return id(self) < id(other)


class LocalTimer(Timer):
    """The same, but not if the greenlet that made it has ended."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.greenlet: Any = getcurrent()
        super().__init__(*args, **kwargs)

    @property
    def pending(self) -> bool:
        """Whether it is going to be called, as far as can be seen."""
        if self.greenlet is None or self.greenlet.dead:
            return False
        return not self.called

    def __call__(self, *args: Any) -> None:
        if self.called:
            return
        if self.greenlet is not None and self.greenlet.dead:
            self.called = True
            return
        super().__call__(*args)

    def cancel(self) -> None:
        """Do not call it; nothing, if that has happened."""
        self.greenlet = None
        super().cancel()
