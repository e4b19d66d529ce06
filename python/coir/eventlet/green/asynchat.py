"""The standard library's :mod:`asynchat`, green; empty since Python 3.12."""

from __future__ import annotations

import sys

if sys.version_info < (3, 12):
    from .. import patcher
    from . import asyncore, socket

    patcher.inject(
        "asynchat",
        globals(),
        ("asyncore", asyncore),
        ("socket", socket),
    )
