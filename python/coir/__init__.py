"""Coir: green threads on a C engine.

``coir.greenlet`` offers greenlet's API, ``coir.gevent`` that of gevent.
:func:`install_as` makes them answer to the names ``greenlet`` and ``gevent``
as well, so that programs written for those run on them unchanged.

Importing this package loads no C code and changes nothing.
"""

from coir._alias import install_as

__version__ = "0.1.0"

__all__ = ["__version__", "install_as"]
