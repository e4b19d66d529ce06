"""Random HTTP messages: by the grammar, then changed a little.

`requests()` and `responses()` give what one connection receives: a message or
two, and whether it was left as the grammar has it. What the grammar gives is
valid, as strict as RFC 9112 asks of a sender; the changes are those that
messages are smuggled by: line ends, spaces, lengths, codings, doubled and
moved fields, bytes that do not belong there.
"""

from __future__ import annotations

import random

TOKENS = (b"X-A", b"Accept", b"x_y", b"Cookie", b"User-Agent",
          b"!#$%&'*+-.^`|~", b"Content-Type", b"A", b"Range",
          b"If-None-Match", b"Trailer")
VALUES = (b"", b"a", b"text/plain; q=0.5", b"a, b ,,c", b'"quo\\"ted, x"',
          b"\x80\xff", b"a\tb", b"x" * 40, b"Mozilla/5.0 (X11)", b"W/\"1\"")
METHODS = (b"GET", b"GET", b"POST", b"POST", b"PUT", b"HEAD", b"DELETE",
           b"OPTIONS", b"PATCH")
HOSTS = (b"a", b"example.com", b"example.com:80", b"127.0.0.1:8080",
         b"[::1]", b"[2001:db8::1]:443", b"a-b.c_d", b"")
PATHS = (b"/", b"/a", b"/a/b%20c", b"/a//b/../c;d=e", b"/%C3%BC",
         b"/a:b@c!$&'()*+,=")
QUERIES = (b"", b"?", b"?a=b&c=%20", b"?a=/b?c", b"?x=1;y=2")
#: what is put between the bytes of a message, or in place of one
INSERTS = (b"\r", b"\n", b"\r\n", b" ", b"\t", b"\0", b"\x0b", b"\x7f",
           b"\x80", b":", b",", b";", b'"', b"=", b"0", b"5", b"f", b"+",
           b"-", b"x", b"_", b"#", b"%", b"@", b"/", b"\\", b"\r\n ",
           b"\r\n\r\n", b"\n\n", b"chunked", b"\xc2\xa0")
#: lines that change what a message is
LINES = (b"Content-Length: 5", b"Content-Length: 0", b"Content-Length: 05",
         b"Content-Length: +5", b"Content-Length: 5, 5", b"content-length:5",
         b"Content-Length: 5 ", b"Content-Length : 5", b"Content-Length:",
         b"Content-Length: 18446744073709551621", b"Content-Length: 0x5",
         b"Content-Length: 99999999999999999999999", b"Content-Length: 1_0",
         b"Content-Length: -1", b"Content-Length: 5;a", b"Content-Length: 4",
         b"Transfer-Encoding: chunked", b"Transfer-Encoding: Chunked",
         b"Transfer-Encoding:chunked", b"transfer-encoding: chunked ",
         b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding: gzip",
         b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: identity",
         b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding:",
         b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunked;a=b",
         b"Transfer-Encoding : chunked", b"Transfer-Encoding: \x0bchunked",
         b"Transfer-Encoding: ,chunked", b"Transfer_Encoding: chunked",
         b"Transfer-Encoding: \"chunked\"", b"Transfer-Encoding: chunked\0",
         b"Host: b", b"Host: a b", b"Host: a, b", b"Host: a@b", b"Host:",
         b"Connection: close", b"Connection: keep-alive",
         b"Connection: close, keep-alive", b"Connection: Content-Length",
         b"Connection: upgrade", b"Upgrade: websocket",
         b"Connection: keep-alive, Upgrade", b"Expect: 100-continue",
         b"Expect: x", b" folded", b"\tfolded", b"no colon", b": no name",
         b"a b: c", b"", b"X: " + b"y" * 300)
