"""The standard library's :mod:`http`, whose modules are green."""

from http import *  # noqa: F403
from http import __all__ as __all__
