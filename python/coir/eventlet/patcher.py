"""Make modules green: the standard library, or what is imported through here.

`monkey_patch` replaces what blocks a thread in the modules of the standard
library by what blocks a green thread. It belongs at the very start of a
program. `import_patched` imports one module in a way that it, and what it
imports, gets the green modules, while others keep theirs. `original` gives a
module of the standard library as it is without any of this.

Native locks that exist when threads are patched become green ones: an RLock
wherever it is found, even if this thread holds it; a Lock if it is free and
all who have it are found. See ``coir.gevent.monkey``.
"""

from __future__ import annotations

import _imp as imp
import sys
from collections.abc import Callable, Collection, Iterable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

__all__ = ["inject", "import_patched", "monkey_patch", "is_monkey_patched"]

__exclude = {"__builtins__", "__file__", "__name__"}

#: Names of modules, and modules that are to stand for them.
_Pairs = list[tuple[str, Any]]


class SysModulesSaver:
    """Keeps what some names stand for in ``sys.modules``, to restore it.

    Imports of other threads wait from when it is made until `restore`.
    """

    def __init__(self, module_names: Iterable[str] = ()) -> None:
        self._saved: dict[str, Any] = {}
        imp.acquire_lock()
        self.save(*module_names)

    def save(self, *module_names: str) -> None:
        """Keep what these stand for now."""
        for name in module_names:
            self._saved[name] = sys.modules.get(name)

    def restore(self) -> None:
        """Have them stand for that again."""
        try:
            for name, module in self._saved.items():
                if module is None:
                    sys.modules.pop(name, None)
                else:
                    sys.modules[name] = module
        finally:
            imp.release_lock()


def _import(name: str) -> Any:
    """Import a module by its full name, and return that very one."""
    import_module(name)
    return sys.modules[name]


def _default_modules() -> _Pairs:
    return [
        *_green_os_modules(),
        *_green_select_modules(),
        *_green_socket_modules(),
        *_green_thread_modules(),
        *_green_time_modules(),
    ]


# --- importing ---------------------------------------------------------------


def _own_classes(module_name: str, namespace: dict[str, Any]) -> None:
    """Say of a module's classes that they come from where they were injected.

    There they can be found, by pickle for one; under the name of the module
    itself are others.
    """
    for value in namespace.values():
        if isinstance(value, type) and value.__module__ == module_name:
            value.__module__ = namespace["__name__"]


def inject(
    module_name: str,
    new_globals: dict[str, Any] | None,
    *additional_modules: tuple[str, Any],
) -> Any:
    """Import a module anew, while others stand for those it imports.

    ``sys.modules`` is as it was afterwards. A module is made once: a second
    call gives the same.

    :param new_globals: what is to get the module's names, if not None.
    :param additional_modules: pairs of a name and a module; all green
        modules of general use, if there are none.
    """
    patched_name = "__patched_module_" + module_name
    if patched_name in sys.modules:
        return sys.modules[patched_name]
    pairs = additional_modules or _default_modules()
    saver = SysModulesSaver(name for name, _ in pairs)
    prefix = module_name + "."
    own = [
        name
        for name in sys.modules
        if name == module_name or name.startswith(prefix)
    ]
    saver.save(module_name, *own)
    package, _, attr = module_name.rpartition(".")
    parent = sys.modules.get(package)
    before = getattr(parent, attr, None)
    lent: list[tuple[Any, str]] = []
    try:
        sys.modules.update(pairs)
        for name, green in pairs:
            # "import a.b" looks for b in a, but does not set it there.
            owner = sys.modules.get(name.rpartition(".")[0])
            last = name.rpartition(".")[2]
            if owner is not None and not hasattr(owner, last):
                setattr(owner, last, green)
                lent.append((owner, last))
        # Names of the package itself that were given are to stay.
        given = {name for name, _ in pairs}
        for name in {module_name, *own} - (given - {module_name}):
            sys.modules.pop(name, None)
        module = _import(module_name)
        for name in list(sys.modules):
            if name.startswith(prefix) and name not in own:
                saver.save(name)
                saver._saved[name] = None
        if new_globals is not None:
            for name in dir(module):
                if name not in __exclude:
                    new_globals[name] = getattr(module, name)
        sys.modules[patched_name] = module
    finally:
        saver.restore()
        for owner, last in lent:
            if hasattr(owner, last):
                delattr(owner, last)
        # Importing it has set it in its package, too, where others who
        # import it would find it.
        owner = sys.modules.get(package)
        if before is not None and owner is parent:
            setattr(owner, attr, before)
        elif module_name not in sys.modules and hasattr(owner, attr):
            delattr(owner, attr)
    return module


