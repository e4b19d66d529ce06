"""Turn traces of the requests to a WSGI server on and off."""

from __future__ import annotations

from . import api, greenthread, http, log, wsgi
from .client import ZipkinClient


def enable_trace_patch(
    host: str = "127.0.0.1",
    port: int = 9410,
    trace_app_log: bool = False,
    sampling_rate: float = 1.0,
) -> None:
    """Trace requests from now on.

    :param host: of the collector, with `port`.
    :param trace_app_log: note what is logged, too.
    :param sampling_rate: which part of the requests is traced, 0 to 1.
    """
    api.client = ZipkinClient(host, port)
    wsgi.patch(sampling_rate)
    http.patch()
    greenthread.patch()
    if trace_app_log:
        log.patch()


def disable_trace_patch() -> None:
    """Trace no more."""
    for module in (http, wsgi, greenthread, log):
        module.unpatch()
    api.client.close()
