"""patch_thread(): what is more to it than replacing names.

The main thread is one thread to the interpreter, and the main greenlet to
those that join it: it ends for them in ``threading._shutdown()``, which the
interpreter calls when the main program is over. So its lock, or its handle
since Python 3.13, is a green one up to there, and the native one after.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ._state import is_object_patched
from ._util import (
    _notify_patch,
    _patch_module,
    _queue_warning,
)
from .api import patch_item

_HAS_HANDLES = sys.version_info >= (3, 13)


def patch(
    threading: bool,
    threading_local: bool,
    event: bool,
    logging: bool,
    existing_locks: bool,
    warnings: list[str] | None,
) -> None:
    """As ``patch_thread()``, with its arguments."""
    # Before _thread is patched: it copies from there as it is imported.
    import threading as target

    current = target.current_thread()
    main = target.main_thread()
    # Before names are replaced: it asks which thread this is.
    is_alone = len(target.enumerate()) == 1
    shutdown = target._shutdown  # type: ignore[attr-defined]
    shutdown_is_ours = is_object_patched("threading", "_shutdown")

    thread_source, thread_target = _patch_module(
        "thread", _warnings=warnings, _notify_did_subscribers=False
    )
    threading_source = None
    if threading:
        threading_source, _ = _patch_module(
            "threading", _warnings=warnings, _notify_did_subscribers=False
        )
        if event:
            from ..event import Event

            patch_item(target, "Event", Event)
        if existing_locks and is_alone:
            from ._locks import adopt_locks

            adopt_locks(target)
        if logging and "logging" in sys.modules:
            _adopt_logging(sys.modules["logging"], target)
    if threading_local:
        import _threading_local

        from ..local import local

        patch_item(_threading_local, "local", local)
    if threading:
        _adopt_threads(target, main)
        _adopt_names(target)
        from . import _interpreters, _multiprocessing

        _multiprocessing.adopt()
        _interpreters.adopt()

    if not shutdown_is_ours:
        if current is main:
            _adopt_main_thread(target, main, shutdown)
        else:
            _queue_warning(
                "Monkey-patching not on the main thread; "
                "threading.main_thread().join() will hang from a greenlet",
                warnings,
            )
            _patch_shutdown_elsewhere(target, main, shutdown)

    from ..events import GeventDidPatchModuleEvent

    _notify_patch(
        GeventDidPatchModuleEvent("thread", thread_source, thread_target)
    )
    if threading_source is not None:
        _notify_patch(
            GeventDidPatchModuleEvent("threading", threading_source, target)
        )


def _adopt_names(threading: Any) -> None:
    """Of what the standard library has taken from _thread by name."""
    for module, name, new in (
        ("functools", "RLock", threading.RLock),
        ("reprlib", "get_ident", threading.get_ident),
        ("tempfile", "_allocate_lock", threading.Lock),
    ):
        if hasattr(sys.modules.get(module), name):
            patch_item(sys.modules[module], name, new)


def _adopt_logging(logging: Any, threading: Any) -> None:
    patch_item(logging, "_lock", threading.RLock())
    for ref in logging._handlerList:
        handler = ref() if callable(ref) else ref
        if handler is not None:
            handler.lock = threading.RLock()


def _adopt_threads(threading: Any, main: Any) -> None:
    """Have a join() of the threads there are let others run."""
    for thread in list(threading._active.values()):
        if thread is not main:
            thread.join = _make_join(thread, threading)


def _make_join(thread: Any, threading: Any) -> Callable[..., None]:
    def join(timeout: float | None = None) -> None:
        from time import monotonic

        from ..hub import sleep

        if threading.current_thread() is thread:
            raise RuntimeError("Cannot join current thread")
        # Nothing tells this thread's loop that the other one ended.
        deadline = None if timeout is None else monotonic() + timeout
        while thread.is_alive():
            if deadline is not None and monotonic() >= deadline:
                return
            sleep(0.01)

    return join


def _handle_name(thread: Any) -> str:
    # Its name in 3.13 is the shorter one.
    return "_handle" if hasattr(thread, "_handle") else "_os_thread_handle"


def _adopt_main_thread(
    threading: Any, main: Any, shutdown: Callable[[], None]
) -> None:
    from coir._core import getcurrent

    main._greenlet = getcurrent()
    # Idents are those of greenlets now.
    threading._active.pop(main._ident, None)
    main._ident = threading.get_ident()
    threading._active[main._ident] = main
    # There are cycles now with it; it is not to be reported for that.
    threading._dangling.discard(main)

    if _HAS_HANDLES:
        end = _adopt_main_handle(threading, main)
    else:
        end = _adopt_main_lock(threading, main)
    is_over = False

    def green_shutdown() -> None:
        nonlocal is_over
        from ..exceptions import LoopExit
        from ..hub import get_hub, sleep

        if is_over:
            return shutdown()
        is_over = True
        restore = end()
        try:
            sleep(0)  # for those that have waited for its end
        except BaseException:
            # Thrown into it; there is nowhere to go with that any more.
            get_hub().print_exception(main._greenlet, *sys.exc_info())
        try:
            if _HAS_HANDLES:
                _join_green_threads(threading, main)
            restore()
            shutdown()
        except LoopExit:
            pass  # some wait for ever
        patch_item(threading, "_shutdown", shutdown)

    patch_item(threading, "_shutdown", green_shutdown)


def _adopt_main_lock(
    threading: Any, main: Any
) -> Callable[[], Callable[[], None]]:
    native = main._tstate_lock
    main._tstate_lock = green = threading.Lock()
    green.acquire()

    def restore() -> None:
        # Those that joined it may have marked it as stopped.
        main._is_stopped = False
        main._tstate_lock = native

    def end() -> Callable[[], None]:
        green.release()
        return restore

    return end


def _adopt_main_handle(
    threading: Any, main: Any
) -> Callable[[], Callable[[], None]]:
    from coir._core import getcurrent

    from ..thread import _ThreadHandle

    name = _handle_name(main)
    native = getattr(main, name)
    green = _ThreadHandle()
    green._set_greenlet(getcurrent())
    setattr(main, name, green)
    # In the child of a fork, that of the greenlet is set up by others.
    main._after_fork = lambda new_ident=None: new_ident

    def end() -> Callable[[], None]:
        green._set_done()
        return lambda: setattr(main, name, native)

    return end


def _join_green_threads(threading: Any, main: Any) -> None:
    """Wait for the threads that are greenlets and not daemons.

    Since 3.13 ``threading._shutdown()`` knows of native threads only. As
    there, what is registered to be called before comes first: it may be what
    ends a thread.
    """
    threading._SHUTTING_DOWN = True
    while threading._threading_atexits:
        threading._threading_atexits.pop()()
    while True:
        threads = [
            thread
            for thread in threading.enumerate()
            if thread is not main and not thread.daemon and thread.is_alive()
        ]
        if not threads:
            return
        for thread in threads:
            try:
                thread.join()
            except RuntimeError:
                return  # one of them has come here itself


def _patch_shutdown_elsewhere(
    threading: Any, main: Any, shutdown: Callable[[], None]
) -> None:
    """For when it is not the main thread that patches."""

    def green_shutdown() -> None:
        from ..exceptions import LoopExit

        # It asks whether it is called in the main thread.
        main._ident = threading.get_ident()
        try:
            shutdown()
        except LoopExit:
            pass
        patch_item(threading, "_shutdown", shutdown)

    patch_item(threading, "_shutdown", green_shutdown)
