"""Make the standard library cooperative.

:func:`patch_all` replaces what blocks a thread, in the modules of the standard
library, by what blocks a greenlet and lets others run. It belongs at the very
start of a program, before other imports and threads::

    from coir.gevent import monkey
    monkey.patch_all()

What was imported before goes on working: locks that are free become green ones
where all that refer to them are found, TLS contexts of the class that a module
has kept give cooperative sockets. What is left of the old functions and
classes, and where, :func:`patch_report` tells.

A program that cannot be changed is run by ``python -m coir.gevent.monkey
script.py``, see :func:`main`.

Each step sends the events of :mod:`coir.gevent.events`, to subscribers and to
plugins, which are entry points of installed distributions. To patch another
package as well, have one in the group
``gevent.plugins.monkey.did_patch_builtins``, whose function gets the event.
:func:`patch_module` is for their use.
"""

from __future__ import annotations

import sys
from typing import Any

from ._errors import MonkeyPatchWarning, _BadImplements
from ._state import (
    is_anything_patched,
    is_module_patched,
    is_object_patched,
    saved,
)
from ._util import (
    _check_availability,
    _ignores_DoNotPatch,
    _notify_patch,
    _patch_module,
    _process_warnings,
    _queue_warning,
)
from .api import (
    get_original,
    patch_item,
    patch_module,
    remove_item,
)

__all__ = [
    "patch_all",
    "patch_builtins",
    "patch_dns",
    "patch_os",
    "patch_queue",
    "patch_select",
    "patch_signal",
    "patch_socket",
    "patch_ssl",
    "patch_subprocess",
    "patch_sys",
    "patch_thread",
    "patch_time",
    "get_original",
    "is_module_patched",
    "is_object_patched",
    "patch_module",
    "main",
    "MonkeyPatchWarning",
]

# Imports of other modules of the package are in the functions: these get the
# standard library as it was only if nothing was patched before.


@_ignores_DoNotPatch
def patch_sys(
    stdin: bool = True, stdout: bool = True, stderr: bool = True
) -> None:
    """Do nothing: the standard streams stay as they are, as in gevent."""


@_ignores_DoNotPatch
def patch_os() -> None:
    """Replace ``os.fork``, ``os.waitpid`` and others by :mod:`gevent.os`'s.

    With ``GEVENT_NOWAITPID`` in the environment, ``waitpid`` is left alone.
    """
    _patch_module("os")


@_ignores_DoNotPatch
def patch_queue() -> None:
    """Replace the classes of :mod:`queue` by those of :mod:`gevent.queue`.

    ``Queue`` itself stays if ``GEVENT_MONKEY_DISABLE_QUEUE_QUEUE`` is true in
    the environment.
    """
    from os import environ

    from .._config import validate_bool

    items = ["SimpleQueue", "PriorityQueue", "LifoQueue"]
    if not validate_bool(environ.get("GEVENT_MONKEY_DISABLE_QUEUE_QUEUE", "")):
        items.append("Queue")
    _patch_module("queue", items=items)


@_ignores_DoNotPatch
def patch_time() -> None:
    """Replace ``time.sleep``."""
    _patch_module("time")


@_ignores_DoNotPatch
def patch_contextvars() -> None:
    """Do nothing: each greenlet has a context of its own anyway."""


@_ignores_DoNotPatch
def patch_thread(
    threading: bool = True,
    _threading_local: bool = True,
    Event: bool = True,
    logging: bool = True,
    existing_locks: bool = True,
    _warnings: list[str] | None = None,
) -> None:
    """Replace threads and their locks by greenlets and theirs.

    Threads that run already stay what they are; so should others not exist
    yet. To be called in the main thread.

    :param threading: :mod:`threading` as well as :mod:`_thread`.
    :param _threading_local: ``_threading_local.local``.
    :param Event: ``threading.Event``.
    :param logging: the locks of :mod:`logging` and of its handlers.
    :param existing_locks: locks and conditions that exist, if there is one
        thread only and they are free.
    """
    from ._thread import patch

    patch(
        threading,
        _threading_local,
        Event,
        logging,
        existing_locks,
        _warnings,
    )


@_ignores_DoNotPatch
def patch_socket(dns: bool = True, aggressive: bool = True) -> None:
    """Replace ``socket.socket`` and what makes sockets.

    :param dns: what looks up names, too.
    :param aggressive: without effect.
    """
    from .. import socket

    names = socket.__implements__
    if not dns:
        names = [name for name in names if name not in socket.__dns__]
    _patch_module("socket", items=names)


@_ignores_DoNotPatch
def patch_dns() -> None:
    """Replace what looks up names in :mod:`socket`."""
    from .. import socket

    _patch_module("socket", items=socket.__dns__)


@_ignores_DoNotPatch
def patch_ssl(
    _warnings: list[str] | None = None, _first_time: bool = True
) -> None:
    """Replace the classes and functions of :mod:`ssl`.

    Of use together with :func:`patch_socket`. References to the old
    ``SSLContext`` that modules have kept are warned of; contexts made by
    these still give cooperative sockets.
    """
    from ._late import adopt_ssl, references_to

    was_imported = hasattr(sys.modules.get("ssl"), "SSLContext")
    _, target = _patch_module("ssl", _warnings=_warnings)
    if not was_imported or not is_object_patched("ssl", "SSLContext"):
        return
    original = get_original("ssl", "SSLContext")
    adopt_ssl(target)
    if not _first_time:
        return
    modules, subclasses = references_to(original, skip=("ssl",))
    if not modules and not subclasses:
        return
    message = (
        "ssl was imported before it was patched; patch earlier, or see "
        "monkey.patch_report(). "
    )
    if modules:
        found = [f"{name} ({file})" for name, file in sorted(modules)]
        message += f"Modules that had direct imports (NOT patched): {found}. "
    if subclasses:
        classes = [str(cls) for cls in subclasses]
        message += f"Subclasses (NOT patched): {classes}. "
    _queue_warning(message, _warnings)


