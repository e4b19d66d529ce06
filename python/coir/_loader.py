"""Load a module under a second name: for the finder in ``_alias``.

Apart from it, because it is needed only by who uses both names of a package.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec, spec_from_file_location
from types import ModuleType

TYPE_CHECKING = False  # as in _alias
if TYPE_CHECKING:
    from typing import Any


class OtherNameLoader(SourceFileLoader):
    """Gives the module that has another name as its own.

    Where the import system wants a new module it gets the one of that name,
    imported if need be, and as it is: ``sys.modules`` then has it under both.
    All else, such as the code for ``python -m``, is that of the source file.
    """

    def __init__(self, fullname: str, path: str, own_name: str) -> None:
        super().__init__(fullname, path)
        self._own_name = own_name
        self._own_spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        import_module(self._own_name)
        # Not what that returned: a module may put another in its place.
        module = sys.modules[self._own_name]
        self._own_spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has set its spec to that of this name.
        module.__spec__ = self._own_spec


def spec_of_other_name(fullname: str, own_name: str) -> ModuleSpec | None:
    """The spec for `fullname` that gives the module `own_name`."""
    own = find_spec(own_name)
    if own is None or own.origin is None:
        return None
    # Of Python 3.15 typeshed has load_module() still, which is gone there.
    loader: Any = OtherNameLoader(fullname, own.origin, own_name)
    return spec_from_file_location(
        fullname,
        own.origin,
        loader=loader,
        submodule_search_locations=own.submodule_search_locations,
    )
