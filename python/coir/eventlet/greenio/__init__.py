"""Sockets and pipes that block the current green thread only."""

from .base import *  # noqa: F403
from .py3 import *  # noqa: F403
