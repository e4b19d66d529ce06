"""A lock of green threads: a semaphore that starts at one."""

from coir._core import EvLock as Lock

__all__ = ["Lock"]
