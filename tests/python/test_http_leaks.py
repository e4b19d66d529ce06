# ruff: noqa: E501 (programs in strings)
"""Nothing of coir.http leaks, and it lives without memory."""

import subprocess
import sys

import pytest

# --- nothing is left

LEAKS = """
import gc, json, os, resource, sys, tempfile
import coir.gevent as gevent, coir.http
from coir.gevent import socket
from coir.gevent import ssl as green_ssl

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
name = sys.argv[1]
file = tempfile.TemporaryFile()
file.write(b"x" * 10_000)
file.flush()

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/error":
        raise KeyError
    if path == "/twice":
        start_response("200 OK", [("A", "b")])
        start_response("200 OK", [("A", "b")])
    if path == "/refused":
        start_response("200 OK", [("A", "b\\n")])
    if path == "/kept":
        environ["self"] = environ
        environ["start"] = start_response
    if path == "/killed":
        raise gevent.GreenletExit
    if path == "/upgrade":
        stream = environ["coir.upgrade"]("101 S", [("Upgrade", "x")])
        stream.sendall(stream.recv(10))
        return []
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/file":
        file.seek(0)
        return environ["wsgi.file_wrapper"](file.raw if 0 else Kept(file))
    if path == "/sendfile":
        return environ["wsgi.file_wrapper"](open("/etc/hostname", "rb"))
    if path == "/write":
        write(b"x" * 10)
    if path == "/generator":
        return (b"%d" % i for i in range(5))
    if path == "/input":
        f = environ["wsgi.input"]
        return [f.readline(), f.read(2), *f]
    return [b"hello"]

class Kept:
    def __init__(self, file):
        self.read = file.read

class Server(coir.http.Server):
    def report(self, environ, exc):
        pass

heads = {
    "input": b"POST /input HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 9\\r\\n"
             b"\\r\\nab\\ncd\\nef\\n",
    "half": b"POST /input HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 9\\r\\n"
            b"Connection: close\\r\\n\\r\\nab\\ncd",
    "bad": b"GET / HTTP/1.1\\r\\n\\r\\n",
    "fields": b"GET / HTTP/1.1\\r\\nHost: a\\r\\nX-%d: a\\r\\nX-%d: b\\r\\n\\r\\n",
    "upgrade": b"GET /upgrade HTTP/1.1\\r\\nHost: a\\r\\nConnection: upgrade\\r\\n"
               b"Upgrade: x\\r\\n\\r\\nhello",
}
head = heads.get(
    name, b"GET /%s HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n" % name.encode()
)
closes = name in ("half", "bad", "upgrade")
server = Server(app, port=0, access_log=lambda line: None)
server.start()
conn = None

def once(i):
    global conn
    if conn is None:
        conn = socket.create_connection(("127.0.0.1", server.port))
    conn.sendall(head % (i, i) if b"%d" in head else head)
    if name == "half":
        conn.shutdown(1)
    got = b""
    while True:
        some = conn.recv(65536)
        got += some
        if not some:
            conn.close()
            conn = None
            return
        body = got.partition(b"\\r\\n\\r\\n")[2]
        if closes:
            continue
        lower = got.lower()
        if b"chunked" in lower and got.endswith(b"0\\r\\n\\r\\n"):
            return
        at = lower.find(b"content-length: ")
        if at >= 0 and b"\\r\\n\\r\\n" in got:
            if len(body) >= int(lower[at + 16:].split(b"\\r")[0]):
                return

def count():
    gevent.sleep(0)
    gc.collect()
    with open("/proc/self/statm") as f:
        pages = int(f.read().split()[1])
    # All references: only a debug build of the interpreter knows them.
    refs = getattr(sys, "gettotalrefcount", int)()
    return sys.getallocatedblocks(), len(os.listdir("/proc/self/fd")), pages, refs

times = int(sys.argv[2])
for i in range(600):
    once(i)
least = None
for _ in range(3):  # a JIT takes memory now and then; a leak does each time
    before = count()
    for i in range(times):
        once(i)
    grown = [b - a for a, b in zip(before, count())]
    least = list(map(min, least, grown)) if least else grown
    if least[0] < 100 and least[2] < 256 and least[3] < 200:
        break
print(json.dumps(least))
server.stop(1)
"""


@pytest.mark.parametrize(
    "name",
    [
        "hello", "error", "twice", "refused", "kept", "killed", "write",
        "generator", "file", "sendfile", "input", "half", "bad", "fields",
        "upgrade",
    ],
)  # fmt: skip
def test_nothing_leaks(name):
    times = 20_000 if name == "hello" else 1500
    out = subprocess.run(
        [sys.executable, "-c", LEAKS, name, str(times)],
        capture_output=True,
        timeout=300,
        text=True,
    )
    assert out.returncode == 0, out.stderr
    import json

    blocks, fds, pages, references = json.loads(out.stdout)
    assert blocks < 100
    assert references < 200
    assert fds <= 0
    assert pages * 4096 < times * 100 + 2_000_000


WITHOUT_MEMORY = """
import _testcapi, os, socket, sys
import coir.gevent as gevent, coir.http
from coir.gevent import socket as green

KINDS = b"/", b"/write"

def app(environ, start_response):
    kind = environ["PATH_INFO"]
    environ["wsgi.input"].readline()
    environ["wsgi.input"].read()
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    if kind == "/write":
        write(b"abc")
    return iter([b"hello"])

class Server(coir.http.Server):
    def report(self, environ, exc):
        assert isinstance(exc, MemoryError), exc

server = Server(app, port=0)
server.start()
ours, theirs = socket.socketpair()
if os.fork() == 0:
    ours.close()
    while request := theirs.recv(1000):
        with socket.create_connection(("127.0.0.1", server.port), 30) as s:
            s.sendall(request)
            got = b""
            while data := s.recv(1000):
                got += data
            theirs.sendall(got[:12] or b"closed")
    os._exit(0)
theirs.close()
ours = green.socket(fileno=ours.detach())
seen = set()
for kind in KINDS:
    for n in range(40):
        ours.sendall(
            b"POST %s HTTP/1.1\\r\\nHost: a\\r\\nX-Other: y\\r\\nAccept: z\\r\\n"
            b"Accept: q\\r\\nConnection: close\\r\\nContent-Length: 8\\r\\n"
            b"\\r\\nab\\ncd\\nef" % kind
        )
        _testcapi.set_nomemory(n, n + 1)
        try:
            seen.add(ours.recv(100))
        except MemoryError:
            # Its answer may be what there was no room for.
            ours.settimeout(0.05)
            try:
                ours.recv(100)
            except TimeoutError:
                pass
            ours.settimeout(None)
        finally:
            _testcapi.remove_mem_hooks()
for _ in range(100):
    if server.counters()["connections"] == 0:
        break
    gevent.sleep(0.01)
print(sorted(seen), server.counters()["connections"])
"""


def test_without_memory():
    """Each allocation of a request fails in turn: its client is told."""
    pytest.importorskip("_testcapi")
    out = subprocess.run(
        [sys.executable, "-c", WITHOUT_MEMORY],
        capture_output=True,
        timeout=120,
        text=True,
    )
    assert out.returncode == 0, out.stderr
    assert "HTTP/1.1 200" in out.stdout
    assert "HTTP/1.1 500" in out.stdout
    assert "HTTP/1.1 503" in out.stdout
    assert out.stdout.endswith(" 0\n")
