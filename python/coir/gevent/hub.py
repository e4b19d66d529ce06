"""The hub: the greenlet that runs the event loop of a thread.

Whoever has to wait switches to it (``get_hub().switch()``), and is switched
back to when what it waits for has happened. The engine, ``coir._core``, does
that without running the hub's greenlet while others are ready. A thread's hub
is made when the thread first waits.
"""

from __future__ import annotations

import functools
import os
import sys
import traceback
from _thread import get_ident as _get_ident
from collections.abc import Callable
from typing import Any

from coir._core import (
    GreenletExit,
    error,
    forget_others,
    forget_threads,
    getcurrent,
    greenlet,
    spawn_frames,
)

from ._compat import reraise as reraise
from ._config import config as GEVENT_CONFIG
from ._hub_local import (
    get_hub,
    get_hub_if_exists,
    get_loop,
    set_default_hub_class,
    set_hub,
    set_loop,
)
from ._hub_primitives import (
    TrackedRawGreenlet,
    WaitOperationsGreenlet,
    iwait_on_objects,
    wait_on_objects,
)
from ._ident import IdentRegistry
from ._util import Lazy, gmctime, readproperty
from ._waiter import Waiter
from .exceptions import BlockingSwitchOutError, HubDestroyed, LoopExit
from .timeout import idle, sleep

__all__ = [
    "getcurrent",
    "GreenletExit",
    "spawn_raw",
    "sleep",
    "kill",
    "signal",
    "reinit",
    "get_hub",
    "Hub",
    "Waiter",
]

sleep.__module__ = __name__

GreenletError = error
RawGreenlet = greenlet
get_thread_ident = _get_ident
_get_hub = get_hub_if_exists
_get_hub_noargs = get_hub
wait = wait_on_objects
iwait = iwait_on_objects

MAIN_THREAD_IDENT = _get_ident()


def _main_thread_ident() -> int:
    threading = sys.modules.get("threading")
    if threading is not None:
        ident = getattr(threading.main_thread(), "ident", None)
        if isinstance(ident, int):
            return ident
    return MAIN_THREAD_IDENT


MAIN_THREAD_IDENT = _main_thread_ident()

hub_ident_registry = IdentRegistry()


# --- spawning ----------------------------------------------------------------


