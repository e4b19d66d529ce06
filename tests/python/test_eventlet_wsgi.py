"""The WSGI server of coir.eventlet: what eventlet's own tests do not ask
for."""

import array
import io
import logging
import socket as native

import pytest
from coir import eventlet
from coir.eventlet import greenthread, wsgi
from coir.eventlet.green import socket

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = (
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nab\r\n3;x=y\r\ncde\r\n0\r\nX-Trailer: yes\r\n\r\n"
)


@pytest.fixture(autouse=True)
def deadline():
    with eventlet.Timeout(60):
        yield


class Served:
    """A server that runs."""

    def __init__(self, app, **kwargs):
        self.log = io.StringIO()
        kwargs.setdefault("log", self.log)
        self.listener = kwargs.pop("sock", None) or eventlet.listen(
            ("127.0.0.1", 0)
        )
        self.address = self.listener.getsockname()
        self.green = eventlet.spawn(
            wsgi.server, self.listener, app, **kwargs
        )

    def ask(self, request, end=False):
        """Send it, and read up to the end of the connection."""
        sock = eventlet.connect(self.address)
        sock.settimeout(30)
        sock.sendall(request)
        if end:
            sock.shutdown(native.SHUT_WR)
        parts = []
        while data := sock.recv(65536):
            parts.append(data)
        sock.close()
        return b"".join(parts)


@pytest.fixture
def serve():
    """Start servers of an application; they are killed at the end."""
    all_of_them = []

    def start(app, **kwargs):
        served = Served(app, **kwargs)
        all_of_them.append(served)
        return served

    yield start
    for served in all_of_them:
        greenthread.kill(served.green)
    eventlet.sleep(0)


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def echo(environ, start_response):
    data = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [data]


