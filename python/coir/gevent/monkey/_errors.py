"""What may go wrong in patching."""

from __future__ import annotations

from types import ModuleType


class MonkeyPatchWarning(RuntimeWarning):
    """Patching was done in a way that may not do what it should."""


class _BadImplements(AttributeError):
    """A module does not say what it offers as replacements."""

    def __init__(self, module: ModuleType) -> None:
        super().__init__(
            f"Module {module!r} has a bad or missing value for __implements__"
        )
