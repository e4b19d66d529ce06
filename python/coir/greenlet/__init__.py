"""The API of greenlet 3.5.6 on Coir's coroutines.

Use it under this name, or let :func:`coir.install_as` give it the name
``greenlet`` for programs that know no other.

Nothing but names may live here: this file is also run as a module of its own
under the name ``greenlet``, and both must stay the same thing.

Coir's additions: :func:`get_stack_size`, :func:`set_stack_size`,
:func:`get_stack_policy`, :func:`set_stack_policy`, and the class attributes
``stack_size`` and ``stack_policy`` of subclasses of :class:`greenlet`.
"""

from coir._core import (  # noqa: F401
    _C_API,
    CLOCKS_PER_SEC,
    GREENLET_USE_CONTEXT_VARS,
    GREENLET_USE_GC,
    GREENLET_USE_TRACING,
    GreenletExit,
    enable_optional_cleanup,
    error,
    get_clocks_used_doing_optional_cleanup,
    get_stack_policy,
    get_stack_size,
    getcurrent,
    gettrace,
    greenlet,
    set_stack_policy,
    set_stack_size,
    settrace,
)

from . import _greenlet  # noqa: F401

#: The version of greenlet whose API this is: programs compare it with the
#: oldest one they can do with. Coir's own version is ``coir.__version__``.
__version__ = "3.5.6"

__all__ = [
    "__version__",
    "_C_API",
    "GreenletExit",
    "error",
    "getcurrent",
    "greenlet",
    "gettrace",
    "settrace",
]

if __name__ == "greenlet":
    # What is pickled under this name can be read by the original, too.
    error.__module__ = GreenletExit.__module__ = __name__