REFUSED = {
    "both": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "400 Bad Request",
    ),
    "length": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
        "400 Bad Request",
    ),
    "space": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n",
        "400 Bad Request",
    ),
    "bare lf": (b"GET / HTTP/1.1\nHost: a\n\n", "400 Bad Request"),
    "folded": (
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
        "400 Bad Request",
    ),
    "version": (
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        "505 HTTP Version Not Supported",
    ),
    "long line": (
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
        "414 Request URI Too Long",
    ),
    "long field": (
        b"GET / HTTP/1.1\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
        "400 Header Line Too Long",
    ),
    "long head": (
        b"GET / HTTP/1.1\r\n" + (b"X: " + b"a" * 8000 + b"\r\n") * 10
        + b"\r\n",
        "400 Headers Too Large",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_answered_once(serve, name):
    request, status = REFUSED[name]
    calls = []
    served = serve(lambda *args: calls.append(args))
    answer = served.ask(request + GET)
    assert answer.startswith(f"HTTP/1.0 {status}\r\n".encode())
    assert answer.count(b"HTTP/1.") == 1 and calls == []


def test_http_server_may_parse_instead(serve):
    """Which takes what it can make sense of."""
    seen = []

    class Protocol(wsgi.HttpProtocol):
        reject_bad_requests = False

    def app(environ, start_response):
        seen.append(
            (environ["PATH_INFO"], environ.get("QUERY_STRING"))
            + (environ.get("HTTP_X"), environ["wsgi.input"].read())
        )
        return hello(environ, start_response)

    served = serve(app, protocol=Protocol)
    answer = served.ask(
        b"POST /a%20b?q HTTP/1.1\nX: 1\nX: 2\nContent-Length: 3\n\nabc"
        + CHUNKED
        + REFUSED["both"][0],
        end=True,
    )
    assert answer.count(b"200 OK") == 3
    assert seen == [
        ("/a b", "q", "1,2", b"abc"),
        ("/", None, None, b"abcde"),
        ("/", None, None, b""),
    ]
    for name in ("length", "long line", "long field", "long head"):
        request, status = REFUSED[name]
        assert status[:3].encode() in served.ask(request)[:20]


def test_a_protocol_may_parse_itself(serve):
    class Protocol(wsgi.HttpProtocol):
        def parse_request(self):
            ok = super().parse_request()
            self.path = "/mine"
            return ok

        def get_environ(self):
            environ = super().get_environ()
            environ["mine"] = self.headers["X"]
            return environ

    def app(environ, start_response):
        start_response("200 OK", [])
        return [f"{environ['PATH_INFO']} {environ['mine']}".encode()]

    served = serve(app, protocol=Protocol)
    request = b"GET /yours HTTP/1.1\r\nX: y\r\nConnection: close\r\n\r\n"
    assert served.ask(request).endswith(b"\r\n\r\n/mine y")


def test_environ(serve):
    seen = {}

    def app(environ, start_response):
        seen.update(environ)
        return hello(environ, start_response)

    served = serve(app, environ={"mine": 1})
    served.ask(
        b"GET /a%20%c3%a9?q=%20 HTTP/1.1\r\nHost: a\r\nX-One: 1\r\n"
        b"x-one: 2\r\nX_One: 3\r\nConnection: close\r\n\r\n"
    )
    assert seen["PATH_INFO"] == "/a \xc3\xa9"
    assert seen["RAW_PATH_INFO"] == "/a%20%c3%a9"
    assert seen["QUERY_STRING"] == "q=%20" and seen["mine"] == 1
    assert seen["HTTP_X_ONE"] == "1,2" and seen["HTTP_HOST"] == "a"
    assert seen["CONTENT_TYPE"] == "text/plain"
    assert seen["headers_raw"][1:4] == (
        ("X-One", "1"),
        ("x-one", "2"),
        ("X_One", "3"),
    )
    assert seen["wsgi.input"] is seen["eventlet.input"]
    assert isinstance(seen["eventlet.input"].get_socket(), socket.socket)
    assert seen["REMOTE_ADDR"] == seen["SERVER_NAME"] == "127.0.0.1"
    assert seen["SERVER_PORT"] == str(served.address[1])


def test_pipelined_and_chunked_bodies(serve):
    served = serve(echo)
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxy"
    answer = served.ask(post + CHUNKED + post, end=True)
    bodies = [part[:5] for part in answer.split(b"\r\n\r\n")[1:]]
    assert bodies == [b"xyHTT", b"abcde", b"xy"]


def test_a_body_that_is_cut_is_an_error(serve):
    errors = []

    def app(environ, start_response):
        try:
            environ["wsgi.input"].read()
        except (OSError, wsgi.ChunkReadError) as exc:
            errors.append(type(exc).__mro__)
        return hello(environ, start_response)

    served = serve(app)
    served.ask(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab", end=True
    )
    served.ask(CHUNKED[:-30], end=True)
    served.ask(CHUNKED.replace(b"3;", b"x;"), end=True)
    length, cut, bad = errors
    assert OSError in length and wsgi.ChunkReadError not in length
    assert OSError in cut and wsgi.ChunkReadError in cut
    assert OSError not in bad and wsgi.ChunkReadError in bad


def test_what_an_application_leaves_is_dropped(serve):
    served = serve(hello)
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40000\r\n\r\n"
    answer = served.ask((post + b"x" * 40000) * 2 + CHUNKED, end=True)
    assert answer.count(b"200 OK") == 3


def test_responses_cannot_be_split(serve):
    def app(environ, start_response):
        with pytest.raises(ValueError):
            start_response("200 OK", [("X", "a\r\nSet-Cookie: b")])
        with pytest.raises(ValueError):
            start_response("200 OK\r\nX: y", [])
        return hello(environ, start_response)

    answer = serve(app).ask(GET, end=True)
    assert answer.startswith(b"HTTP/1.1 200 OK") and b"Cookie" not in answer


@pytest.mark.parametrize("kind", ["list", "iterator", "write"])
def test_views_of_what_is_larger_than_bytes(serve, kind):
    """Lengths are of bytes: else the next response would be misread."""
    items = array.array("I", [1, 2])

    def app(environ, start_response):
        write = start_response("200 OK", [])
        if kind == "write":
            write(items)
            return []
        return [items] if kind == "list" else iter([items])

    answer = serve(app).ask(GET, end=True)
    head, _, body = answer.partition(b"\r\n\r\n")
    if kind == "list":
        assert b"\r\nContent-Length: 8" in head and body == items.tobytes()
    else:
        assert body == b"8\r\n" + items.tobytes() + b"\r\n0\r\n\r\n"


def test_no_more_than_content_length_is_sent(serve):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "3")])
        return [b"abcdef"]

    answer = serve(app).ask(GET + GET)
    assert answer.endswith(b"\r\n\r\nabc") and answer.count(b"200 OK") == 1


def test_head_has_no_body(serve):
    served = serve(hello)
    answer = served.ask(GET.replace(b"GET", b"HEAD"), end=True)
    assert b"Content-Length: 5" in answer and answer.endswith(b"\r\n\r\n")


def test_an_application_may_take_the_socket(serve):
    def app(environ, start_response):
        environ["eventlet.input"].get_socket().sendall(b"mine")
        wsgi.WSGI_LOCAL.already_handled = True
        return []

    assert serve(app).ask(GET) == b"mine"


def test_a_body_of_which_the_head_does_not_tell(serve):
    """As hixie-76 has one."""

    def app(environ, start_response):
        environ["wsgi.input"].content_length = 4
        data = environ["wsgi.input"].read()
        assert "QUERY_STRING" not in environ
        start_response("200 OK", [])
        return [data.upper()]

    answer = serve(app).ask(GET + b"abcd" + GET[:2], end=True)
    assert b"\r\n\r\nABCD" in answer