def _run_in(
    namespace: dict[str, Any],
    module_name: str,
    *additional_modules: tuple[str, Any],
) -> None:
    """Run a module's code in another, as `inject` imports it.

    Its functions then heed what is set there later, as programs do with
    limits.
    """
    spec = find_spec(module_name)
    assert spec is not None
    loader: Any = spec.loader
    code = loader.get_code(module_name)
    doc = namespace["__doc__"]
    saver = SysModulesSaver(name for name, _ in additional_modules)
    try:
        sys.modules.update(additional_modules)
        exec(code, namespace)
    finally:
        saver.restore()
    namespace["__doc__"] = doc


def import_patched(
    module_name: str,
    *additional_modules: tuple[str, Any],
    **kw_additional_modules: Any,
) -> Any:
    """Import a module that is to use the green modules; see `inject`."""
    return inject(
        module_name,
        None,
        *additional_modules,
        *kw_additional_modules.items(),
    )


def patch_function(
    func: Callable[..., Any], *additional_modules: tuple[str, Any]
) -> Callable[..., Any]:
    """A function that calls `func` while others stand for some modules.

    For functions that import what they need when they are called. The
    modules are those of `inject`.
    """
    pairs = list(additional_modules) or _default_modules()

    def patched(*args: Any, **kw: Any) -> Any:
        saver = SysModulesSaver(name for name, _ in pairs)
        try:
            sys.modules.update(pairs)
            return func(*args, **kw)
        finally:
            saver.restore()

    return patched


def _original_patch_function(
    func: Callable[..., Any], *module_names: str
) -> Callable[..., Any]:
    """One that calls `func` while `original` modules stand for those."""
    return patch_function(
        func, *((name, original(name)) for name in module_names)
    )


#: What of the modules that can be had as they were imports which of these.
_DEPENDENCIES = {"threading": "_thread", "queue": "threading"}


def original(modname: str) -> Any:
    """A module of the standard library as it is when nothing is patched.

    It is another module than the one that programs import, with a state of
    its own. Each call gives the same.
    """
    original_name = "__original_module_" + modname
    if original_name in sys.modules:
        return sys.modules[original_name]
    saver = SysModulesSaver((modname,))
    try:
        sys.modules.pop(modname, None)
        dependency = _DEPENDENCIES.get(modname)
        if dependency is not None:
            saver.save(dependency)
            sys.modules[dependency] = original(dependency)
        sys.modules[original_name] = _import(modname)
    finally:
        saver.restore()
    return sys.modules[original_name]


def slurp_properties(
    source: Any,
    destination: dict[str, Any],
    ignore: Collection[str] = (),
    srckeys: Iterable[str] | None = None,
) -> None:
    """Copy names of a module into a dictionary.

    :param ignore: names that are left out, as are those with ``__``.
    :param srckeys: the names; those in ``__all__``, if not given.
    """
    for name in source.__all__ if srckeys is None else srckeys:
        if not name.startswith("__") and name not in ignore:
            destination[name] = getattr(source, name)


# --- patching ----------------------------------------------------------------

#: The options of `monkey_patch` that were in effect so far.
already_patched: dict[str, bool] = {}

#: All options, and which of them are off unless they are asked for by name.
_OPTIONS = {
    "os",
    "select",
    "socket",
    "thread",
    "time",
    "psycopg",
    "MySQLdb",
    "builtins",
    "subprocess",
}
_OFF = {"MySQLdb", "builtins"}


def _check_options(on: dict[str, Any]) -> dict[str, Any]:
    assert not ("__builtin__" in on and "builtins" in on)
    if "__builtin__" in on:
        on["builtins"] = on.pop("__builtin__")
    default = on.pop("all", None)
    for name in on:
        if name not in _OPTIONS:
            raise TypeError(
                f"monkey_patch() got an unexpected keyword argument {name!r}"
            )
    if default is None:
        default = True not in on.values()
    return {
        name: on.get(name, default and name not in _OFF) for name in _OPTIONS
    }


def monkey_patch(**on: Any) -> None:
    """Make the standard library green, for the whole process.

    May be called more than once: each option has its effect once.

    :param os: ``fdopen``, ``read``, ``write``, ``wait``, ``waitpid``,
        ``open``.
    :param select: ``select``, and :mod:`selectors`; what else waits for
        descriptors is deleted there.
    :param socket: :mod:`socket` and :mod:`ssl`.
    :param thread: :mod:`threading`, :mod:`_thread`, :mod:`queue`.
    :param time: ``sleep``.
    :param subprocess: ``Popen`` and what calls it.
    :param psycopg: have psycopg2, if it is there, wait in the hub.
    :param MySQLdb: connections use native threads. Off by default.
    :param builtins: ``open``. Off by default.
    :param all: what the others are if not given; by default, true if none of
        the others is.
    :raises TypeError: for other options.
    """
    from . import hubs

    # It must see the modules as they are.
    hubs.get_hub()
    wanted = _check_options(on)

    pairs: _Pairs = []
    for name, modules_of in _MODULES.items():
        if wanted[name] and not already_patched.get(name):
            pairs += modules_of()
            already_patched[name] = True
    if wanted["psycopg"] and not already_patched.get("psycopg"):
        try:
            from .support import psycopg2_patcher

            psycopg2_patcher.make_psycopg_green()
            already_patched["psycopg"] = True
        except ImportError:
            pass  # it may be there next time
    original("threading")
    imp.acquire_lock()
    try:
        for name, module in pairs:
            _patch(name, module)
    finally:
        imp.release_lock()
    _patch_the_rest()
    if any(name == "threading" for name, _ in pairs):
        from .green import _adopt

        _adopt.threads()


