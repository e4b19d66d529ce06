"""The headers by which traces go from one service to another."""

from __future__ import annotations

HDR_TRACE_ID = "X-B3-TraceId"
HDR_SPAN_ID = "X-B3-SpanId"
HDR_PARENT_SPAN_ID = "X-B3-ParentSpanId"
HDR_SAMPLED = "X-B3-Sampled"


def patch() -> None:
    """Do nothing: requests of clients are not traced, as in eventlet."""


def unpatch() -> None:
    """Do nothing."""


def hex_str(n: int) -> str:
    """A number as headers have it."""
    return f"{n:016x}"