def spawn_raw(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run ``function(*args, **kwargs)`` in a plain greenlet, soon.

    Cheap: nobody can join it, and its errors are only reported. Does not
    block.
    """
    if not callable(function):
        raise TypeError("function must be callable")
    hub = get_hub()
    if GEVENT_CONFIG.track_greenlet_tree:
        g: Any = TrackedRawGreenlet(function, hub)
        current: Any = getcurrent()
        g.spawning_greenlet = _weak(current)
        tree = getattr(current, "spawn_tree_locals", None)
        if tree is None:
            tree = {}
            if current.parent is not None:
                current.spawn_tree_locals = tree
        g.spawn_tree_locals = tree
        g.spawning_stack = spawn_frames(10)
    else:
        g = greenlet(function, hub)
    if kwargs:
        function = functools.partial(function, *args, **kwargs)
        g.run = function
        hub.loop.run_callback(g.switch)
    else:
        hub.loop.run_callback(g.switch, *args)
    return g


def _sleep_on(hub: Any, seconds: float, ref: bool) -> None:
    """What sleep() is while `hub.loop` is no loop of Coir's."""
    loop = hub.loop
    if seconds <= 0:
        waiter = Waiter(hub)
        loop.run_callback(waiter.switch, None)
        waiter.get()
        return
    timer = loop.timer(seconds, ref=ref)
    try:
        loop.update_now()
        hub.wait(timer)
    finally:
        timer.close()


def _weak(obj: Any) -> Any:
    import weakref

    return weakref.ref(obj)


def kill(greenlet: Any, exception: Any = GreenletExit) -> None:
    """Have `exception` raised in a greenlet, soon. Does not block."""
    if greenlet.dead:
        return
    method = getattr(greenlet, "kill", None)
    if method is not None:
        method(exception, block=False)
    else:
        get_hub().loop.run_callback(greenlet.throw, exception)


class signal:
    """Call ``handler(*args, **kwargs)`` in a greenlet for each signal.

    It may block. `cancel()` ends that. The signal's Python handler is not
    called meanwhile.
    """

    greenlet_class: Any = None

    def __init__(
        self,
        signalnum: int,
        handler: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if not callable(handler):
            raise TypeError("signal handler must be callable.")
        self.hub = get_hub()
        self.watcher = self.hub.loop.signal(signalnum, ref=False)
        self.handler = handler
        self.args = args
        self.kwargs = kwargs
        if self.greenlet_class is None:
            from .greenlet import Greenlet

            type(self).greenlet_class = Greenlet
        self.watcher.start(self._start)

    @property
    def ref(self) -> bool:
        return bool(self.watcher.ref)

    @ref.setter
    def ref(self, value: bool) -> None:
        self.watcher.ref = value

    def cancel(self) -> None:
        """Handle it no more."""
        if self.watcher is not None:
            self.watcher.stop()
            self.watcher.close()
        self.watcher = self.handler = self.args = self.kwargs = None  # type: ignore[assignment]
        self.hub = self.greenlet_class = None

    def _start(self) -> None:
        g = self.greenlet_class(self.handle)
        g.switch()

    def handle(self) -> None:
        """Call the handler; its errors go to the hub."""
        try:
            self.handler(*self.args, **self.kwargs)
        except BaseException:
            self.hub.handle_error(None, *sys.exc_info())


def reinit(hub: Any = None) -> None:
    """In the child after a fork: give the hub fresh kernel objects.

    Done by every `os.fork`, so there is no need to call it.
    """
    if hub is None:
        hub = get_hub_if_exists()
    if hub is None or hub.loop is None:
        return
    hub.loop.reinit()
    hub.thread_ident = _get_ident()
    monitor = getattr(hub, "periodic_monitoring_thread", None)
    for part in (hub._threadpool, hub._resolver, monitor):
        on_fork = getattr(part, "_on_fork", None)
        if on_fork is not None:
            on_fork()


#: Whether all greenlets of the thread that forks go on in the child, too.
#: True once ``coir.eventlet`` is in use, as its programs rely on it.
_all_survive_forks = False


def _after_fork_in_child() -> None:
    """The child goes on with the greenlet that forked, and no other.

    Others that wait are of the parent; in two processes at once they would do
    everything twice.
    """
    if _all_survive_forks:
        forget_threads()
    else:
        forget_others()
    reinit()


os.register_at_fork(after_in_child=_after_fork_in_child)


# --- the hub -----------------------------------------------------------------


class Hub(WaitOperationsGreenlet):
    """A greenlet that runs an event loop.

    ``loop``: flags for one to be made, or a loop. ``default``: it is the main
    thread's; found out if None.
    """

    #: Exceptions of greenlets and callbacks that are not reported.
    NOT_ERROR: Any = (GreenletExit, SystemExit)
    #: Exceptions that are thrown into the main greenlet.
    SYSTEM_ERROR: Any = (KeyboardInterrupt, SystemExit, SystemError)

    parent: Any

    #: Not to be unwound at the end of its thread.
    is_scheduler = True

    name = ""
    threadpool_size = 10
    periodic_monitoring_thread: Any = None
    thread_ident: Any = None
    _resolver: Any = None
    _threadpool: Any = None

    # For coir.eventlet, whose hubs are views of this one.
    _eventlet: Any = None
    _eventlet_report: Any = None
    _eventlet_idle: Any = None
    _aborted = False
    _joins = 0

    @Lazy
    def ident_registry(self) -> IdentRegistry:
        """Gives this hub's greenlets their ``minimal_ident``."""
        return IdentRegistry()

    # From the configuration; a subclass may have its own.

    @readproperty
    def loop_class(self) -> Any:
        return GEVENT_CONFIG.loop

    @readproperty
    def resolver_class(self) -> Any:
        return GEVENT_CONFIG.resolver

    @readproperty
    def threadpool_class(self) -> Any:
        return GEVENT_CONFIG.threadpool

    @readproperty
    def backend(self) -> Any:
        return GEVENT_CONFIG.libev_backend

    def __init__(self, loop: Any = None, default: bool | None = None) -> None:
        super().__init__(None, None)
        self.thread_ident = _get_ident()
        if default is None and self.thread_ident != MAIN_THREAD_IDENT:
            default = False
        elif default is None:
            default = True
        if hasattr(loop, "run"):
            self.loop = loop
        elif loop is None and get_loop() is not None:
            self.loop = get_loop()
        else:
            flags = loop if loop is not None else self.backend
            self.loop = self.loop_class(flags=flags, default=default)
        self.main_hub = default
        self._resolver = self._threadpool = None
        self.format_context = GEVENT_CONFIG.format_context
        self.minimal_ident = hub_ident_registry.get_ident(self)

    def __repr__(self) -> str:
        if self.loop is None:
            info = "destroyed"
        else:
            text = repr(self.loop)[1:-1].partition(" at ")[2]
            info = text.partition(" ")[2]
        kind = type(self).__name__
        result = f"<{kind} {self.name!r} at {id(self):#x} {info}"
        if self._resolver is not None:
            result += f" resolver={self._resolver!r}"
        if self._threadpool is not None:
            result += f" threadpool={self._threadpool!r}"
        return result + f" thread_ident={self.thread_ident:#x}>"

    # --- errors

    def _normalize_exception(self, t: Any, v: Any, tb: Any) -> Any:
        if isinstance(v, BaseException):
            return type(v), v, tb if tb is not None else v.__traceback__
        if isinstance(t, BaseException):
            return type(t), t, tb
        value = t(v) if v is not None else t()
        return t, value, tb

    def handle_error(
        self, context: Any, type: Any, value: Any, tb: Any
    ) -> None:
        """Report an error that nobody else handles.

        `context` is the callback or greenlet it comes from. What is of
        `NOT_ERROR` is ignored; `SYSTEM_ERROR` goes on to the main greenlet.
        """
        type, value, tb = self._normalize_exception(type, value, tb)
        if type is HubDestroyed:
            raise value  # it ends run()
        if self._uses_eventlet and self._eventlet_report(
            self, context, type, value, tb
        ):
            return
        if not issubclass(type, self.NOT_ERROR):
            self.print_exception(context, type, value, tb)
        if context is None or issubclass(type, self.SYSTEM_ERROR):
            self.handle_system_error(type, value, tb)

    def handle_system_error(
        self, type: Any, value: Any, tb: Any = None
    ) -> None:
        """Throw an exception into the main greenlet."""
        type, value, tb = self._normalize_exception(type, value, tb)
        current = getcurrent()
        if current is self or current is self.parent or self.loop is None:
            self.parent.throw(type, value, tb)
        else:
            # So that it goes on if the main greenlet is not done with us.
            cb = self.loop.run_callback(current.switch)
            try:
                self.parent.throw(type, value, tb)
            finally:
                cb.stop()

    @readproperty
    def exception_stream(self) -> Any:
        """Where errors are printed; None: nowhere."""
        stream = sys.stderr
        # A wrapper may itself want to wait.
        return getattr(stream, "_original_stderr", stream)

    def print_exception(self, context: Any, t: Any, v: Any, tb: Any) -> None:
        """Print an error of `context` to `exception_stream`."""
        stream = self.exception_stream
        if stream is None:
            return
        try:
            text = "".join(traceback.format_exception(t, v, tb))
            stream.write(text)
        except (BrokenPipeError, ValueError, AttributeError):
            return
        del tb
        try:
            stream.write(gmctime())
            stream.write(" ")
            if context is not None:
                if not isinstance(context, str):
                    try:
                        context = self.format_context(context)
                    except Exception:
                        traceback.print_exc(file=stream)
                        context = object.__repr__(context)
                name = getattr(t, "__name__", t)
                stream.write(f"{context} failed with {name}\n\n")
            else:
                stream.write(f"{t.__name__}\n\n")
        except (BrokenPipeError, ValueError, AttributeError):
            return

    # --- running

    def switch_out(self) -> None:
        """Called when the hub itself is asked to wait: that is an error."""
        raise BlockingSwitchOutError(
            "Impossible to call blocking function in the event loop callback"
        )

    def run(self, *_brought: Any) -> None:
        """Run the loop; started by the first wait, or by the end of a
        greenlet, which brings something. Never ends.

        When nothing is left that could end anybody's wait, `LoopExit` is
        raised in the main greenlet.
        """
        if self is not getcurrent():
            raise AssertionError("Do not call Hub.run() directly")
        self.start_periodic_monitoring_thread()
        while True:
            loop = self.loop
            loop.error_handler = self
            try:
                loop.run()
            finally:
                loop.error_handler = None
            if self._uses_eventlet and not self._joins:
                self._eventlet_idle(self)
                continue
            exc = LoopExit(*self._why_it_hangs())
            self.parent.throw(exc)

    def _why_it_hangs(self) -> tuple[Any, ...]:
        from ._report import format_waiting

        return (
            "This operation would block forever",
            self,
            format_waiting(self.loop),
        )

    def start_periodic_monitoring_thread(self) -> Any:
        """Start the thread that looks for a blocked loop, if configured.

        Subscribers and plugins are told, who may add functions to it.
        """
        if (
            self.periodic_monitoring_thread is None
            and GEVENT_CONFIG.monitor_thread
        ):
            from ._monitor import PeriodicMonitoringThread
            from .events import (
                PeriodicMonitorThreadStartedEvent,
                notify_and_call_entry_points,
            )

            monitor = PeriodicMonitoringThread(self)
            self.periodic_monitoring_thread = monitor
            if self.main_hub:
                monitor.install_monitor_memory_usage()
            notify_and_call_entry_points(
                PeriodicMonitorThreadStartedEvent(monitor)
            )
        return self.periodic_monitoring_thread

    def join(self, timeout: float | None = None) -> bool:
        """Wait until nothing is left to do: whether that was in time.

        For the main greenlet of the thread.
        """
        if getcurrent() is not self.parent:
            raise AssertionError(
                "Hub.join() is only for the main greenlet of its thread"
            )
        if self.dead:
            return True
        waiter: Any = Waiter(self)
        timer = None
        if timeout is not None:
            timer = self.loop.timer(timeout, ref=False)
            timer.start(waiter.switch, None)
        self._joins += 1
        try:
            waiter.get()
        except LoopExit:
            return True
        finally:
            self._joins -= 1
            if timer is not None:
                timer.stop()
                timer.close()
        return False

    def destroy(self, destroy_loop: bool | None = None) -> None:
        """Stop it, with its thread pool, and forget it.

        ``destroy_loop``: its loop, too; by default if it is not the main
        thread's. The greenlet that runs the loop is unwound.
        """
        if self.periodic_monitoring_thread is not None:
            self.periodic_monitoring_thread.kill()
            self.periodic_monitoring_thread = None
        if self._resolver is not None:
            self._resolver.close()
            del self._resolver
        if self._threadpool is not None:
            self._threadpool.kill()
            del self._threadpool
        loop = self.loop
        if destroy_loop is None:
            destroy_loop = loop is not None and not loop.default
        if self and not self.dead and getcurrent() is not self:
            # Where it runs the loop, this ends it.
            self.parent = getcurrent()
            try:
                self.throw(HubDestroyed(destroy_loop))
            except BaseException:
                pass
        if get_hub_if_exists() is self:
            set_hub(None)
        if loop is not None:
            if not destroy_loop:
                set_loop(loop)
            elif get_loop() is loop:
                set_loop(None)
            if destroy_loop:
                loop.destroy()
        self.loop = None

    # --- parts that are made when they are needed

    @property
    def resolver(self) -> Any:
        """What looks up names for the sockets of this thread."""
        if self._resolver is None:
            self._resolver = self.resolver_class(hub=self)
        return self._resolver

    @resolver.setter
    def resolver(self, value: Any) -> None:
        self._resolver = value

    @resolver.deleter
    def resolver(self) -> None:
        self._resolver = None

    @property
    def threadpool(self) -> Any:
        """Threads for what would block."""
        if self._threadpool is None:
            self._threadpool = self.threadpool_class(
                self.threadpool_size, hub=self
            )
        return self._threadpool

    @threadpool.setter
    def threadpool(self, value: Any) -> None:
        self._threadpool = value

    @threadpool.deleter
    def threadpool(self) -> None:
        self._threadpool = None


set_default_hub_class(Hub)


class linkproxy:
    """Calls its callback with the object it stands for."""

    __slots__ = ["callback", "obj"]

    def __init__(self, callback: Callable[[Any], Any], obj: Any) -> None:
        self.callback = callback
        self.obj = obj

    def __call__(self, *args: Any) -> Any:
        callback, obj = self.callback, self.obj
        self.callback = self.obj = None  # type: ignore[assignment]
        return callback(obj)
