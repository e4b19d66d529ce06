"""An application served by bjoern, on the Unix socket given as argument."""

import os
import sys
import tempfile

import bjoern

SHOWN = ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "SERVER_PROTOCOL",
         "HTTP_X_ONE", "HTTP_X_ONE_MORE")


def application(environ, start_response):
    path = environ["PATH_INFO"]
    headers = [("Content-Type", "text/plain")]
    if path == "/error":
        raise ValueError("on purpose")
    if path == "/echo":
        body = environ["wsgi.input"].read()
        start_response("200 OK", [*headers, ("X-Length", str(len(body)))])
        return [body]
    start_response("200 OK", headers)
    if path == "/pieces":
        return (b"piece %d\n" % i for i in range(50))
    if path == "/large":
        return [b"0123456789abcdef" * 200000]
    if path == "/file":
        file = tempfile.TemporaryFile()
        file.write(b"of a file\n" * 50000)
        file.seek(0)
        return environ["wsgi.file_wrapper"](file)
    return [f"{name} {environ.get(name)}\n".encode() for name in SHOWN]


try:
    bjoern.run(application, f"unix:{sys.argv[1]}")
except KeyboardInterrupt:
    print("interrupted")
    os._exit(7)
