"""Parsers of HTTP with one face: Coir's, h11, and llhttp in httptools.

Each takes all that a connection receives and gives the messages that it finds
in it, and how it ended: "end" (all was used up by whole messages), "more" (the
last one is not complete), "stop" (the connection is closed, or another
protocol's, behind the last one) or "error", with a text.
"""

from __future__ import annotations

import ctypes
import dataclasses
import struct

import h11
import httptools

#: messages of a connection that are looked at
MOST = 4


@dataclasses.dataclass
class Message:
    first: tuple  # method and target, or the status; the version
    fields: list[tuple[bytes, bytes]]  # names in lower case
    body: bytes = b""
    complete: bool = False


@dataclasses.dataclass
class Result:
    messages: list[Message]
    end: str
    error: str = ""


# --- Coir ------------------------------------------------------------------


class Span(ctypes.Structure):
    _fields_ = [("at", ctypes.c_uint32), ("len", ctypes.c_uint32)]


class Field(ctypes.Structure):
    _fields_ = [("name", Span), ("value", Span), ("id", ctypes.c_uint32)]


class Head(ctypes.Structure):
    """coir_http_head up to the spans; what follows is not looked at."""

    _fields_ = [
        ("fields", ctypes.POINTER(Field)), ("capacity", ctypes.c_uint32),
        ("count", ctypes.c_uint32), ("method_id", ctypes.c_uint8),
        ("form", ctypes.c_uint8), ("framing", ctypes.c_uint8),
        ("version", ctypes.c_uint8), ("flags", ctypes.c_uint16),
        ("status", ctypes.c_uint16), ("port", ctypes.c_int32),
        ("content_length", ctypes.c_int64), ("method", Span),
        ("target", Span), ("rest", ctypes.c_char * 1024),
    ]


class Parser(ctypes.Structure):
    _fields_ = [("private", ctypes.c_char * 64)]


class Body(ctypes.Structure):
    _fields_ = [("options", ctypes.c_void_p), ("left", ctypes.c_uint64),
                ("total", ctypes.c_uint64), ("overhead", ctypes.c_uint32),
                ("line", ctypes.c_uint32), ("framing", ctypes.c_uint8),
                ("state", ctypes.c_uint8), ("rest", ctypes.c_char * 64)]


KEEP_ALIVE, UPGRADE = 1, 2
GET, CONNECT = 1, 6
TRAILERS, DONE = 1, 2
EAGAIN = -15
FIELD_SIZE = ctypes.sizeof(Field)


class Coir:
    """The parser of a libcoir.so."""

    def __init__(self, library: str) -> None:
        lib = ctypes.CDLL(library)
        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        for name, *types in (
                ("parser_init", pointer, pointer),
                ("parse_request", pointer, pointer, size, pointer),
                ("parse_response", pointer, pointer, size, ctypes.c_int,
                 pointer),
                ("body_init", pointer, pointer, pointer),
                ("body_decode", pointer, pointer, size, pointer),
                ("parse_trailers", pointer, pointer, pointer, size, pointer),
                ("body_eof", pointer)):
            function = getattr(lib, f"coir_http_{name}")
            function.argtypes = types
            function.restype = ctypes.c_ssize_t
            setattr(self, name, function)
        self.body_eof.restype = ctypes.c_int
        lib.coir_http_error_text.restype = ctypes.c_char_p
        self.text = lib.coir_http_error_text
        self.fields = (Field * 200)()
        self.view = memoryview(self.fields).cast("B")
        self.head = Head(fields=self.fields, capacity=len(self.fields))
        self.parser = Parser()
        self.at_head = ctypes.addressof(self.head)
        self.at_parser = ctypes.addressof(self.parser)
        self.out = ctypes.c_size_t()

    def parse(self, text: bytes, response: bool, cut: int = 0) -> Result:
        """
        :param cut: where the bytes are in two pieces.
        """
        found: list[Message] = []
        at = 0
        while at < len(text):
            if len(found) == MOST:
                return Result(found, "stop")
            used = self.parse_head(text, at, response, cut)
            if used == EAGAIN:
                return Result(found, "more")
            if used < 0:
                return Result(found, "error", self.text(used).decode())
            message = self.take_head(text, at, response)
            found.append(message)
            stays = self.head.flags & KEEP_ALIVE
            leaves = (self.head.flags & UPGRADE
                      or self.head.method_id == CONNECT)
            at += used
            used, end, error = self.take_body(message, text, at)
            if end:
                return Result(found, end, error)
            at += used
            if leaves or response or not stays:
                return Result(found, "stop")
        return Result(found, "end")

    def parse_head(self, text: bytes, at: int, response: bool,
                   cut: int) -> int:
        self.parser_init(self.at_parser, None)
        buf = ctypes.create_string_buffer(text[at:], len(text) - at)
        for length in sorted({min(max(cut - at, 0), len(buf)), len(buf)}):
            used = (self.parse_response(self.at_parser, buf, length, GET,
                                        self.at_head)
                    if response else
                    self.parse_request(self.at_parser, buf, length,
                                       self.at_head))
            if used != EAGAIN:
                break
        return used

    def take_head(self, text: bytes, at: int, response: bool) -> Message:
        head = self.head
        fields = []
        for i in range(head.count):
            n, n_len, v, v_len = struct.unpack_from("IIII", self.view,
                                                    i * FIELD_SIZE)
            fields.append((text[at + n:at + n + n_len].lower(),
                           text[at + v:at + v + v_len]))
        if response:
            return Message((head.status, head.version), fields)
        method = at + head.method.at
        target = at + head.target.at
        return Message((text[method:method + head.method.len],
                        text[target:target + head.target.len],
                        head.version), fields)

    def take_body(self, message: Message, text: bytes,
                  at: int) -> tuple[int, str, str]:
        """Bytes used; how all ends here, or "" if it goes on."""
        body = Body()
        where = ctypes.addressof(body)
        self.body_init(where, self.at_head, None)
        buf = ctypes.create_string_buffer(text[at:], max(1, len(text) - at))
        used = 0
        if len(text) > at:
            used = self.body_decode(where, buf, len(text) - at,
                                    ctypes.addressof(self.out))
            if used < 0:
                return 0, "error", self.text(used).decode()
            message.body = buf.raw[:self.out.value]
        if body.state == TRAILERS:
            self.parser_init(self.at_parser, None)
            rest = text[at + used:]
            buf = ctypes.create_string_buffer(rest, max(1, len(rest)))
            trailers = Head(fields=self.fields, capacity=len(self.fields))
            more = self.parse_trailers(where, self.at_parser, buf, len(rest),
                                       ctypes.addressof(trailers))
            if more == EAGAIN:
                return 0, "more", ""
            if more < 0:
                return 0, "error", self.text(more).decode()
            used += more
        if self.body_eof(where) < 0:
            return 0, "more", ""
        message.complete = True
        return used, "", ""


