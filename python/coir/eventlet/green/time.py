"""The standard library's :mod:`time`; `sleep` lets others run."""

from __future__ import annotations

import time as __time

from ..greenthread import sleep as sleep
from ..patcher import slurp_properties

__patched__ = ["sleep"]

slurp_properties(__time, globals(), ignore=__patched__, srckeys=dir(__time))
