"""Answer to the names of the packages that Coir stands in for.

One finder at the head of ``sys.meta_path`` knows the names that were asked
for. For such a name it gives the spec of our package's own file under the
name asked for, with the ordinary source loader: ``greenlet`` is then a module
like any other, with its own ``__name__`` and ``__spec__``, so that reload,
``find_spec``, ``python -m`` and pickled names need no further care. It is a
second module beside ``coir.greenlet``, but neither holds any state: the
objects in both are those of ``coir._core``.

The directory of an original that is installed as well comes second on the
module's ``__path__``. So what we do not have, its tests for one, is found
there, and what we have is found here.

``importlib.metadata`` asks the same finder for distributions.

With ``COIR_AS`` this runs at every start of Python: import little here.
"""

from __future__ import annotations

import os
import sys
from _thread import allocate_lock

TYPE_CHECKING = False  # true to type checkers; typing takes long to import
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from importlib.machinery import ModuleSpec
    from importlib.metadata import Distribution, DistributionFinder
    from types import ModuleType

VARIABLE = "COIR_AS"

#: The start-up file beside the package that reads it.
HOOK = "coir_as.pth"

#: What can be asked for in this release, and what cannot yet.
SUPPORTED = ("greenlet",)
PLANNED = ("gevent", "eventlet")

_here = os.path.dirname(os.path.abspath(__file__))
_lock = allocate_lock()
_environ_is_done = False


class _Finder:
    """Finds packages of Coir under the names of others."""

    def __init__(self) -> None:
        # Replaced as a whole, so that readers need no lock.
        self.names: frozenset[str] = frozenset()

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname not in self.names:
            return None
        from importlib.util import spec_from_file_location

        ours = os.path.join(_here, fullname)
        return spec_from_file_location(
            fullname,
            os.path.join(ours, "__init__.py"),
            submodule_search_locations=[ours, *self._original(fullname)],
        )

    def _original(self, name: str) -> Iterable[str]:
        """Directories of the package of that name that we stand in for."""
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, None)
            if spec is not None:
                return spec.submodule_search_locations or ()
        return ()

    def invalidate_caches(self) -> None:
        """Nothing is cached."""

    def find_distributions(
        self, context: DistributionFinder.Context
    ) -> Iterable[Distribution]:
        # Who gives a path asks what lies there, pip for one; we are not an
        # installed distribution and must not look like one.
        if "path" in vars(context) or not self.names:
            return ()
        from coir._metadata import AliasDistribution

        wanted = self.names
        if context.name is not None:
            wanted = wanted & {context.name.lower()}
        site = os.path.dirname(_here)
        return [AliasDistribution(name, site) for name in sorted(wanted)]


_finder = _Finder()


def install_as(*names: str) -> None:
    """Make Coir's packages importable under the names of the originals.

    After ``coir.install_as("greenlet")``, ``import greenlet`` in this process
    gives what ``coir.greenlet`` gives, whether or not the original is
    installed; ``importlib.metadata`` answers for it too. What the original
    has and Coir has not, such as ``greenlet.tests``, is still found if the
    original is installed.

    Call it first thing in the program, before anything imports the original.
    Child processes do not inherit it: set ``COIR_AS=greenlet`` in the
    environment for those, or start the program with ``coir run``, which does.

    Asking again for a name is allowed and does nothing. If an error is raised,
    no name was installed. May be called from any thread.

    :param names: ``"greenlet"`` in this release.
    :raises ValueError: for a name that this release has no package for.
    :raises RuntimeError: if the original of that name was imported already.
    """
    if not names:
        raise TypeError("install_as() needs at least one name")
    for name in names:
        check_name(name)
    with _lock:
        before = _finder.names
        new = set(names) - before
        # The finder first: what another thread imports from here on is ours.
        _finder.names = before | new
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)
        for name in sorted(new):
            if _is_foreign(name):
                _finder.names = before
                raise RuntimeError(
                    f"{name} was imported before coir.install_as({name!r}); "
                    f"call it before anything imports {name}, or set "
                    f"{VARIABLE}={name} in the environment, or start the "
                    f"program with: coir run --as {name}"
                )


def check_name(name: str) -> None:
    """Raise ValueError if we cannot stand in for the package `name`."""
    if not isinstance(name, str):
        raise TypeError(
            f"names must be str, such as 'greenlet', not {type(name).__name__}"
        )
    if name in SUPPORTED:
        return
    have = ", ".join(SUPPORTED)
    if name in PLANNED:
        raise ValueError(
            f"this release of Coir does not stand in for {name!r} yet, "
            f"only for: {have}"
        )
    raise ValueError(f"Coir does not stand in for {name!r}, only for: {have}")


def _is_foreign(name: str) -> bool:
    """True if modules of that name are loaded and not ours."""
    if name in sys.modules:
        module = sys.modules[name]
        if module is sys.modules.get(f"coir.{name}"):
            return False  # put there by hand
        file = getattr(module, "__file__", None) or ""
        return os.path.dirname(file) != os.path.join(_here, name)
    return any(key.startswith(f"{name}.") for key in sys.modules)


def split_names(text: str) -> list[str]:
    """The names in the value of ``COIR_AS`` or ``--as``."""
    return [name for part in text.split(",") if (name := part.strip())]


def install_from_environ() -> None:
    """Do what ``COIR_AS`` says; called at start-up, from ``coir_as.pth``.

    A mistake in the variable is reported on stderr and otherwise ignored: it
    must not keep every Python of that environment from starting.
    """
    global _environ_is_done
    if _environ_is_done:
        return  # in a venv, some Pythons run each start-up file twice
    _environ_is_done = True
    for name in split_names(os.environ.get(VARIABLE, "")):
        try:
            install_as(name)
        except Exception as exc:
            if sys.stderr is not None:
                print(f"coir: in {VARIABLE}: {exc}", file=sys.stderr)