# --- h11 -------------------------------------------------------------------


class H11:
    def parse(self, text: bytes, response: bool) -> Result:
        found: list[Message] = []
        while text and len(found) < MOST:
            try:
                text = self.parse_one(text, response, found)
            except h11.RemoteProtocolError as err:
                if "peer closed connection" in str(err):
                    return Result(found, "more")
                return Result(found, "error", str(err))
            if text is None:
                return Result(found, "more")
            if response:
                return Result(found, "stop")
        return Result(found, "stop" if text else "end")

    def parse_one(self, text: bytes, response: bool,
                  found: list[Message]) -> bytes | None:
        """The bytes behind a message; None if it is not complete."""
        if response:
            connection = h11.Connection(h11.CLIENT)
            connection.send(h11.Request(method="GET", target="/",
                                        headers=[("Host", "a")]))
            connection.send(h11.EndOfMessage())
        else:
            connection = h11.Connection(h11.SERVER)
        connection.receive_data(text)
        if response:
            connection.receive_data(b"")
        message = None
        while True:
            event = connection.next_event()
            kind = type(event)
            if kind is h11.Request:
                message = Message((event.method, event.target, 10 if
                                   event.http_version == b"1.0" else 11),
                                  list(event.headers))
                found.append(message)
            elif kind in (h11.Response, h11.InformationalResponse):
                message = Message((event.status_code, 10 if
                                   event.http_version == b"1.0" else 11),
                                  list(event.headers))
                found.append(message)
                if kind is h11.InformationalResponse:
                    message.complete = True
                    return b""
            elif kind is h11.Data:
                message.body += bytes(event.data)
            elif kind is h11.EndOfMessage:
                message.complete = True
                return connection.trailing_data[0]
            else:
                return None


# --- llhttp ----------------------------------------------------------------


class Collector:
    """What httptools calls."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.parser = None
        self.response = False
        self.clear()

    def clear(self) -> None:
        self.url = b""
        self.status = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.in_body = False

    def on_message_begin(self) -> None:
        self.clear()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.in_body:
            self.fields.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.in_body = True
        version = 10 if self.parser.get_http_version() == "1.0" else 11
        first = ((self.parser.get_status_code(), version) if self.response
                 else (self.parser.get_method(), self.url, version))
        self.messages.append(Message(first, self.fields))

    def on_body(self, data: bytes) -> None:
        self.messages[-1].body += data

    def on_message_complete(self) -> None:
        self.messages[-1].complete = True


class Llhttp:
    def parse(self, text: bytes, response: bool) -> Result:
        collector = Collector()
        collector.response = response
        kind = (httptools.HttpResponseParser if response
                else httptools.HttpRequestParser)
        collector.parser = parser = kind(collector)
        try:
            parser.feed_data(text)
        except httptools.HttpParserUpgrade:
            return Result(collector.messages, "stop")
        except httptools.HttpParserError as err:
            return Result(collector.messages, "error", str(err))
        found = collector.messages
        if response and found and not found[-1].complete and not any(
                name in (b"content-length", b"transfer-encoding")
                for name, _ in found[-1].fields):
            found[-1].complete = True  # the connection was closed
        whole = not found or found[-1].complete
        return Result(found, "end" if whole else "more")
