"""Answer to the names of the packages that Coir stands in for.

One finder at the head of ``sys.meta_path`` knows the names that were asked
for. For such a name it gives the spec of our package's own file under the
name asked for, with the ordinary source loader: ``greenlet`` is then a module
like any other, with its own ``__name__`` and ``__spec__``, so that reload,
``find_spec``, ``python -m`` and pickled names need no further care.

``greenlet`` is a second module beside ``coir.greenlet``, which does no harm:
neither holds any state, the objects in both are those of ``coir._core``.
``gevent`` and ``eventlet`` hold a lot of it (configuration, what was patched
and by what, the class of the hub), and classes written in Python besides. So
``gevent.X`` and ``coir.gevent.X`` are one module under two names, and
``eventlet.X`` and ``coir.eventlet.X``. It is called by the name
under which the package was imported first: ``gevent``, in a program that asks
for that. For a module's other name the finder gives a spec whose loader
imports it under its own.

What we do not have is found in the original, if that is installed as well.
Of greenlet this is everything: its directory comes second on ``__path__``.
gevent's modules rest on each other's private parts, and so do eventlet's, so
what else is there must not mix with ours: only what ``BORROWED`` lists is
found there.

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
    from typing import Any

VARIABLE = "COIR_AS"

#: The start-up file beside the package that reads it.
HOOK = "coir_as.pth"

#: What can be asked for.
SUPPORTED = ("greenlet", "gevent", "eventlet")

#: Names that a name brings with it: the switches of both must be the same.
IMPLIED = {"gevent": ("greenlet",), "eventlet": ("greenlet",)}

#: Packages of which there must be one in a process, and those of their
#: modules that are the original's: written in Python, on its public names.
BORROWED: dict[str, tuple[str, ...]] = {
    "gevent": ("testing", "tests"),
    "eventlet": (),
}

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
        name, _, rest = fullname.removeprefix("coir.").partition(".")
        if name not in self.names:
            return None
        if name in BORROWED:
            return self._find_shared(fullname, name, rest)
        return None if fullname != name else self._find_ours(name)

    def _find_ours(self, name: str) -> ModuleSpec | None:
        # Since CPython 3.13 this module replaces itself, and a thread that
        # wants names of it meanwhile may get the empty one. So have it done
        # before other threads can find modules of ours, which want them.
        import collections.abc  # noqa: F401
        from importlib.util import spec_from_file_location

        ours = os.path.join(_here, name)
        paths = [ours]
        if name not in BORROWED:
            paths += self._original(name)
        return spec_from_file_location(
            name,
            os.path.join(ours, "__init__.py"),
            submodule_search_locations=paths,
        )

    def _find_shared(
        self, fullname: str, name: str, rest: str
    ) -> ModuleSpec | None:
        """Find a module of a package that has two names, and one state."""
        modules = sys.modules
        package = modules.get(f"coir.{name}") or modules.get(name)
        own_name = name if package is None else package.__name__
        if fullname == own_name == name:
            return self._find_ours(name)
        if not fullname.startswith(own_name) and _has(name, rest):
            from coir._loader import spec_of_other_name

            return spec_of_other_name(
                fullname, f"{own_name}.{rest}" if rest else own_name
            )
        if (
            fullname == f"{name}.{rest}"
            and rest in BORROWED[name]
            and not _has(name, rest)
        ):
            from importlib.machinery import PathFinder

            return PathFinder.find_spec(fullname, [*self._original(name)])
        return None

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


class _WorkerFinder:
    """Tells gunicorn the name of our worker class, for ``-k coir``.

    It finds gunicorn's package of workers as ever, and adds a name to those
    that it knows, once.
    """

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname != "gunicorn.workers":
            return None
        from importlib.machinery import PathFinder

        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path)
        loader: Any = spec.loader if spec is not None else None
        if loader is not None:
            loader.exec_module = _add_worker(loader.exec_module)
        return spec


def _add_worker(exec_module: Any) -> Any:
    def exec_and_add(module: Any) -> None:
        exec_module(module)
        workers = getattr(module, "SUPPORTED_WORKERS", None)
        if isinstance(workers, dict):
            workers.setdefault("coir", "coir.http.gunicorn.Worker")

    return exec_and_add


def install_as(*names: str) -> None:
    """Make Coir's packages importable under the names of the originals.

    After ``coir.install_as("greenlet")``, ``import greenlet`` in this process
    gives what ``coir.greenlet`` gives, whether or not the original is
    installed; ``importlib.metadata`` answers for it too. What the original
    has and Coir has not, such as ``greenlet.tests``, is still found if the
    original is installed.

    ``"gevent"`` and ``"eventlet"`` bring ``"greenlet"`` with them. ``gevent``
    and ``coir.gevent`` then are the same modules under two names, as are
    ``eventlet`` and ``coir.eventlet``.

    Call it first thing in the program, before anything imports the original.
    Child processes do not inherit it: set ``COIR_AS=greenlet`` in the
    environment for those, or start the program with ``coir run``, which does.

    Asking again for a name is allowed and does nothing. If an error is raised,
    no name was installed. May be called from any thread.

    :param names: ``"greenlet"``, ``"gevent"`` or ``"eventlet"``.
    :raises ValueError: for a name that Coir has no package for.
    :raises RuntimeError: if the original of that name was imported already.
    """
    if not names:
        raise TypeError("install_as() needs at least one name")
    for name in names:
        check_name(name)
    with _lock:
        before = _finder.names
        new = set(names).union(*(IMPLIED.get(name, ()) for name in names))
        new -= before
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
    raise ValueError(f"Coir does not stand in for {name!r}, only for: {have}")


def _has(name: str, rest: str) -> bool:
    """True if our package `name` has the module `rest`, itself if ""."""
    path = os.path.join(_here, name, *rest.split("."))
    return os.path.isdir(path) or os.path.isfile(f"{path}.py")


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
    if "gunicorn" in str(sys.orig_argv[:4]):
        sys.meta_path.insert(0, _WorkerFinder())
    for name in split_names(os.environ.get(VARIABLE, "")):
        try:
            install_as(name)
        except Exception as exc:
            if sys.stderr is not None:
                print(f"coir: in {VARIABLE}: {exc}", file=sys.stderr)
