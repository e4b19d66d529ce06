"""The hub of this thread, and waiting for descriptors by hand.

All names of eventlet's hubs stand for the same engine here: which system call
it waits in is chosen by ``COIR_LOOP``, see docs/guide. A class of one's own
may be given to `use_hub`, and is what `get_hub` makes, but the engine's types
do not ask it.
"""

from __future__ import annotations

import importlib
import inspect
import os
import warnings
from _thread import _local
from typing import Any

from coir._core import getcurrent

__all__ = ["use_hub", "get_hub", "get_default_hub", "trampoline"]

_threadlocal = _local()

#: In the order in which they are tried.
builtin_hub_names = ("epolls", "kqueue", "poll", "selects")


class HubError(Exception):
    """There is no hub."""


class IOClosed(IOError):
    """The descriptor that was waited for is gone."""


from . import epolls, kqueue, poll, selects  # noqa: E402

builtin_hub_modules = (epolls, kqueue, poll, selects)


def get_default_hub() -> Any:
    """The module of the first hub there is on this system."""
    for module in builtin_hub_modules:
        if module.is_available():
            return module
    raise HubError(f"no built-in hubs are available: {builtin_hub_modules}")


def use_hub(mod: Any = None) -> None:
    """Choose what `get_hub` makes in this thread from now on.

    :param mod: a class; a module with a class ``Hub``; the name of a module
        of this package, or of any as ``package.module:Class``; None for
        ``EVENTLET_HUB`` of the environment, or the default.
    """
    if mod is None:
        mod = os.environ.get("EVENTLET_HUB")
    if mod is None:
        mod = get_default_hub()
    if hasattr(_threadlocal, "hub"):
        del _threadlocal.hub
    name = ""
    if isinstance(mod, str):
        mod = mod.strip()
        if not mod:
            raise RuntimeError("Need to specify a hub")
        if "." in mod or ":" in mod:
            mod, _, name = mod.partition(":")
        else:
            mod = f"{__name__}.{mod}"
        mod = importlib.import_module(mod)
    if not hasattr(mod, "is_available"):
        warnings.warn(
            f"Please provide `is_available()` in your hub {mod}: it tells "
            "whether the hub works on this system.",
            DeprecationWarning,
            stacklevel=3,
        )
    elif not mod.is_available():
        raise Exception(
            f"selected hub is not available on this system mod={mod}"
        )
    _threadlocal.Hub = (
        mod if inspect.isclass(mod) else getattr(mod, name or "Hub")
    )


def get_hub() -> Any:
    """This thread's hub; it is made if there is none."""
    try:
        return _threadlocal.hub
    except AttributeError:
        pass
    if not hasattr(_threadlocal, "Hub"):
        use_hub()
    hub = _threadlocal.hub = _threadlocal.Hub()
    if hasattr(hub, "_post_initialize"):
        hub._post_initialize()
    return hub


from ..timeout import Timeout as _Timeout  # noqa: E402


def trampoline(
    fd: Any,
    read: Any = None,
    write: Any = None,
    timeout: float | None = None,
    timeout_exc: Any = _Timeout,
    mark_as_closed: Any = None,
) -> Any:
    """Wait until a descriptor can be read from, or written to.

    :param fd: a number, or what has ``fileno()``.
    :param timeout: seconds, after which `timeout_exc` is raised; None: no
        limit.
    :raises RuntimeError: in the hub, or if somebody else waits for the same.
    """
    hub = get_hub()
    current: Any = getcurrent()
    if hub.greenlet is current:
        raise RuntimeError("do not call blocking functions from the mainloop")
    if read and write:
        raise RuntimeError("not allowed to trampoline for reading and writing")
    fileno = fd.fileno() if hasattr(fd, "fileno") else fd
    timer = None
    if timeout is not None:
        timer = hub.schedule_call_global(timeout, current.throw, timeout_exc)
    try:
        listener = hub.add(
            hub.READ if read else hub.WRITE,
            fileno,
            current.switch,
            current.throw,
            mark_as_closed,
        )
        try:
            return hub.switch()
        finally:
            hub.remove(listener)
    finally:
        if timer is not None:
            timer.cancel()


def notify_close(fd: Any) -> None:
    """Tell the hub that a descriptor was closed on purpose."""
    get_hub().notify_close(fd)


def notify_opened(fd: Any) -> None:
    """Tell the hub that a number stands for something new.

    Whoever still waits for what it was before gets `IOClosed`.
    """
    get_hub().mark_as_reopened(fd)
