"""Selectors that block the current greenlet only.

:class:`GeventSelector` is :class:`DefaultSelector`. The others of
:mod:`selectors` are green where :mod:`gevent.select` has what they use.
"""

from __future__ import annotations

import selectors as __selectors__
from errno import EBADF, EINVAL
from typing import Any

from . import select
from ._hub_local import get_hub
from ._util import copy_globals

__implements__ = ["DefaultSelector"]

__all__ = ["DefaultSelector", "GeventSelector"]

__imports__ = copy_globals(
    __selectors__,
    globals(),
    names_to_ignore=[*__all__, "annotations", "select"],
    dunder_names_to_keep=(),
    cleanup_globs=False,
)

_EPOLL = hasattr(select, "epoll") and hasattr(__selectors__, "EpollSelector")
_Base: Any = (
    __selectors__.EpollSelector if _EPOLL else __selectors__.PollSelector
)


class _WithFiles:
    """For an epoll object, which refuses what never makes anybody wait.

    Files on a disk are such; they are always ready.
    """

    def __init__(self) -> None:
        super().__init__()
        self._files: dict[int, int] = {}

    def register(self, fd: int, eventmask: int) -> None:
        base: Any = super()
        try:
            base.register(fd, eventmask)
        except PermissionError:
            self._files[fd] = eventmask

    def modify(self, fd: int, eventmask: int) -> None:
        base: Any = super()
        if fd in self._files:
            self._files[fd] = eventmask
        else:
            base.modify(fd, eventmask)

    def unregister(self, fd: int) -> None:
        base: Any = super()
        if self._files.pop(fd, None) is None:
            base.unregister(fd)

    def poll(self, timeout: float, maxevents: int) -> list[tuple[int, int]]:
        base: Any = super()
        found: list[tuple[int, int]] = base.poll(
            0 if self._files else timeout, maxevents
        )
        return found + list(self._files.items())


class GeventSelector(_Base):  # type: ignore[misc]
    """Waits in the hub for files that are registered.

    That takes as long however many there are. Files may be registered and
    unregistered while somebody is in `select`. Those on a disk are always
    ready.

    :param hub: ignored; it is the hub of the thread that calls `select`.
    """

    _selector_cls = (
        type("_Epoll", (_WithFiles, select.epoll), {})
        if _EPOLL
        else select.poll
    )

    def __init__(self, hub: Any = None) -> None:
        super().__init__()

    @property
    def hub(self) -> Any:
        """The hub of this thread."""
        return get_hub()

    def register(self, fileobj: Any, events: int, data: Any = None) -> Any:
        """Wait for a file; returns its SelectorKey.

        :param events: ``EVENT_READ`` and ``EVENT_WRITE`` or-ed.
        :raises ValueError: for an invalid file, or one that is closed.
        :raises KeyError: if it is registered already.
        """
        try:
            return super().register(fileobj, events, data)
        except OSError as exc:
            if exc.errno not in (EBADF, EINVAL):
                raise
            raise ValueError(f"Invalid file object: {fileobj!r}") from exc


DefaultSelector = GeventSelector


def adopt(selectors: Any) -> None:
    """Have the classes of :mod:`selectors` use what is green."""
    for name, ours in (("PollSelector", "poll"), ("EpollSelector", "epoll")):
        cls = getattr(selectors, name, None)
        green = getattr(select, ours, None)
        if cls is not None and green is not None:
            cls._selector_cls = green
    cls = getattr(selectors, "SelectSelector", None)
    if cls is not None and not hasattr(cls._select, "_gevent_monkey"):

        def _select(
            self: Any, r: Any, w: Any, x: Any = (), timeout: Any = None
        ) -> Any:
            select._meet_asyncio()
            return select.select(r, w, x, timeout)

        _select._gevent_monkey = True  # type: ignore[attr-defined]
        cls._select = _select


def _gevent_do_monkey_patch(patch_request: Any) -> None:
    """For :func:`gevent.monkey.patch_selectors`."""
    patch_request.default_patch_items()
    adopt(patch_request.target_module)
    if patch_request.patch_kwargs.get("aggressive", True):
        patch_request.remove_item("KqueueSelector", "DevpollSelector")