VERSIONS = (b"HTTP/1.0", b"HTTP/1.1", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.2",
            b"http/1.1", b"HTTP/1.1 ", b"HTTP/1.10", b"HTTP/1", b"HTTP/11",
            b"HTTP/01.1", b"", b"FTP/1.1", b"HTTP /1.1", b"HTTP/1.\xb2")
TARGETS = (b"*", b"a", b"a:1", b"http://b/c?d", b"http://b", b"https://b:1/",
           b"http:///c", b"http://u@b/", b"//a/b", b"/a#b", b"/a b", b"/\xc3",
           b"?a", b"/{|}^`<>\"\\", b"/\x7f", b"", b"http://[::1]:8/",
           b"ws://a/b", b"/%", b"/%zz", b"http://a:b/")
SIZES = (b"0", b"1", b"5", b"A", b"0a", b"00000000000000000005", b"0x5",
         b"+5", b"-1", b" 5", b"5 ", b"5;", b"5;a=b", b"5 ;a", b"5;a=\"b\"",
         b"ffffffffffffffff", b"10000000000000005", b"5\t", b"", b"g",
         b"5;a=\"b\nc\"", b"7fffffffffffffff", b"5;\x80", b"5,", b"5\0")
REASONS = (b"OK", b"Not Found", b"", b"\xe9", b"a\tb")


