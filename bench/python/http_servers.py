"""HTTP servers in Python, for the http suite.

    python http_servers.py NAME

listens on a port of its own, prints it, and serves until it is killed: one
process that works, with as few others beside it as the server allows. All run
the same WSGI application, but for uvicorn, which has one like it.
"""

import os
import socket
import sys
import tempfile
from pathlib import Path

HELLO = b"Hello, World!\n"
JSON = b"[" + b"1234567," * 1279 + b"12345]\n"
FILE_SIZE = 1 << 20
PAUSE = 0.1  # seconds
BACKLOG = 4096


def say(port):
    print("listening on port", port, flush=True)


def free_port():
    """For servers that cannot tell which they got."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def file_path():
    path = Path(tempfile.gettempdir()) / f"coir-bench-file-{os.getuid()}"
    if not path.exists() or path.stat().st_size != FILE_SIZE:
        path.write_bytes(b"x" * FILE_SIZE)
    return str(path)


def application(sleep):
    """:param sleep: how its green threads, or threads, pause."""
    path_of_file = file_path()

    def app(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/hello":
            body = HELLO
            kind = "text/plain"
        elif path == "/json":
            body = JSON
            kind = "application/json"
        elif path == "/file":
            start_response("200 OK", [
                ("Content-Type", "application/octet-stream"),
                ("Content-Length", str(FILE_SIZE))])
            wrapper = environ.get("wsgi.file_wrapper")
            file = open(path_of_file, "rb")  # noqa: SIM115
            if wrapper is not None:
                return wrapper(file, 65536)
            return iter(lambda: file.read(65536), b"")
        elif path == "/upload":
            read = environ["wsgi.input"].read
            while read(65536):
                pass
            body, kind = b"taken\n", "text/plain"
        else:
            sleep(PAUSE)
            body, kind = HELLO, "text/plain"
        start_response("200 OK", [("Content-Type", kind),
                                  ("Content-Length", str(len(body)))])
        return [body]

    return app


def serve_coir():
    import coir.http
    from coir.gevent import sleep

    server = coir.http.Server(application(sleep), port=0, backlog=BACKLOG)
    server.start()
    say(server.port)
    server.serve_forever()


def serve_pywsgi(package, nodelay):
    import importlib

    module = importlib.import_module(f"{package}.pywsgi")
    sleep = importlib.import_module(package).sleep

    class Handler(module.WSGIHandler):
        def __init__(self, sock, *args, **kwargs):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            super().__init__(sock, *args, **kwargs)

    server = module.WSGIServer(
        ("127.0.0.1", 0), application(sleep), log=None, backlog=BACKLOG,
        handler_class=Handler if nodelay else module.WSGIHandler)
    server.start()
    say(server.server_port)
    server.serve_forever()


def serve_eventlet(package="eventlet"):
    import importlib

    eventlet = importlib.import_module(package)
    wsgi = importlib.import_module(f"{package}.wsgi")
    listener = eventlet.listen(("127.0.0.1", 0), backlog=BACKLOG)
    say(listener.getsockname()[1])
    wsgi.server(listener, application(eventlet.sleep), log_output=False,
                max_size=20_000)


def serve_gunicorn(worker):
    from gunicorn.app.base import BaseApplication

    port = free_port()

    class Server(BaseApplication):
        def load_config(self):
            for key, value in {
                "bind": f"127.0.0.1:{port}", "workers": 1,
                "worker_class": worker, "backlog": BACKLOG,
                "worker_connections": 20_000, "keepalive": 600,
                "loglevel": "error", "control_socket_disable": True,
            }.items():
                if key in self.cfg.settings:
                    self.cfg.set(key, value)

        def load(self):
            import time

            return application(time.sleep)  # patched by the worker

    say(port)
    Server().run()


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        return
    path = scope["path"]
    body, kind = HELLO, b"text/plain"
    if path == "/json":
        body, kind = JSON, b"application/json"
    elif path == "/file":
        kind = b"application/octet-stream"
        with open(file_path(), "rb") as file:
            body = file.read()
    elif path == "/upload":
        while (await receive()).get("more_body"):
            pass
    elif path == "/sleep":
        import asyncio

        await asyncio.sleep(PAUSE)
    await send({"type": "http.response.start", "status": 200, "headers": [
        (b"content-type", kind), (b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def serve_uvicorn():
    import uvicorn

    port = free_port()
    say(port)
    uvicorn.run(asgi, host="127.0.0.1", port=port, http="httptools",
                loop="uvloop", access_log=False, log_level="error",
                lifespan="off", backlog=BACKLOG, timeout_keep_alive=600)


def serve_bjoern():
    import time

    import bjoern

    port = free_port()
    say(port)
    bjoern.run(application(time.sleep), "127.0.0.1", port,
               listen_backlog=BACKLOG)


def __getattr__(name):
    """Granian imports this module in its worker, and asks for the
    application."""
    import time

    if name != "granian_app":
        raise AttributeError(name)
    return application(time.sleep)


def serve_granian():
    from granian import Granian
    from granian.constants import Interfaces

    port = free_port()
    say(port)
    sys.path.insert(0, str(Path(__file__).parent))
    Granian("http_servers:granian_app", address="127.0.0.1", port=port,
            interface=Interfaces.WSGI, workers=1, log_enabled=False,
            backlog=BACKLOG, blocking_threads=64).serve()


SERVERS = {
    "coir.http": serve_coir,
    "coir.gevent.pywsgi": lambda: serve_pywsgi("coir.gevent", False),
    "gevent.pywsgi": lambda: serve_pywsgi("gevent", False),
    "gevent.pywsgi-nodelay": lambda: serve_pywsgi("gevent", True),
    "eventlet.wsgi": serve_eventlet,
    "coir.eventlet.wsgi": lambda: serve_eventlet("coir.eventlet"),
    "gunicorn-gevent": lambda: serve_gunicorn("gevent"),
    "gunicorn-coir": lambda: serve_gunicorn("coir"),
    "uvicorn": serve_uvicorn,
    "bjoern": serve_bjoern,
    "granian": serve_granian,
}

if __name__ == "__main__":
    SERVERS[sys.argv[1]]()
