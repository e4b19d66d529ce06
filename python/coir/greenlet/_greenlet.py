"""The names of greenlet's own extension module, for those who reach for it."""

from coir._core import *
from coir._core import _C_API
