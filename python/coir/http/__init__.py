"""Serving HTTP: a WSGI server whose work is done in C.

::

    import coir.http

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"Hello\\n"]

    coir.http.serve(app, port=8000)

:class:`Server` is for programs that have more to do: it runs in the hub of the
thread that made it, beside other green threads. ``coir serve module:app`` is
both with workers, reload and configuration; gunicorn has a worker class in
:mod:`coir.http.gunicorn`.

What an application may meet when it reads a request or answers are the
exceptions here; all but :class:`RequestTimeout` are :class:`RequestError`, and
OSError.
"""

from coir._core import (
    BodyError,
    BodyTooLarge,
    ClientDisconnected,
    ClientTimeout,
    FileWrapper,
    RequestError,
    RequestTimeout,
)

from ._proxy import TrustedProxies
from ._server import Server, serve

__all__ = [
    "BodyError",
    "BodyTooLarge",
    "ClientDisconnected",
    "ClientTimeout",
    "FileWrapper",
    "RequestError",
    "RequestTimeout",
    "Server",
    "TrustedProxies",
    "serve",
]
