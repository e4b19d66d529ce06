"""The standard library's :mod:`asyncore`, green; empty since Python 3.12."""

from __future__ import annotations

import sys

if sys.version_info < (3, 12):
    from .. import patcher
    from . import select, socket, time

    patcher.inject(
        "asyncore",
        globals(),
        ("select", select),
        ("socket", socket),
        ("time", time),
    )
