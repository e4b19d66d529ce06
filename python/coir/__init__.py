"""Coir: green threads on a C engine.

``coir.greenlet`` offers greenlet's API. :func:`install_as` makes it answer to
the name ``greenlet`` as well, so that programs written for greenlet run on it
unchanged.

Importing this package loads no C code and changes nothing.
"""

from coir._alias import install_as

__version__ = "0.1.0"

__all__ = ["__version__", "install_as"]
