"""The standard library's :mod:`urllib.request`, green."""

from __future__ import annotations

from typing import Any

from ... import patcher
from .. import ftplib, http, os, socket, ssl, time
from ..http import client, cookiejar
from . import error, parse, response

patcher.inject(
    "urllib.request",
    globals(),
    ("http", http),
    ("http.client", client),
    ("http.cookiejar", cookiejar),
    ("os", os),
    ("socket", socket),
    ("ssl", ssl),
    ("time", time),
    ("urllib.error", error),
    ("urllib.parse", parse),
    ("urllib.response", response),
)


def _patch_imports_of(owner: Any, *names: str) -> None:
    """Functions that import ftplib when they are called."""
    for name in names:
        func = (
            owner.get(name) if isinstance(owner, dict) else vars(owner)[name]
        )
        green = patcher.patch_function(func, ("ftplib", ftplib))
        if isinstance(owner, dict):
            owner[name] = green
        else:
            setattr(owner, name, green)


_names = globals()
_patch_imports_of(_names["FTPHandler"], "ftp_open")
if "URLopener" in _names:  # up to Python 3.13
    _patch_imports_of(_names["URLopener"], "open_ftp")
_patch_imports_of(_names["ftpwrapper"], "init", "retrfile")
if "ftperrors" in _names:
    _patch_imports_of(_names, "ftperrors")