@_ignores_DoNotPatch
def patch_select(aggressive: bool = True) -> None:
    """Replace ``select.select`` and ``select.poll``.

    :param aggressive: delete what would block: epoll, kqueue and the like.
    """
    _patch_module("select", _patch_kwargs={"aggressive": aggressive})


@_ignores_DoNotPatch
def patch_selectors(aggressive: bool = True) -> None:
    """Replace ``selectors.DefaultSelector``.

    :param aggressive: delete the selectors that would block.
    """
    _patch_module("selectors", _patch_kwargs={"aggressive": aggressive})


@_ignores_DoNotPatch
def patch_subprocess() -> None:
    """Replace ``subprocess.Popen`` and the functions that use it.

    The start method of :mod:`multiprocessing` becomes "fork", if none was
    chosen: others need threads that are not greenlets.
    """
    _patch_module("subprocess")


@_ignores_DoNotPatch
def patch_builtins() -> None:
    """Do nothing: imports are locked by what :func:`patch_thread` replaces."""


@_ignores_DoNotPatch
def patch_signal() -> None:
    """Have handlers of SIGCHLD run in a greenlet, where they may wait.

    Of use together with :func:`patch_os`.
    """
    _patch_module("signal")


def _check_repatching(
    settings: dict[str, bool],
) -> tuple[list[str], bool, dict[str, bool]]:
    """Warnings, whether it is the first time, and what there is to patch."""
    warnings: list[str] = []
    before = saved.setdefault("_gevent_saved_patch_all_module_settings", {})
    first_time = not before
    if before and before != settings:
        _queue_warning(
            "Patching more than once will result in the union of all True "
            "parameters being patched",
            warnings,
        )
    to_patch = {
        name: wanted
        for name, wanted in settings.items()
        if name not in before or (wanted and not before[name])
    }
    before.update(to_patch)
    return warnings, first_time, to_patch


def _warn_of_signal_without_os(event: Any) -> None:
    if event.will_patch_module("signal") and not event.will_patch_module("os"):
        _queue_warning(
            "Patching signal but not os will result in SIGCHLD handlers that "
            "run in greenlets, while os.waitpid blocks all of them.",
            event._warnings,
        )


def patch_all(
    socket: bool = True,
    dns: bool = True,
    time: bool = True,
    select: bool = True,
    thread: bool = True,
    os: bool = True,
    ssl: bool = True,
    subprocess: bool = True,
    sys: bool = False,
    aggressive: bool = True,
    Event: bool = True,
    builtins: bool = True,
    signal: bool = True,
    queue: bool = True,
    contextvars: bool = True,
    **kwargs: Any,
) -> bool | None:
    """Patch all of it: call the other functions here as the arguments say.

    Called again, it patches what was not yet, never undoes anything, and
    warns if the arguments are others.

    :param kwargs: for plugins, which find them in the events.
    :returns: True; False if a subscriber did not want it; None if there was
        nothing left to do.
    """
    settings = {
        "socket": socket,
        "dns": dns,
        "time": time,
        "select": select,
        "thread": thread,
        "os": os,
        "ssl": ssl,
        "subprocess": subprocess,
        "sys": sys,
        "aggressive": aggressive,
        "Event": Event,
        "builtins": builtins,
        "signal": signal,
        "queue": queue,
        "contextvars": contextvars,
    }
    _warnings, first_time, to_patch = _check_repatching(settings)
    if not to_patch:
        _process_warnings(_warnings)
        return None

    from .. import events

    will_patch = events.GeventWillPatchAllEvent(to_patch, kwargs)
    try:
        _notify_patch(will_patch, _warnings)
    except events.DoNotPatch:
        return False
    _warn_of_signal_without_os(will_patch)

    # The order counts: threading uses time.sleep, and modules on top use
    # those below.
    if os:
        patch_os()
    if thread:
        patch_thread(Event=Event, _warnings=_warnings)
    if time:
        patch_time()
    if sys:
        patch_sys()
    if socket:
        patch_socket(dns=dns, aggressive=aggressive)
    if select:
        # selectors first: as it is imported it may try what select has.
        patch_selectors(aggressive=aggressive)
        patch_select(aggressive=aggressive)
    if ssl:
        patch_ssl(_warnings=_warnings, _first_time=first_time)
    if subprocess:
        patch_subprocess()
    if builtins:
        patch_builtins()
    if signal:
        patch_signal()
    if queue:
        patch_queue()
    if contextvars:
        patch_contextvars()

    _notify_patch(
        events.GeventDidPatchBuiltinModulesEvent(to_patch, kwargs), _warnings
    )
    _notify_patch(events.GeventDidPatchAllEvent(to_patch, kwargs), _warnings)
    _process_warnings(_warnings)
    return True


def patch_report() -> list[Any]:
    """Tell which modules still hold what was replaced, and what to do.

    Looked at are the modules that are loaded: their globals, the attributes,
    bases and default arguments in their classes, default arguments of their
    functions, and locks that were made before patching. Modules written in C
    are not, nor the modules that were patched, nor this package, whose
    references to originals are meant.

    :returns: a list of objects with `module`, `file`, `name`, `what` and
        `fix`; as text, it has one line for each.
    """
    from ._report import report

    return report()


def __getattr__(name: str) -> Any:
    # Not imported before it is wanted: it is also run as a program.
    if name == "main":
        from ._main import main

        return main
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