def _patch(name: str, source: ModuleType) -> None:
    """Replace names of a module, and delete what is not to be used."""
    from coir.gevent.monkey import _late, api

    target = sys.modules.get(name) or _import(name)
    for attr in source.__patched__:
        value = getattr(source, attr, None)
        if value is not None:
            api.patch_item(target, attr, value)
    for attr in getattr(source, "__deleted__", ()):
        api.remove_item(target, attr)
    if name == "ssl":
        _late.adopt_ssl(target)


def _patch_the_rest() -> None:
    import importlib
    import queue
    import threading

    # Imports of native threads wait for each other by native locks.
    bootstrap: Any = importlib._bootstrap  # type: ignore[attr-defined]
    bootstrap._thread = original("_thread")
    # Those in C would block the thread.
    threading.RLock = threading._PyRLock  # type: ignore[attr-defined, misc]
    queue.SimpleQueue = queue._PySimpleQueue  # type: ignore[attr-defined, misc]


def is_monkey_patched(module: Any) -> bool:
    """Whether an option of `monkey_patch` of that name is in effect.

    :param module: the name, or a module that has it.
    """
    return (
        module in already_patched
        or getattr(module, "__name__", None) in already_patched
    )


# --- the green modules -------------------------------------------------------


def _green_os_modules() -> _Pairs:
    from .green import os

    return [("os", os)]


def _green_select_modules() -> _Pairs:
    from .green import select, selectors

    return [("select", select), ("selectors", selectors)]


def _green_socket_modules() -> _Pairs:
    from .green import socket

    try:
        from .green import ssl
    except ImportError:
        return [("socket", socket)]
    return [("socket", socket), ("ssl", ssl)]


def _green_subprocess_modules() -> _Pairs:
    from .green import subprocess

    return [("subprocess", subprocess)]


def _green_thread_modules() -> _Pairs:
    # What adopts locks must see the native ones.
    from .green import Queue, _adopt, thread, threading  # noqa: F401

    return [("queue", Queue), ("_thread", thread), ("threading", threading)]


def _green_time_modules() -> _Pairs:
    from .green import time

    return [("time", time)]


def _green_MySQLdb() -> _Pairs:
    try:
        from .green import MySQLdb
    except ImportError:
        return []
    return [("MySQLdb", MySQLdb)]


def _green_builtins() -> _Pairs:
    try:
        from .green import builtin
    except ImportError:
        return []
    return [("builtins", builtin)]


_MODULES: dict[str, Callable[[], _Pairs]] = {
    "os": _green_os_modules,
    "select": _green_select_modules,
    "socket": _green_socket_modules,
    "thread": _green_thread_modules,
    "time": _green_time_modules,
    "MySQLdb": _green_MySQLdb,
    "builtins": _green_builtins,
    "subprocess": _green_subprocess_modules,
}


def _unmonkey_patch_asyncio(name: str) -> None:
    """Have :mod:`asyncio` use the original of one module."""
    import asyncio
    import pkgutil

    module = original(name)
    if name in ("threading", "queue"):
        import concurrent.futures.thread as futures

        setattr(futures, name, module)
    patched = sys.modules[name]
    names = [
        f"asyncio.{each.name}"
        for each in pkgutil.iter_modules(asyncio.__path__)
    ]
    for each in ["asyncio", *names]:
        try:
            user = import_module(each)
        except ImportError:
            continue  # of another system
        if getattr(user, name, None) is patched:
            setattr(user, name, module)


def _unmonkey_patch_asyncio_all() -> None:
    """Have :mod:`asyncio` use the originals of all that can be patched."""
    for modules_of in (
        _green_os_modules,
        _green_select_modules,
        _green_socket_modules,
        _green_thread_modules,
        _green_time_modules,
        _green_builtins,
        _green_subprocess_modules,
    ):
        for name, _ in modules_of():
            _unmonkey_patch_asyncio(name)
    original("selectors").select = original("select")


if __name__ == "__main__":
    import runpy

    # The module that the program imports, not this copy of it.
    sys.argv.pop(0)
    _import(
        __spec__.name if __spec__ else "coir.eventlet.patcher"
    ).monkey_patch()
    runpy.run_path(sys.argv[0], run_name="__main__")
