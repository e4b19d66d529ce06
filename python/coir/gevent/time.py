"""The standard library's :mod:`time`, whose :func:`sleep` lets others run."""

from __future__ import annotations

import time as __time__

from ._util import copy_globals
from .hub import sleep  # noqa: F401

__implements__ = ["sleep"]
__all__ = __implements__

__imports__ = copy_globals(
    __time__, globals(), names_to_ignore=__implements__
)
