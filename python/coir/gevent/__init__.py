"""gevent's API on Coir's engine.

Green threads for unchanged blocking code: ``coir.gevent`` has the modules,
names and signatures of gevent 26, see docs/guide/gevent.md.
"""

from __future__ import annotations

from typing import Any

from coir._core import name_types

if __name__ == "gevent":
    # As in coir.greenlet: what is pickled can be read by the original, too.
    name_types(__name__)

from . import _config, core, os
from ._config import config
from ._hub_local import get_hub
from .greenlet import Greenlet, joinall, killall
from .hub import (
    GreenletExit,
    getcurrent,
    idle,
    iwait,
    kill,
    reinit,
    sleep,
    spawn_raw,
    wait,
)
from .hub import signal as signal_handler
from .os import fork
from .timeout import Timeout, with_timeout

__all__ = [
    "Greenlet",
    "GreenletExit",
    "Timeout",
    "config",
    "fork",
    "get_hub",
    "getcurrent",
    "getswitchinterval",
    "idle",
    "iwait",
    "joinall",
    "kill",
    "killall",
    "reinit",
    "setswitchinterval",
    "signal_handler",
    "sleep",
    "spawn",
    "spawn_later",
    "spawn_raw",
    "wait",
    "with_timeout",
]

#: The gevent whose API this is.
__version__ = "26.9.0"

from sys import getswitchinterval, setswitchinterval  # noqa: E402

spawn = Greenlet.spawn
spawn_later = Greenlet.spawn_later


def _version() -> Any:
    from collections import namedtuple

    version_info = namedtuple(
        "version_info", "major, minor, micro, releaselevel, serial"
    )
    major, minor, micro = (int(part) for part in __version__.split("."))
    return version_info(major, minor, micro, "final", 0)


version_info = _version()