def test_small_parts_are_gathered(serve):
    def app(environ, start_response):
        if environ["PATH_INFO"] == "/now":
            environ["eventlet.minimum_write_chunk_size"] = 1
        start_response("200 OK", [])
        return iter([b"a", b"b", "c"])

    served = serve(app)
    assert served.ask(GET, end=True).endswith(b"\r\n3\r\nabc\r\n0\r\n\r\n")
    answer = served.ask(GET.replace(b"/ ", b"/now "), end=True)
    assert answer.endswith(b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n")


def test_hooks_are_called_whatever_happens(serve):
    calls = []

    def app(environ, start_response):
        environ["eventlet.posthooks"].append(
            (lambda env, *args, **kw: calls.append((args, kw)), (1,), {"a": 2})
        )
        raise ZeroDivisionError

    served = serve(app, debug=False)
    answer = served.ask(GET)
    assert b"500 Internal Server Error" in answer
    assert b"ZeroDivision" not in answer
    assert "ZeroDivisionError" in served.log.getvalue()
    assert calls == [((1,), {"a": 2})]


def test_logs(serve, caplog):
    with caplog.at_level(logging.DEBUG, logger="coir.test"):
        served = serve(hello, log=logging.getLogger("coir.test"))
        served.ask(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    text = "\n".join(caplog.messages)
    assert "wsgi starting up on http://127.0.0.1:" in text
    assert "accepted ('127.0.0.1'" in text
    assert '"GET / HTTP/1.1" 200 ' in text


def test_a_silent_client_is_dropped(serve):
    class Protocol(wsgi.HttpProtocol):
        head_timeout = 0.05

    served = serve(hello, protocol=Protocol)
    assert served.ask(b"") == b"" and served.ask(GET[:-2]) == b""
    assert served.log.getvalue().count("timed out") == 2


def test_a_server_that_ends_finishes_what_it_has(serve):
    begun = eventlet.Event()

    def app(environ, start_response):
        begun.send(None)
        eventlet.sleep(0.05)
        return hello(environ, start_response)

    pool = eventlet.GreenPool()
    served = serve(app, custom_pool=pool)
    client = eventlet.spawn(served.ask, GET)
    idle = eventlet.connect(served.address)
    begun.wait()
    greenthread.kill(served.green)
    assert client.wait().endswith(b"hello")
    assert idle.recv(1) == b""
    pool.waitall()
    assert "wsgi exited" in served.log.getvalue()


def test_the_error_of_a_header_says_what_to_do():
    for header in (("X", "\u0100"), ("\u0100", "x")):
        with pytest.raises(UnicodeEncodeError):
            wsgi._encode_header_line(header)
    assert wsgi._encode_header_line(("X", 3)) == b"X: 3\r\n"
    assert wsgi.format_date_time(0) == "Thu, 01 Jan 1970 00:00:00 GMT"


def status_of(answer):
    return answer.split(b"\r\n", 1)[0]


@pytest.mark.parametrize("status", [b"200 OK", "OK", "", 200])
def test_a_status_without_a_number_was_sent(serve, status):
    def app(environ, start_response):
        start_response(status, [])
        return [b"x"]

    served = serve(app, debug=False)
    answer = served.ask(GET)
    assert status_of(answer) == b"HTTP/1.1 500 Internal Server Error"
    assert '" 500 ' in served.log.getvalue()


def test_keepalive_of_one_second_was_for_ever(serve):
    served = serve(hello, keepalive=1)
    sock = eventlet.connect(served.address)
    sock.settimeout(30)
    sock.sendall(GET)
    data = b""
    while some := sock.recv(65536):
        data += some
    assert data.endswith(b"hello")


@pytest.mark.parametrize("limit", [1, 5, 16, 17, 18, 30])
def test_small_limits_of_the_request_line_were_ignored(serve, limit):
    served = serve(hello, url_length_limit=limit, keepalive=False)
    request = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"
    is_too_long = request.index(b"\n") + 1 >= limit
    assert status_of(served.ask(request)) == (
        b"HTTP/1.0 414 Request URI Too Long"
        if is_too_long
        else b"HTTP/1.1 200 OK"
    )


def test_names_of_fields_may_be_overridden(serve):
    class Protocol(wsgi.HttpProtocol):
        def formalize_key_naming(self, k):
            return k.replace("-", "_").replace("_", "__").upper()

    def app(environ, start_response):
        start_response("200 OK", [])
        names = [key for key in environ if key.startswith("HTTP_")]
        return [
            repr((sorted(names), environ["CONTENT_TYPE"])).encode()
        ]

    served = serve(app, protocol=Protocol, keepalive=False)
    answer = served.ask(
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Some: 1\r\nY_Z: 2\r\n"
        b"Content-Type: a/b\r\n\r\n"
    )
    body = eval(answer.split(b"\r\n\r\n")[1])
    assert body == (
        ["HTTP_CONTENT__TYPE", "HTTP_HOST", "HTTP_X__SOME", "HTTP_Y__Z"],
        "a/b",
    )


def test_slashes_at_the_start_of_a_path_are_one(serve):
    def app(environ, start_response):
        start_response("200 OK", [])
        return [
            f"{environ['RAW_PATH_INFO']} {environ['PATH_INFO']}".encode()
        ]

    served = serve(app, keepalive=False)
    answer = served.ask(b"GET //a%2Fb//c?d=//e HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n/a%2Fb//c /a/b//c")


def test_a_request_without_a_body_has_a_length_of_0(serve):
    def app(environ, start_response):
        start_response("200 OK", [])
        return [repr(environ["eventlet.input"].content_length).encode()]

    served = serve(app, keepalive=False)
    assert served.ask(GET).endswith(b"\r\n\r\n0")
    assert served.ask(CHUNKED).endswith(b"\r\n\r\nNone")


def test_a_socket_that_was_taken_is_logged_with_200(serve):
    def app(environ, start_response):
        environ["eventlet.input"].get_socket().sendall(b"taken")
        wsgi.WSGI_LOCAL.already_handled = True
        return []

    served = serve(app)
    assert served.ask(GET) == b"taken"
    eventlet.sleep(0)
    assert '"GET / HTTP/1.1" 200 0 ' in served.log.getvalue()


def test_too_many_fields_are_answered_431(serve):
    served = serve(hello)
    fields = b"".join(b"X-%d: y\r\n" % n for n in range(101))
    answer = served.ask(b"GET / HTTP/1.1\r\n" + fields + b"\r\n")
    assert b" 431 " in status_of(answer)


@pytest.mark.parametrize(
    "request_head, status",
    [(GET, b"HTTP/1.1 200 OK"), (b"GET\r\n\r\n", b"HTTP/1.0 400 Bad Request")],
)
def test_a_connection_with_its_own_files_was_written_past(
    request_head, status
):
    """As fakes of connections in programs' tests have them."""
    sent = bytearray()

    class File(io.BytesIO):
        def close(self):
            sent.extend(self.getvalue())
            super().close()

    class Connection:
        family = None

        def __init__(self):
            self.makefile = lambda mode, size: File(
                request_head if mode == "rb" else b""
            )

        def getsockname(self):
            return ("a", 1)

        def shutdown(self, how):
            pass

        def close(self):
            pass

    server = wsgi.Server(None, ("a", 1), hello, log_output=False)
    server.process_request([("b", 2), Connection(), wsgi.STATE_IDLE])
    assert status_of(bytes(sent)) == status


def test_a_protocol_that_replaces_wfile_was_written_past(serve):
    class Protocol(wsgi.HttpProtocol):
        def setup(self):
            super().setup()
            self.wfile = Counting(self.wfile)

    class Counting:
        total = 0

        def __init__(self, file):
            self.file = file

        def write(self, data):
            Counting.total += len(data)
            return self.file.write(data)

        def flush(self):
            self.file.flush()

        def close(self):
            self.file.close()

    served = serve(hello, protocol=Protocol, keepalive=False)
    answer = served.ask(GET)
    assert answer.endswith(b"hello")
    assert Counting.total == len(answer)


def test_more_of_a_chunk_was_read_of_a_file_than_was_asked_for():
    class File(io.BytesIO):
        def read(self, size=-1):
            asked.append(("read", size))
            return super().read(size)

    asked = []
    file = File(b"a\r\n0123456789\r\n0\r\n\r\n")
    body = wsgi.Input(file, None, None, chunked_input=True)
    assert body.read(4) == b"0123"
    assert file.tell() == len(b"a\r\n0123")
    assert body.read() == b"456789"
    assert asked == [("read", 4), ("read", 6)]


def test_the_default_type_of_a_message_class_was_not_asked_for(serve):
    class Protocol(wsgi.HttpProtocol):
        class MessageClass(wsgi.HttpProtocol.MessageClass):
            def get_default_type(self):
                return ""

    def app(environ, start_response):
        start_response("200 OK", [])
        return [repr(environ["CONTENT_TYPE"]).encode()]

    served = serve(app, protocol=Protocol, keepalive=False)
    assert served.ask(GET).endswith(b"\r\n''")
    typed = GET[:-2] + b"Content-Type: a/b\r\n\r\n"
    assert served.ask(typed).endswith(b"\r\n'a/b'")
