"""The standard library's :mod:`urllib`, whose modules are green."""

from .. import ftplib, httplib, socket, time  # noqa: F401
