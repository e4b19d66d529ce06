"""The standard library's :mod:`urllib.request`, green, by its former name."""

from __future__ import annotations

from .urllib import request

for __name in dir(request):
    if not __name.startswith("__"):
        globals()[__name] = getattr(request, __name)
