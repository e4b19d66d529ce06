"""Traces: what a green thread is doing for which request."""

from __future__ import annotations

import os
import random
import socket
import struct
import sys
import time
from typing import Any

from ..green import threading
from ._thrift.zipkinCore import ttypes
from ._thrift.zipkinCore.constants import SERVER_SEND

#: Sends spans to the collector: `client.ZipkinClient`, once tracing is on.
client: Any = None
_tls: Any = threading.local()


def put_annotation(msg: Any, endpoint: Any = None) -> None:
    """Note that something happens now, if the request is traced.

    :param endpoint: where; by default, the one of the trace.
    """
    if is_sample():
        get_trace_data().add_annotation(
            ZipkinDataBuilder.build_annotation(msg, endpoint)
        )


def put_key_value(key: str, value: Any, endpoint: Any = None) -> None:
    """Note a value with a name, if the request is traced."""
    if is_sample():
        get_trace_data().add_binary_annotation(
            ZipkinDataBuilder.build_binary_annotation(key, value, endpoint)
        )


def is_tracing() -> bool:
    """Whether this green thread has a trace."""
    return hasattr(_tls, "trace_data")


def is_sample() -> bool:
    """Whether it has one that is to be recorded."""
    return is_tracing() and bool(_tls.trace_data.sampled)


def get_trace_data() -> Any:
    """The `TraceData` of this green thread; or None."""
    return getattr(_tls, "trace_data", None)


def set_trace_data(trace_data: Any) -> None:
    """Set it."""
    _tls.trace_data = trace_data


def init_trace_data() -> None:
    """Forget it."""
    if is_tracing():
        del _tls.trace_data


def _uniq_id() -> int:
    # Zipkin has had trouble with longer ones.
    return random.getrandbits(56)


def generate_trace_id() -> int:
    """A number for a trace."""
    return _uniq_id()


def generate_span_id() -> int:
    """A number for a call of a trace."""
    return _uniq_id()


class TraceData:
    """What is known of a call; sent when it is answered.

    :param parent_id: of the call that made this one, or None.
    :param sampled: whether others that are called should record it, too.
    :param endpoint: where this happens.
    """

    END_ANNOTATION = SERVER_SEND

    def __init__(
        self,
        name: str,
        trace_id: int,
        span_id: int,
        parent_id: int | None,
        sampled: bool,
        endpoint: Any,
    ) -> None:
        self.name = name
        self.trace_id = trace_id
        self.span_id = span_id
        self.parent_id = parent_id
        self.sampled = sampled
        self.endpoint = endpoint
        self.annotations: list[Any] = []
        self.bannotations: list[Any] = []
        self._done = False

    def _add(self, to: list[Any], annotation: Any) -> None:
        if annotation.host is None:
            annotation.host = self.endpoint
        if not self._done:
            to.append(annotation)

    def add_annotation(self, annotation: Any) -> None:
        """Add one; that of the answer ends the call."""
        self._add(self.annotations, annotation)
        value = annotation.value
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        if value == self.END_ANNOTATION and not self._done:
            self.flush()

    def add_binary_annotation(self, bannotation: Any) -> None:
        """Add a value with a name."""
        self._add(self.bannotations, bannotation)

    def flush(self) -> None:
        """Send it; nothing is added from then on."""
        span = ZipkinDataBuilder.build_span(
            self.name,
            self.trace_id,
            self.span_id,
            self.parent_id,
            self.annotations,
            self.bannotations,
        )
        self._done = True
        client.send_to_collector(span)
        self.annotations = []
        self.bannotations = []


class ZipkinDataBuilder:
    """Makes Zipkin's structures."""

    @staticmethod
    def build_span(
        name: str,
        trace_id: int,
        span_id: int,
        parent_id: int | None,
        annotations: list[Any],
        bannotations: list[Any],
    ) -> Any:
        """One call of a trace."""
        return ttypes.Span(
            trace_id=trace_id,
            name=name,
            id=span_id,
            parent_id=parent_id,
            annotations=annotations,
            binary_annotations=bannotations,
        )

    @staticmethod
    def build_annotation(value: str | bytes, endpoint: Any = None) -> Any:
        """That something happens now."""
        if isinstance(value, str):
            value = value.encode()
        return ttypes.Annotation(int(time.time() * 1e6), value, endpoint)

    @staticmethod
    def build_binary_annotation(
        key: str, value: Any, endpoint: Any = None
    ) -> Any:
        """A value with a name."""
        return ttypes.BinaryAnnotation(
            key, value, ttypes.AnnotationType.STRING, endpoint
        )

    @staticmethod
    def build_endpoint(
        ipv4: str | None = None,
        port: int | None = None,
        service_name: str | None = None,
    ) -> Any:
        """Where a service is; its name is by default that of the program."""
        number = None
        if ipv4 is not None:
            number = ZipkinDataBuilder._ipv4_to_int(ipv4)
        if service_name is None:
            service_name = os.path.basename(sys.argv[0])
        return ttypes.Endpoint(number, port, service_name)

    @staticmethod
    def _ipv4_to_int(ipv4: str) -> int:
        (number,) = struct.unpack("!i", socket.inet_aton(ipv4))
        return int(number)
