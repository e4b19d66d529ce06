"""Have the WSGI server trace its requests."""

from __future__ import annotations

import random
from typing import Any

from .. import wsgi
from . import api
from ._thrift.zipkinCore.constants import SERVER_RECV, SERVER_SEND
from .http import (
    HDR_PARENT_SPAN_ID,
    HDR_SAMPLED,
    HDR_SPAN_ID,
    HDR_TRACE_ID,
)

_sampler: Any = None
__original_handle_one_response__ = wsgi.HttpProtocol.handle_one_response


def _patched_handle_one_response(self: Any) -> None:
    api.init_trace_data()
    headers = self.headers
    trace_id = int_or_none(headers.get(HDR_TRACE_ID))
    span_id = int_or_none(headers.get(HDR_SPAN_ID))
    parent_id = int_or_none(headers.get(HDR_PARENT_SPAN_ID))
    sampled = bool_or_none(headers.get(HDR_SAMPLED))
    if trace_id is None:  # nobody traces it yet
        trace_id = span_id = api.generate_trace_id()
        parent_id = None
        sampled = _sampler.sampling()
    host, port = self.request.getsockname()[:2]
    api.set_trace_data(
        api.TraceData(
            self.command,
            trace_id,
            span_id if span_id is not None else api.generate_span_id(),
            parent_id,
            bool(sampled),
            api.ZipkinDataBuilder.build_endpoint(host, port),
        )
    )
    api.put_annotation(SERVER_RECV)
    api.put_key_value("http.uri", self.path)
    __original_handle_one_response__(self)
    if api.is_sample():
        api.put_annotation(SERVER_SEND)


class Sampler:
    """Chooses which requests are traced."""

    def __init__(self, sampling_rate: float) -> None:
        self.sampling_rate = sampling_rate

    def sampling(self) -> bool:
        """Whether the next one is."""
        return self.sampling_rate >= 1 or random.random() < self.sampling_rate


def int_or_none(val: str | None) -> int | None:
    """A number of a header."""
    return None if val is None else int(val, 16)


def bool_or_none(val: str | None) -> bool | None:
    """A truth value of a header."""
    return {"1": True, "0": False}.get(val or "")


def patch(sampling_rate: float) -> None:
    """Trace this part of the requests, 0 to 1."""
    global _sampler
    _sampler = Sampler(sampling_rate)
    wsgi.HttpProtocol.handle_one_response = _patched_handle_one_response


def unpatch() -> None:
    """Trace none."""
    wsgi.HttpProtocol.handle_one_response = __original_handle_one_response__
