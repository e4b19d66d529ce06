"""The standard library's :mod:`http.client`, green, by its former name."""

from __future__ import annotations

from .http import client

for __name in dir(client):
    if not __name.startswith("__"):
        globals()[__name] = getattr(client, __name)
