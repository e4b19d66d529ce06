"""pyOpenSSL's own, up to its version 19."""

from OpenSSL.tsafe import *  # noqa: F403
