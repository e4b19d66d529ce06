"""The standard library's :mod:`http.server`, green, by its former name."""

from __future__ import annotations

from . import BaseHTTPServer

for __name in dir(BaseHTTPServer):
    if not __name.startswith("__"):
        globals()[__name] = getattr(BaseHTTPServer, __name)

if __name__ == "__main__":
    test()  # noqa: F821
