"""Code of other interpreters, where threads are greenlets.

Nothing is patched in them, and Coir cannot be imported there: what waits in
such code blocks its native thread. So it has one for itself while it runs, and
the greenlet that called it waits. ``concurrent.interpreters`` and its pools
use the functions of the module ``_interpreters``, which is public in nothing
but these.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any

from .._hub_local import get_hub_if_exists
from ._state import is_object_patched
from .api import patch_item


def adopt() -> None:
    """Have code of other interpreters block the calling greenlet only."""
    if sys.version_info < (3, 14):
        return  # there is no public way to another interpreter
    try:
        interpreters = import_module("_interpreters")
    except ImportError:
        return  # Python was built without
    for name in ("call", "exec", "run_func", "run_string"):
        if not is_object_patched(interpreters.__name__, name):
            patch_item(interpreters, name, _green(getattr(interpreters, name)))


def _green(func: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(func)
    def green(*args: Any, **kwargs: Any) -> Any:
        from ..greenlet import getcurrent
        from ..threadpool import ThreadPool

        hub = get_hub_if_exists()
        if hub is None or getcurrent() is hub:
            return func(*args, **kwargs)
        pool = ThreadPool(1)
        try:
            return pool.apply(func, args, kwargs)
        finally:
            pool._end_when_done()

    return green
