"""The standard library's :mod:`builtins`: there is nothing to replace.

Imports are locked per module, by locks that :func:`patch_thread` makes
cooperative.
"""

from __future__ import annotations

import builtins as __builtins_module__

from ._util import copy_globals

__target__ = "builtins"
__implements__: list[str] = []
__all__ = __implements__

__imports__ = copy_globals(
    __builtins_module__, globals(), names_to_ignore=__implements__
)


def _unlock_imports() -> None:
    """Nothing is to be done: imports take no lock of ours."""


def _lock_imports() -> None:
    """Nothing is to be done, as in :func:`_unlock_imports`."""
