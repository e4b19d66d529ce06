"""One result, for any number of green threads that wait for it."""

from __future__ import annotations

from typing import Any

from coir._core import getcurrent

from .hubs import get_hub

__all__ = ["Event"]


class _NotUsed:
    def __repr__(self) -> str:
        return "NOT_USED"


NOT_USED = _NotUsed()


class Event:
    _result: Any = None
    _exc: Any = None

    def __init__(self) -> None:
        self._waiters: set[Any] = set()
        self.reset()

    def reset(self) -> None:
        assert self._result is not NOT_USED, "Trying to re-reset() a fresh event."
        self._result = NOT_USED
        self._exc = None

    def ready(self) -> bool:
        return self._result is not NOT_USED

    def has_exception(self) -> bool:
        return self._exc is not None

    def has_result(self) -> bool:
        return self._result is not NOT_USED and self._exc is None

    def poll(self, notready: Any = None) -> Any:
        return self.wait() if self.ready() else notready

    def poll_exception(self, notready: Any = None) -> Any:
        return self.wait() if self.has_exception() else notready

    def poll_result(self, notready: Any = None) -> Any:
        return self.wait() if self.has_result() else notready

    def wait(self, timeout: Any = None) -> Any:
        current: Any = getcurrent()
        if not self.ready():
            hub = get_hub()
            timer = None
            self._waiters.add(current)
            if timeout is not None:
                timer = hub.schedule_call_local(
                    timeout, self._do_send, None, None, current
                )
            try:
                return hub.switch()
            finally:
                if timer is not None:
                    timer.cancel()
                self._waiters.discard(current)
        if self._exc is not None:
            current.throw(*self._exc)
        return self._result

    def send(self, result: Any = None, exc: Any = None) -> None:
        assert self._result is NOT_USED, "Trying to re-send() an already-triggered event."
        self._result = result
        if exc is not None and not isinstance(exc, tuple):
            exc = (exc,)
        self._exc = exc
        for waiter in self._waiters:
            get_hub().schedule_call_global(0, self._do_send, result, exc, waiter)

    def _do_send(self, result: Any, exc: Any, waiter: Any) -> None:
        if waiter in self._waiters:
            if exc is None:
                waiter.switch(result)
            else:
                waiter.throw(*exc)

    def send_exception(self, *args: Any) -> None:
        self.send(None, args)
