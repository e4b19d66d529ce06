"""Sends spans to Zipkin's collector, by Scribe: needs thrift and scribe."""

from __future__ import annotations

import base64
import warnings
from typing import Any

from scribe import scribe
from thrift.protocol import TBinaryProtocol
from thrift.transport import TSocket, TTransport

from .. import greenpool

CATEGORY = "zipkin"


class ZipkinClient:
    """A connection to a collector; what goes wrong is warned of."""

    def __init__(self, host: str = "127.0.0.1", port: int = 9410) -> None:
        self.host = host
        self.port = port
        self.pile = greenpool.GreenPile(1)
        self._connect()

    def _connect(self) -> None:
        self.transport = TTransport.TFramedTransport(
            TSocket.TSocket(self.host, self.port)
        )
        protocol = TBinaryProtocol.TBinaryProtocol(
            self.transport, False, False
        )
        self.scribe_client = scribe.Client(protocol)
        try:
            self.transport.open()
        except TTransport.TTransportException as exc:
            warnings.warn(str(exc), stacklevel=2)

    def _build_message(self, thrift_obj: Any) -> bytes:
        transport = TTransport.TMemoryBuffer()
        thrift_obj.write(TBinaryProtocol.TBinaryProtocol(transport))
        return base64.b64encode(transport.getvalue())

    def send_to_collector(self, span: Any) -> None:
        """Send a span, in another green thread."""
        self.pile.spawn(self._send, span)

    def _send(self, span: Any) -> None:
        entry = scribe.LogEntry(CATEGORY, self._build_message(span))
        try:
            self.scribe_client.Log([entry])
        except Exception as exc:
            warnings.warn(f"ZipkinClient send error {exc}", stacklevel=2)
            self._connect()

    def close(self) -> None:
        """Close the connection."""
        self.transport.close()
