"""Small numbers for objects that come and go."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from typing import Any
from weakref import ref

__all__ = ["IdentRegistry"]


class IdentRegistry:
    """Numbers objects from 0 up, and gives the numbers of dead ones again.

    The smallest number that is free comes first, so that the numbers of
    objects of which there are few at a time stay small. Objects need a hash
    and weak references, and two that are equal count as one.

    Any thread.
    """

    def __init__(self) -> None:
        self._numbers: dict[ref[Any], int] = {}
        self._free: list[int] = []
        self._unused = count()

    def get_ident(self, obj: object) -> int:
        """The number of the object, which is given one if it has none."""
        number = self._numbers.get(ref(obj))
        if number is None:
            try:
                number = heappop(self._free)
            except IndexError:
                number = next(self._unused)
            self._numbers[_watch(obj, self._numbers, self._free)] = number
        return number

    def __len__(self) -> int:
        """How many objects have a number."""
        return len(self._numbers)


def _watch(obj: Any, numbers: dict[Any, int], free: list[int]) -> ref[Any]:
    # Does not keep the registry alive.
    return ref(obj, lambda dead: heappush(free, numbers.pop(dead)))
