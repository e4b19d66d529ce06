"""Context variables: the interpreter's own.

Each greenlet has a context of its own, see ``Greenlet.gr_context``. Nothing is
to be patched.
"""

from __future__ import annotations

from contextvars import Context, ContextVar, Token, copy_context

__implements__: list[str] = []
__imports__ = ["ContextVar", "Context", "copy_context", "Token"]
__all__ = __imports__
