"""Green threads that wait for each other's results.

Each has a key, and the keys of those whose results it needs. It begins at
once, and gets those results by iterating, as they come.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from coir._core import getcurrent

from . import event, greenthread
from .event import Event  # noqa: F401

__all__ = ["Collision", "DAGPool", "PropagateError"]

_MISSING: Any = object()


class Collision(Exception):
    """The key is in use."""


class PropagateError(Exception):
    """The green thread of `key` failed with `exc`."""

    def __init__(self, key: Any, exc: BaseException) -> None:
        self.msg = f"PropagateError({key}): {type(exc).__name__}: {exc}"
        super().__init__(key, exc)
        self.key = key
        self.exc = exc

    def __str__(self) -> str:
        return self.msg


def _raised(value: Any) -> Any:
    if isinstance(value, PropagateError):
        raise value
    return value


class DAGPool:
    """Results by key, and the green threads that bring them.

    :param preload: results that are there already: a dict, or pairs.
    """

    _Coro = collections.namedtuple("_Coro", ("greenthread", "pending"))

    def __init__(self, preload: Any = {}) -> None:  # noqa: B006
        pairs = preload.items() if hasattr(preload, "items") else preload
        self.values: dict[Any, Any] = dict(pairs)
        self.coros: dict[Any, Any] = {}
        self.event = event.Event()  # of the next result, whichever it is

    # --- waiting

    def _wanted(self, keys: Any) -> set[Any]:
        if keys is _MISSING:
            return self.coros.keys() | self.values.keys()
        return set(keys)

    def _each(self, pending: set[Any]) -> Iterator[tuple[Any, Any]]:
        """Pairs as they come; takes their keys out of `pending`."""
        while pending:
            there = [key for key in pending if key in self.values]
            for key in there:
                pending.discard(key)
                yield key, self.values[key]
            if pending and not any(key in self.values for key in pending):
                self.event.wait()

    def _each_good(self, pending: set[Any]) -> Iterator[tuple[Any, Any]]:
        for key, value in self._each(pending):
            yield key, _raised(value)

    def wait_each(self, keys: Any = _MISSING) -> Iterator[tuple[Any, Any]]:
        """Give (key, result) of each of `keys` as it comes; by default of
        all that are known now. An error is raised as `PropagateError`."""
        return self._each_good(self._wanted(keys))

    def wait_each_success(
        self, keys: Any = _MISSING
    ) -> Iterator[tuple[Any, Any]]:
        """The same, but those that failed are left out."""
        for key, value in self._each(self._wanted(keys)):
            if not isinstance(value, PropagateError):
                yield key, value

    def wait_each_exception(
        self, keys: Any = _MISSING
    ) -> Iterator[tuple[Any, Any]]:
        """Give (key, PropagateError) of those that fail."""
        for key, value in self._each(self._wanted(keys)):
            if isinstance(value, PropagateError):
                yield key, value

    def wait(self, keys: Any = _MISSING) -> dict[Any, Any]:
        """Wait for the results of `keys`, by default of all; as a dict."""
        return dict(self.wait_each(keys))

    def waitall(self) -> dict[Any, Any]:
        """Wait for all results; as a dict."""
        return self.wait()

    def __getitem__(self, key: Any) -> Any:
        return self.wait((key,))[key]

    # --- running

    def spawn(
        self,
        key: Any,
        depends: Iterable[Any],
        function: Callable[..., Any],
        *args: Any,
        **kwds: Any,
    ) -> None:
        """Run ``function(key, results, *args, **kwds)`` in a green thread.

        `results` iterates over the pairs of the keys `depends`, as
        `wait_each` does. What it returns is the result of `key`.

        :raises Collision: if there is a result, or a green thread, of it.
        """
        if key in self.coros or key in self.values:
            raise Collision(key)
        pending = set(depends)
        thread = greenthread.spawn(
            self._wrapper,
            function,
            key,
            self._each_good(pending),
            *args,
            **kwds,
        )
        self.coros[key] = self._Coro(thread, pending)

    def _wrapper(
        self,
        function: Callable[..., Any],
        key: Any,
        results: Any,
        *args: Any,
        **kwds: Any,
    ) -> Any:
        try:
            value = function(key, results, *args, **kwds)
        except Exception as exc:
            value = PropagateError(key, exc)
        finally:
            # Of one that was killed, kill() does it.
            self.coros.pop(key, None)
        try:
            self.post(key, value)
        except Collision:
            pass  # it has posted one itself
        return value

    def spawn_many(
        self,
        depends: Mapping[Any, Iterable[Any]],
        function: Callable[..., Any],
        *args: Any,
        **kwds: Any,
    ) -> None:
        """`spawn` one for each key of `depends`, with what that maps to."""
        for key, needed in depends.items():
            self.spawn(key, needed, function, *args, **kwds)

    def kill(self, key: Any) -> None:
        """Kill the green thread of `key`; KeyError if there is none."""
        thread = self.coros[key].greenthread
        thread.kill()
        self.coros.pop(key, None)

    def post(self, key: Any, value: Any, replace: bool = False) -> None:
        """Set the result of `key`.

        :param replace: also if there is one.
        :raises Collision: if there is one, or another green thread brings it.
        """
        coro = self.coros.get(key)
        if coro is not None and coro.greenthread is not getcurrent():
            raise Collision(key)
        if key in self.values and not replace:
            raise Collision(key)
        self.values[key] = value
        told, self.event = self.event, event.Event()
        told.send()

    # --- looking

    def get(self, key: Any, default: Any = None) -> Any:
        """The result of `key`, or `default` if there is none yet."""
        return _raised(self.values.get(key, default))

    def keys(self) -> tuple[Any, ...]:
        """The keys that have results."""
        return tuple(self.values)

    def items(self) -> tuple[tuple[Any, Any], ...]:
        """The same, with the results."""
        return tuple((k, _raised(v)) for k, v in self.values.items())

    def running(self) -> int:
        """How many green threads have not ended."""
        return len(self.coros)

    def running_keys(self) -> tuple[Any, ...]:
        """Their keys."""
        return tuple(self.coros)

    def waiting(self) -> int:
        """How many of them wait for results."""
        return len(self.waiting_for())

    def waiting_for(self, key: Any = _MISSING) -> Any:
        """The keys whose results the green thread of `key` waits for, as a
        set; without `key`, of all that wait, as a dict of sets.

        :raises KeyError: if the key is not known.
        """
        if key is _MISSING:
            found = {k: self._missing(k) for k in self.coros}
            return {k: missing for k, missing in found.items() if missing}
        if key in self.coros:
            return self._missing(key)
        self.values[key]
        return set()

    def _missing(self, key: Any) -> set[Any]:
        pending: set[Any] = self.coros[key].pending
        return pending - self.values.keys()
