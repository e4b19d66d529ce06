"""Who waits, for what, since when: the text of `LoopExit`.

The engine notes with each wait what kind of wait it is, the object and the
time, and a :class:`Greenlet` where it was spawned. When nothing can happen any
more that is the reason, and all there is to find it by.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from coir import _core
from coir._core import greenlet

__all__ = ["Waiting", "format_calls", "format_waiting", "waiting"]

# Enough to see by; a text for thousands is not read.
_MOST_GROUPS = 30
_MOST_FRAMES = 5
_LONGEST_REPR = 200

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class Waiting(NamedTuple):
    """A greenlet that waits."""

    #: Who.
    greenlet: Any
    #: In which call, such as "get"; "switch" if it was left by hand.
    what: str
    #: Of which object; None if there is none.
    object: Any
    #: For how long.
    seconds: float

    @property
    def ended_by(self) -> Any:
        """The one greenlet whose doing would end the wait, if that is known.

        The owner of a lock, or the greenlet that is joined.
        """
        if isinstance(self.object, greenlet):
            return self.object
        owner = getattr(self.object, "_owner", None)
        return owner if isinstance(owner, greenlet) else None


def waiting(loop: Any = None) -> list[Waiting]:
    """The greenlets of this thread that wait, the main greenlet first.

    :param loop: only those that wait in this loop.

    Those that are ready, and have not come to run yet, do not wait.
    """
    return [Waiting(*item) for item in _core.waits(loop)]


def format_waiting(loop: Any = None) -> str:
    """The same as a text of several lines; empty if nobody waits.

    Those who wait in the same place for the same thing are put together, and
    greenlets that wait for each other come first.
    """
    items = waiting(loop)
    if not items:
        return ""
    return "\n".join(_Text(items).lines())


def format_calls() -> dict[Any, str]:
    """For each greenlet of this thread that waits: in which call."""
    text = _Text([])
    return {item.greenlet: text.call(item, item.seconds) for item in waiting()}


class _Text:
    """Writes about items, which it gives numbers."""

    def __init__(self, items: list[Waiting]) -> None:
        self.items = items
        self.numbers = {
            item.greenlet: f"#{number}" for number, item in enumerate(items, 1)
        }

    def lines(self) -> list[str]:
        count = len(self.items)
        lines = [f"{count} greenlet{'s wait' if count > 1 else ' waits'}:"]
        lines += [self.cycle(cycle) for cycle in _cycles(self.items)]
        groups: dict[Any, list[Waiting]] = {}
        for item in self.items:
            groups.setdefault(_place(item), []).append(item)
        shown = 0
        for group in list(groups.values())[:_MOST_GROUPS]:
            lines += self.entry(group)
            shown += len(group)
        if shown < count:
            lines.append(f"* and {count - shown} more")
        return lines

    def cycle(self, cycle: list[Waiting]) -> str:
        names = [self.numbers[item.greenlet] for item in cycle]
        return "They wait for each other: " + ", ".join(
            f"{one} for {other}"
            for one, other in zip(names, names[1:] + names[:1])
        )

    def entry(self, group: list[Waiting]) -> list[str]:
        item = group[0]
        who = f"* {self.numbers[item.greenlet]} {_name(item.greenlet)}"
        if len(group) > 1:
            who += f" and {len(group) - 1} like it"
        seconds = max(item.seconds for item in group)
        lines = [
            who,
            f"      {self.call(item, seconds)}",
        ]
        lines += [f"      at {frame}" for frame in _frames(item.greenlet)]
        stack = _stack(getattr(item.greenlet, "spawning_stack", None))
        for frame in stack:
            lines.append(f"      spawned at {_format(frame)}")
            break
        return lines

    def call(self, item: Waiting, seconds: float) -> str:
        return f"in {item.what}(){self.object(item)}, for {seconds:.3f} s"

    def object(self, item: Waiting) -> str:
        obj = item.object
        if obj is None or _has_no_repr(obj):
            return ""  # it would not be known by that
        text = f" of {self.name(obj)}"
        owner = item.ended_by
        if owner is not None and owner is not obj:
            text += f", which {self.name(owner)} has"
            if owner.dead:
                text += ", who has ended"
        return text

    def name(self, obj: Any) -> str:
        number = self.numbers.get(obj) if isinstance(obj, greenlet) else None
        return number or _name(obj)


def _has_no_repr(obj: Any) -> bool:
    inherited: Any = object.__repr__
    return type(obj).__repr__ is inherited


def _place(item: Waiting) -> Any:
    frames = tuple(_frames(item.greenlet))
    return item.what, id(item.object), type(item.greenlet), frames


def _name(obj: Any) -> str:
    if isinstance(obj, greenlet) and obj.parent is None:
        return "main greenlet"
    try:
        text = repr(obj)
    except Exception as ex:
        text = f"<{type(obj).__name__} at {id(obj):#x}: repr failed: {ex!r}>"
    if len(text) > _LONGEST_REPR:
        text = text[:_LONGEST_REPR] + "..."
    return text


# Places


def _frames(who: Any) -> list[str]:
    """Where it is, the innermost call first, without our own."""
    found = [_format(frame) for frame in _stack(who.gr_frame)]
    return found[:_MOST_FRAMES]


def _stack(frame: Any) -> Any:
    while frame is not None:
        if not frame.f_code.co_filename.startswith(_HERE):
            yield frame
        frame = frame.f_back


def _format(frame: Any) -> str:
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno} in {code.co_name}"


# Who waits for whom


def _cycles(items: list[Waiting]) -> list[list[Waiting]]:
    """Each waits for one at most: follow them, and see who comes twice."""
    by_greenlet = {item.greenlet: item for item in items}
    done: set[Any] = set()
    cycles = []
    for item in items:
        path: list[Waiting] = []
        on_path: dict[Any, int] = {}
        at: Waiting | None = item
        while at is not None and at.greenlet not in done:
            done.add(at.greenlet)
            on_path[at.greenlet] = len(path)
            path.append(at)
            at = by_greenlet.get(at.ended_by)
        if at is not None and at.greenlet in on_path:
            cycles.append(path[on_path[at.greenlet] :])
    return cycles