class Generator:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    # --- by the grammar --------------------------------------------------

    def field(self) -> bytes:
        pick = self.random.choice
        before, after = pick((b" ", b"", b"\t ", b" ")), pick((b"", b" "))
        return pick(TOKENS) + b":" + before + pick(VALUES) + after

    def chunk_line(self, size: int) -> bytes:
        pick = self.random.choice
        digits = pick((b"%x", b"%X", b"0%x", b"%x")) % size
        return digits + pick((b"", b"", b"", b";a", b";a=b;c", b';a="b;\\""'))

    def chunks(self) -> list[bytes]:
        """Lines of a chunked body, with its trailers."""
        lines = []
        for _ in range(self.random.randrange(3)):
            data = bytes(self.random.choices(b"ab\r\n0:", k=self.random.choice(
                (1, 2, 5, 11))))
            lines += [self.chunk_line(len(data)), data]
        lines.append(self.random.choice((b"0", b"00", b"0;a=b")))
        if self.chance(0.2):
            lines.append(b"X-T: " + self.random.choice(VALUES))
        return [*lines, b""]

    def body(self, fields: list[bytes], old: bool) -> list[bytes]:
        """Adds the field for a body; the body's lines, the last without an
        end."""
        kind = self.random.randrange(4)
        if kind == 0 and not old:
            fields.append(self.random.choice((
                b"Transfer-Encoding: chunked", b"transfer-encoding:CHUNKED")))
            return [*self.chunks(), b""]
        if kind == 1:
            data = bytes(self.random.choices(b"ab\r\n", k=self.random.choice(
                (0, 1, 5, 17))))
            fields.append(b"Content-Length: %d" % len(data))
            return [data]
        return [b""]

    def request(self) -> list[bytes]:
        """The lines of a valid request; CR LF goes between them."""
        pick = self.random.choice
        method = pick(METHODS)
        old = self.chance(0.15)
        host = pick(HOSTS)
        target = pick(PATHS) + pick(QUERIES)
        if self.chance(0.1):
            target = b"http://" + (host or b"a") + pick((target, b""))
        elif method == b"OPTIONS" and self.chance(0.5):
            target = b"*"
        fields = [self.field() for _ in range(self.random.randrange(4))]
        if not old or self.chance(0.5):
            fields.insert(self.random.randrange(len(fields) + 1),
                          b"Host: " + host)
        if self.chance(0.2):
            fields.append(b"Connection: " + pick((
                b"close", b"keep-alive", b"Keep-Alive, x", b"x")))
        body = self.body(fields, old)
        version = b"HTTP/1.0" if old else b"HTTP/1.1"
        line = b"%s %s %s" % (method, target, version)
        return [line, *fields, b"", *body]

    def response(self) -> list[bytes]:
        pick = self.random.choice
        old = self.chance(0.15)
        fields = [self.field() for _ in range(self.random.randrange(4))]
        if self.chance(0.2):
            fields.append(b"Connection: " + pick((b"close", b"keep-alive")))
        status = pick((200, 200, 200, 404, 500, 301, 206))
        body = self.body(fields, old)
        line = b"HTTP/1.%d %d %s" % (not old, status, pick(REASONS))
        return [line, *fields, b"", *body]

    # --- changes ---------------------------------------------------------

    def change_lines(self, lines: list[bytes], response: bool) -> None:
        """One change to whole lines, in place."""
        pick, rnd = self.random.choice, self.random.randrange
        kind = rnd(8)
        if kind <= 2:
            lines.insert(rnd(1, len(lines)), pick(LINES))
        elif kind == 3 and len(lines) > 2:
            at = rnd(len(lines) - 1)
            lines.insert(at, lines[at])
        elif kind == 4 and len(lines) > 2:
            del lines[rnd(len(lines) - 1)]
        elif kind == 5 and len(lines) > 3:
            i, j = rnd(1, len(lines)), rnd(1, len(lines))
            lines[i], lines[j] = lines[j], lines[i]
        elif kind == 6:
            self.change_first(lines, response)
        else:
            sizes = [i for i, line in enumerate(lines)
                     if line[:1].isalnum() and len(line) < 12 and i > 1]
            if sizes:
                lines[pick(sizes)] = pick(SIZES)

    def change_first(self, lines: list[bytes], response: bool) -> None:
        pick, parts = self.random.choice, lines[0].split(b" ", 2)
        if len(parts) < 3:
            return
        if response:
            at = self.random.randrange(2)
            parts[at] = pick(VERSIONS) if at == 0 else pick((
                b"20", b"2000", b"099", b"100", b"101", b"204", b"304",
                b"2x0", b"", b"-20", b"+20", b"600", b" 200", b"1\xb22"))
        else:
            at = self.random.randrange(3)
            parts[at] = pick((
                (b"get", b"CONNECT", b"OPTIONS", b"G(T", b"", b"X-Y", b"QUERY",
                 b"GET ", b" GET", b"G\xc3T", b"HEAD", b"PRI", b"M-SEARCH"),
                TARGETS, VERSIONS)[at])
        lines[0] = b" ".join(parts)

    def change_bytes(self, text: bytes) -> bytes:
        """One change anywhere; line ends are the likeliest place."""
        pick, rnd = self.random.choice, self.random.randrange
        ends = [i for i in range(len(text)) if text[i] in b"\r\n: ,;"]
        at = pick(ends) if ends and self.chance(0.7) else rnd(len(text) + 1)
        kind = rnd(4)
        if kind == 0:
            return text[:at] + pick(INSERTS) + text[at:]
        if kind == 1:
            return text[:at] + text[at + 1:]
        if kind == 2:
            return text[:at] + pick(INSERTS) + text[at + 1:]
        return text[:at] + bytes([rnd(256)]) + text[at + 1:]

    def message(self, response: bool) -> tuple[bytes, bool]:
        """A message, and whether it is as the grammar has it."""
        lines = self.response() if response else self.request()
        if self.chance(0.2):
            return b"\r\n".join(lines), True
        count = self.random.choice((0, 1, 1, 2))
        for _ in range(count):
            self.change_lines(lines, response)
        text = b"\r\n".join(lines)
        if count == 0 or self.chance(0.4):
            for _ in range(self.random.choice((1, 1, 1, 2, 3))):
                text = self.change_bytes(text)
        return text, False

    def connection(self, response: bool) -> tuple[bytes, bool]:
        """What a connection receives: a message, or two for requests."""
        text, valid = self.message(response)
        if not response and self.chance(0.3):
            more, also = self.message(response)
            return text + more, valid and also
        return text, valid
