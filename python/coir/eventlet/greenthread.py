"""Green threads: spawning them, waiting, ending them."""

from __future__ import annotations

import sys
import warnings
from collections import deque
from collections.abc import Callable
from typing import Any

from coir._core import GreenletExit, getcurrent, greenlet

from . import event, hubs, support, timeout
from .hubs import timer

__all__ = [
    "getcurrent",
    "sleep",
    "spawn",
    "spawn_n",
    "kill",
    "spawn_after",
    "spawn_after_local",
    "GreenThread",
]


def sleep(seconds: float = 0) -> None:
    hub = hubs.get_hub()
    current: Any = getcurrent()
    if hub.greenlet is current:
        if seconds <= 0:
            return
        raise RuntimeError("do not call blocking functions from the mainloop")
    t = hub.schedule_call_global(seconds, current.switch)
    try:
        hub.switch()
    finally:
        t.cancel()


def spawn(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return spawn_after(0, func, *args, **kwargs)


def spawn_n(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return _spawn_n(0, func, args, kwargs)[1]


def spawn_after(seconds: float, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    hub = hubs.get_hub()
    g = GreenThread(hub.greenlet)
    hub.schedule_call_global(seconds, g.switch, func, args, kwargs)
    return g


def spawn_after_local(seconds: float, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    hub = hubs.get_hub()
    g = GreenThread(hub.greenlet)
    hub.schedule_call_local(seconds, g.switch, func, args, kwargs)
    return g


def _spawn_n(seconds: float, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    hub = hubs.get_hub()
    g = greenlet(func, hub.greenlet)
    return hub.schedule_call_global(seconds, g.switch, *args, **kwargs), g


class GreenThread(greenlet):
    def __init__(self, parent: Any) -> None:
        super().__init__(self.main, parent)
        self._exit_event = event.Event()
        self._resolving_links = False
        self._exit_funcs: Any = None

    def wait(self) -> Any:
        return self._exit_event.wait()

    def link(self, func: Any, *args: Any, **kwargs: Any) -> None:
        if self._exit_funcs is None:
            self._exit_funcs = deque()
        self._exit_funcs.append((func, args, kwargs))
        if self._exit_event.ready():
            self._resolve_links()

    def unlink(self, func: Any, *args: Any, **kwargs: Any) -> bool:
        try:
            self._exit_funcs.remove((func, args, kwargs))
        except (ValueError, AttributeError):
            return False
        return True

    def main(self, function: Any, args: Any, kwargs: Any) -> None:
        try:
            result = function(*args, **kwargs)
        except BaseException:
            self._exit_event.send_exception(*sys.exc_info())
            self._resolve_links()
            raise
        self._exit_event.send(result)
        self._resolve_links()

    def _resolve_links(self) -> None:
        if self._resolving_links or not self._exit_funcs:
            return
        self._resolving_links = True
        try:
            while self._exit_funcs:
                f, args, kwargs = self._exit_funcs.popleft()
                f(self, *args, **kwargs)
        finally:
            self._resolving_links = False

    def kill(self, *throw_args: Any) -> Any:
        return kill(self, *throw_args)

    def cancel(self, *throw_args: Any) -> Any:
        return cancel(self, *throw_args)


def cancel(g: Any, *throw_args: Any) -> None:
    if not g:
        kill(g, *throw_args)


def kill(g: Any, *throw_args: Any) -> None:
    if g.dead:
        return
    hub = hubs.get_hub()
    if not g:
        def just_raise(*args: Any, **kwargs: Any) -> None:
            if throw_args:
                raise throw_args[1].with_traceback(throw_args[2])
            raise GreenletExit()

        g.run = just_raise
        if isinstance(g, GreenThread):
            try:
                g.main(just_raise, (), {})
            except BaseException:
                pass
    current: Any = getcurrent()
    if current is not hub.greenlet:
        hub.ensure_greenlet()
        hub.schedule_call_global(0, current.switch)
    g.throw(*throw_args)
