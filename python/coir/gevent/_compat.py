"""Names by which gevent's modules and tests ask what they run on.

Private; kept for software that imports them. Nothing here may import other
modules of this package.
"""

from __future__ import annotations

import _imp as imp
import os  # noqa: F401
import sys
from abc import ABC  # noqa: F401
from os import PathLike, fsdecode, fsencode, fspath  # noqa: F401
from time import get_clock_info, monotonic, perf_counter  # noqa: F401
from types import TracebackType
from typing import Any, NoReturn

PY311 = sys.version_info >= (3, 11)
PY312 = sys.version_info >= (3, 12)
PY313 = sys.version_info >= (3, 13)
PY314 = sys.version_info >= (3, 14)
PYPY = False
WIN = sys.platform.startswith("win")
LINUX = sys.platform.startswith("linux")
OSX = MAC = sys.platform == "darwin"

#: There is no version in Python of what is in ``coir._core``: the variables
#: ``PURE_PYTHON`` and ``GEVENT_PURE_PYTHON`` are without effect.
GLOBAL_PURE_PYTHON = PURE_PYTHON = False


def pure_python_module(mod_name: str) -> bool:
    """Whether `mod_name` is used in a version without C: never."""
    return False


string_types = (str,)
integer_types = (int,)
text_type = str
native_path_types = (str, bytes)
hostname_types = (str, bytes, bytearray)
thread_mod_name = "_thread"

iteritems = dict.items
itervalues = dict.values
xrange = range
izip = zip
_fspath = fspath

imp_acquire_lock = imp.acquire_lock
imp_release_lock = imp.release_lock


def NativeStrIO() -> Any:
    """A new file in memory for ``str``."""
    from io import StringIO

    return StringIO()


def reraise(
    t: type[BaseException],
    value: BaseException,
    tb: TracebackType | None = None,
) -> NoReturn:
    """Raise `value` with the traceback `tb`."""
    raise value.with_traceback(tb)


def exc_clear() -> None:
    """Nothing is to be done in Python 3."""


def get_this_psutil_process() -> Any:
    """A new ``psutil.Process`` of this process.

    None if psutil is not installed, or may not read what it has to.
    """
    try:
        from psutil import (  # type: ignore[import-untyped, unused-ignore]
            AccessDenied,
            Process,
        )
    except ImportError:
        return None
    process = Process()
    try:
        process.memory_full_info()
    except AccessDenied:
        return None
    return process


