"""The built-in names; the hub is told of each file that `open` opens."""

from __future__ import annotations

import builtins as __builtins
from typing import Any

from .. import hubs
from ..patcher import slurp_properties

__all__ = dir(__builtins)
__patched__ = ["open"]

slurp_properties(
    __builtins, globals(), ignore=__patched__, srckeys=dir(__builtins)
)

hubs.get_hub()

__open = __builtins.open
__is_telling = False


def open(*args: Any, **kwargs: Any) -> Any:
    """As the built-in one."""
    global __is_telling
    file = __open(*args, **kwargs)
    # Imports may open files, and telling may import something.
    if not __is_telling:
        __is_telling = True
        try:
            hubs.notify_opened(file.fileno())
        finally:
            __is_telling = False
    return file
