"""Greenlets of Stackless Python; Coir's stand for them."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from .greenlets import GreenletExit, getcurrent, greenlet

__all__ = ["emulate"]


def emulate() -> None:
    """Have ``import greenlet`` give Coir's."""
    module: Any = ModuleType("greenlet")
    module.greenlet = greenlet
    module.getcurrent = getcurrent
    module.GreenletExit = GreenletExit
    sys.modules["greenlet"] = module
