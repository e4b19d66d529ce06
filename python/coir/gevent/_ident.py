"""Small numbers for objects that come and go."""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import Any
from weakref import ref

__all__ = ["IdentRegistry"]


class IdentRegistry:
    """Numbers objects from 0 up, and gives the numbers of dead ones again.

    There are as many numbers as there were objects at a time, so they stay
    small. Of those that are free, the one that has been so for longest is
    next: in a log, it is not soon taken for the dead one's. Objects need a
    hash and weak references, and two that are equal count as one.

    Any thread.
    """

    def __init__(self) -> None:
        self._numbers: dict[ref[Any], int] = {}
        self._free: deque[int] = deque()
        self._unused = count()

    def get_ident(self, obj: object) -> int:
        """The number of the object, which is given one if it has none."""
        number = self._numbers.get(ref(obj))
        if number is None:
            try:
                number = self._free.popleft()
            except IndexError:
                number = next(self._unused)
            self._numbers[_watch(obj, self._numbers, self._free)] = number
        return number

    def __len__(self) -> int:
        """How many objects have a number."""
        return len(self._numbers)


def _watch(obj: Any, numbers: dict[Any, int], free: deque[int]) -> ref[Any]:
    # Does not keep the registry alive.
    return ref(obj, lambda dead: free.append(numbers.pop(dead)))
