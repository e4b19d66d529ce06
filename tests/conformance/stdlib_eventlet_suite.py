"""CPython's own tests under coir.eventlet.monkey_patch(); see stdlib_suite."""

from __future__ import annotations

import argparse

import stdlib_suite
from _env import Totals


def run(options: argparse.Namespace) -> tuple[Totals, dict]:
    """Run the suite on the running interpreter.

    :returns: the counts, and outcomes for ``--json``.
    :raises SetupError: if the environment cannot be made.
    """
    return stdlib_suite.run(options, stdlib_suite.EVENTLET)
