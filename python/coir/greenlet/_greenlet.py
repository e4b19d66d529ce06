"""The names of greenlet's own extension module, for those who reach for it."""

from coir._core import *  # noqa: F403
from coir._core import _C_API  # noqa: F401
