"""pyOpenSSL's own."""

from OpenSSL.crypto import *  # noqa: F403
