"""A lock of green threads: a semaphore that starts at one."""

from coir._core import EvLock as Lock

from .semaphore import Semaphore  # noqa: F401

__all__ = ["Lock"]
