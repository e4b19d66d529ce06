"""The event loop under the names that gevent's libev loop has.

For programs that use loops directly. ``loop`` and the watchers it makes are
those of ``gevent.get_hub().loop``; names of backends and flags are libev's.
"""

from __future__ import annotations

import time as _time
from typing import Any

from coir import __version__, _core
from coir._core import Loop as loop
from coir._core import callback as callback
from coir._core import set_syserr_cb as set_syserr_cb

__all__ = [
    "get_version",
    "get_header_version",
    "supported_backends",
    "recommended_backends",
    "embeddable_backends",
    "time",
    "loop",
]

UNDEF = -1
NONE = 0
READ = 0x01
WRITE = 0x02
_IOFDSET = 0x80
TIMER = 0x0100
PERIODIC = 0x0200
SIGNAL = 0x0400
CHILD = 0x0800
STAT = 0x1000
IDLE = 0x2000
PREPARE = 0x4000
CHECK = 0x8000
EMBED = 0x010000
FORK = 0x020000
CLEANUP = 0x040000
ASYNC = 0x080000
CUSTOM = 0x1000000
ERROR = -0x80000000
READWRITE = READ | WRITE

MINPRI = -2
MAXPRI = 2

BACKEND_SELECT = 0x01
BACKEND_POLL = 0x02
BACKEND_EPOLL = 0x04
BACKEND_KQUEUE = 0x08
BACKEND_DEVPOLL = 0x10
BACKEND_PORT = 0x20
BACKEND_LINUXAIO = 0x40
BACKEND_IOURING = 0x80

NOENV = 0x1000000
FORKCHECK = 0x2000000
NOINOTIFY = 0x100000
SIGNALFD = 0x200000
NOSIGMASK = 0x400000

#: How libev would have been built that does what this loop does.
LIBEV_EMBED = True
EV_USE_4HEAP = 0
EV_USE_CLOCK_SYSCALL = 0
EV_USE_EVENTFD = 1
EV_USE_FLOOR = 1
EV_USE_INOTIFY = 1
EV_USE_MONOTONIC = 1
EV_USE_NANOSLEEP = 1
EV_USE_REALTIME = 1
EV_USE_SIGNALFD = 1

_events = (
    (READ, "READ"),
    (WRITE, "WRITE"),
    (_IOFDSET, "_IOFDSET"),
    (PERIODIC, "PERIODIC"),
    (SIGNAL, "SIGNAL"),
    (CHILD, "CHILD"),
    (STAT, "STAT"),
    (IDLE, "IDLE"),
    (PREPARE, "PREPARE"),
    (CHECK, "CHECK"),
    (EMBED, "EMBED"),
    (FORK, "FORK"),
    (CLEANUP, "CLEANUP"),
    (ASYNC, "ASYNC"),
    (CUSTOM, "CUSTOM"),
    (ERROR, "ERROR"),
)

# Those that this loop has not are known, too: a program may ask for them
# after it has looked whether they are supported.
_flags = (
    (BACKEND_PORT, "port"),
    (BACKEND_KQUEUE, "kqueue"),
    (BACKEND_IOURING, "linux_iouring"),
    (BACKEND_LINUXAIO, "linux_aio"),
    (BACKEND_EPOLL, "epoll"),
    (BACKEND_POLL, "poll"),
    (BACKEND_SELECT, "select"),
    (NOENV, "noenv"),
    (FORKCHECK, "forkcheck"),
    (NOINOTIFY, "noinotify"),
    (SIGNALFD, "signalfd"),
    (NOSIGMASK, "nosigmask"),
)
_flags_str2int = {name: flag for flag, name in _flags}
_flags_str2int["io_uring"] = BACKEND_IOURING


class _EventsType:
    """Stands for events in a list of arguments, in libev's loop.

    Here, ``start(..., pass_events=True)`` has them passed.
    """

    def __repr__(self) -> str:
        return "gevent.core.EVENTS"


EVENTS = _EventsType()


def get_version() -> str:
    """What runs the loop."""
    return f"coir-{__version__}"


def get_header_version() -> str:
    """The same: there is no other to be compiled against."""
    return get_version()


def supported_backends() -> list[str]:
    """Names of the backends that can be asked for here, best first."""
    return [
        name
        for flag, name in _flags
        if flag in (BACKEND_IOURING, BACKEND_EPOLL, BACKEND_POLL, 1)
        and _can_have(flag)
    ]


def recommended_backends() -> list[str]:
    """Those that a loop is given without asking, best first."""
    return [name for name in supported_backends() if name != "linux_iouring"]


def embeddable_backends() -> list[str]:
    """Those that can be watched by another loop: they have a descriptor."""
    return [
        name
        for name in supported_backends()
        if name in ("linux_iouring", "epoll")
    ]


def _can_have(flag: int) -> bool:
    try:
        made = loop(flag, default=False)
    except (OSError, ValueError, SystemError):
        return False
    try:
        return made.backend_int == flag
    finally:
        made.destroy()


def time() -> float:
    """The time of day, in seconds."""
    return _time.time()


def _names(bits: int, table: Any) -> tuple[list[str], int]:
    found = []
    for bit, name in table:
        if bits & bit:
            found.append(name)
            bits &= ~bit
    return found, bits


def _events_to_str(events: int) -> str:
    names, rest = _names(events, _events)
    if rest:
        names.append(hex(rest))
    return "|".join(names)


def _flags_to_list(flags: int) -> list[Any]:
    names, rest = _names(flags, _flags)
    return [*names, rest] if rest else list(names)


def _flags_to_int(flags: Any) -> int:
    if not flags:
        return 0
    if isinstance(flags, int):
        return flags
    if isinstance(flags, str):
        flags = flags.split(",")
    bits = 0
    for name in flags:
        try:
            bits |= _flags_str2int[name.strip().lower()]
        except KeyError:
            known = ", ".join(sorted(_flags_str2int))
            raise ValueError(
                f"no backend or flag is called {name!r}; there are {known}"
            ) from None
    return bits


for _name in (
    "async_",
    "check",
    "child",
    "fork",
    "idle",
    "io",
    "prepare",
    "signal",
    "stat",
    "timer",
    "watcher",
):
    if hasattr(_core, _name):
        globals()[_name] = getattr(_core, _name)
globals()["async"] = _core.async_  # its name before Python 3.7
