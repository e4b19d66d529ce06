"""Have what is logged be noted in traces."""

from __future__ import annotations

import logging

from . import api

__original_handle__ = logging.Logger.handle


def _patched_handle(self: logging.Logger, record: logging.LogRecord) -> None:
    __original_handle__(self, record)
    api.put_annotation(record.getMessage())


def patch() -> None:
    """Do so from now on."""
    logging.Logger.handle = _patched_handle  # type: ignore[method-assign]


def unpatch() -> None:
    """Do so no more."""
    logging.Logger.handle = __original_handle__  # type: ignore[method-assign]
