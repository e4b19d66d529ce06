"""Zipkin's structures, and what its annotations are called."""

__all__ = ["ttypes", "constants"]
