"""pyOpenSSL, whose connections block the current green thread only."""

from . import SSL, crypto  # noqa: F401
from .version import __version__  # noqa: F401
