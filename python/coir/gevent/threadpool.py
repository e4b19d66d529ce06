"""Native threads for what would block: ``gevent.threadpool``.

A pool belongs to one hub, and is used in that hub's thread only. ``spawn``
puts a task into a queue that the pool's threads read; a thread that has run
one adds a callback to the hub's loop, in which the result is delivered. All
counting is done in the hub's thread, so that it needs no locks.

While tasks are under way the hub's loop counts as active. Threads that have
none are counted as idle: if nothing else can happen in a hub, it need not wait
for them.

Tasks may use green threads: each thread of the pool then has a hub of its own.
"""

from __future__ import annotations

import os
import sys
import traceback
import weakref
from concurrent import futures
from functools import partial
from typing import Any

from coir._core import add_idle_threads, greenlet, patiently

from ._hub_local import get_hub_if_exists
from ._threading import (
    EmptyTimeout,
    Queue,
    get_thread_ident,
    start_new_thread,
)
from .event import AsyncResult, Event
from .exceptions import InvalidThreadUseError
from .hub import get_hub, getcurrent
from .lock import Semaphore
from .monkey import is_module_patched
from .pool import GroupMappingMixin

__all__ = ["ThreadPool", "ThreadResult", "ThreadPoolExecutor"]


def _get_thread_profile() -> Any:
    """What `threading.setprofile` was given."""
    threading = sys.modules.get("threading")
    return getattr(threading, "_profile_hook", None)


def _get_thread_trace() -> Any:
    """What `threading.settrace` was given."""
    threading = sys.modules.get("threading")
    return getattr(threading, "_trace_hook", None)


def _name_of(hub: Any) -> str:
    """Short: a hub's repr names its pool."""
    ident = getattr(hub, "thread_ident", None) or 0
    return f"<{type(hub).__name__} at {id(hub):#x} thread_ident={ident:#x}>"


class _WorkerGreenlet(greenlet):
    """What a thread of the pool runs in, from its start to its end."""

    def __init__(self, threadpool: ThreadPool) -> None:
        super().__init__(self._work)
        self._task_queue = threadpool.task_queue
        self._idle_timeout = threadpool._idle_task_timeout
        self._ask_to_leave = threadpool._idle_asker()
        self._thread_ident = get_thread_ident()
        self._hub_name = _name_of(threadpool.hub)
        self._stderr = sys.stderr

    def _work(self) -> None:
        try:
            task = patiently(_WorkerGreenlet._next_task, self)
            while task is not None:
                try:
                    self._run_task(*task)
                except MemoryError:  # not even that could be told
                    task[3].handle_error((self, task[0]), sys.exc_info())
                del task
                task = patiently(_WorkerGreenlet._next_task, self)
        except BaseException:
            print("Failed to run worker thread", file=self._stderr)
            traceback.print_exc(file=self._stderr)
        finally:
            hub = get_hub_if_exists()
            if hub is not None:
                hub.destroy(True)

    def _next_task(self) -> Any:
        hub = get_hub_if_exists()
        if hub is not None and hub.periodic_monitoring_thread is not None:
            hub.periodic_monitoring_thread.ignore_current_greenlet_blocking()
        queue = self._task_queue
        if self._idle_timeout <= 0:
            return queue.get(None)
        while True:
            try:
                return queue.get(None, self._idle_timeout)
            except EmptyTimeout:
                # Another one may take what tells to leave: asks again.
                self._ask_to_leave()

    def _run_task(
        self, func: Any, args: Any, kwargs: Any, thread_result: ThreadResult
    ) -> None:
        try:
            self._before_run_task(func, args, kwargs, thread_result)
            # It may end others' waits, and theirs may end its own.
            add_idle_threads(-1)
            try:
                value = func(*args, **kwargs)
            finally:
                add_idle_threads(1)
                self._after_run_task(func, args, kwargs, thread_result)
        except BaseException:
            thread_result.handle_error((self, func), sys.exc_info())
        else:
            thread_result.set(value)

    def _before_run_task(
        self,
        func: Any,
        args: Any,
        kwargs: Any,
        thread_result: ThreadResult,
        _sys: Any = sys,
        _get_thread_profile: Any = _get_thread_profile,
        _get_thread_trace: Any = _get_thread_trace,
    ) -> None:
        """Have the task profiled and traced as new threads are to be."""
        hook = _get_thread_profile()
        if hook is not None or _sys.getprofile() is not None:
            _sys.setprofile(hook)
        hook = _get_thread_trace()
        if hook is not None or _sys.gettrace() is not None:
            _sys.settrace(hook)

    def _after_run_task(
        self,
        func: Any,
        args: Any,
        kwargs: Any,
        thread_result: ThreadResult,
        _sys: Any = sys,
    ) -> None:
        if _sys.getprofile() is not None:
            _sys.setprofile(None)
        if _sys.gettrace() is not None:
            _sys.settrace(None)

    def __repr__(self) -> str:
        return (
            f"<ThreadPoolWorker at {id(self):#x} "
            f"thread_ident={self._thread_ident:#x} "
            f"threadpool-hub={self._hub_name}>"
        )


def _run_thread(pool: ThreadPool, token: object) -> None:
    """The body of a native thread."""
    threads, gone, kind = pool._threads, pool._gone, pool._WorkerGreenlet
    try:
        worker = patiently(kind, pool)  # it is counted on
        del pool
        patiently(kind.switch, worker)
    finally:
        threads.discard(token)
        add_idle_threads(-1)
        gone.set()


class ThreadPool(GroupMappingMixin):
    """At most `maxsize` native threads that run functions.

    :param hub: where results go; by default this thread's.
    :param idle_task_timeout: a thread that has had nothing to do for so many
        seconds ends; if not positive, never.

    ``len()`` is the number of tasks that were spawned and have not ended. One
    task more than there are threads is accepted without waiting.
    """

    _WorkerGreenlet = _WorkerGreenlet

    def __init__(
        self, maxsize: int, hub: Any = None, idle_task_timeout: float = -1
    ) -> None:
        self.hub = get_hub() if hub is None else hub
        self.manager = None
        self._maxsize = 0
        self._idle_task_timeout = idle_task_timeout
        self._semaphore = Semaphore(1)
        self._start_anew()
        self.maxsize = maxsize
        self.fork_watcher = self.hub.loop.fork(ref=False)
        self.fork_watcher.start(_weakly(self, "_on_fork"))
        _pools.add(self)

    def _start_anew(self) -> None:
        self.pid = os.getpid()
        self.task_queue = Queue()
        self._size = 0  # threads that will take tasks
        self._started = 0  # threads so far
        self._unfinished = 0
        self._threads: set[object] = set()  # that have not ended
        self._gone = Event()  # set by those that have
        self._nothing_left = Event()
        self._nothing_left.set()

    def _on_fork(self) -> None:
        """In the child: there are no threads, and nobody for the results."""
        if self.pid == os.getpid():
            return
        loop = self.hub.loop
        for _ in range(self._unfinished if loop is not None else 0):
            loop.unref()
        self._start_anew()
        self._semaphore = Semaphore(1 + self._maxsize)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} at {id(self):#x} "
            f"tasks={self._unfinished} size={self._size} "
            f"maxsize={self._maxsize} hub={_name_of(self.hub)}>"
        )

    def __len__(self) -> int:
        return self._unfinished

    # --- size

    @property
    def maxsize(self) -> int:
        """How many threads there may be."""
        return self._maxsize

    @maxsize.setter
    def maxsize(self, maxsize: int) -> None:
        if not isinstance(maxsize, int):
            raise TypeError(f"maxsize must be integral: {maxsize!r}")
        if maxsize < 0:
            raise ValueError(f"maxsize must not be negative: {maxsize!r}")
        more = maxsize - self._maxsize
        self._maxsize = maxsize
        if more < 0:
            # Those that wait in spawn() wait for the places that are left.
            self._semaphore.counter += more
        for _ in range(more):
            self._semaphore.release()
        self.adjust()

    @property
    def size(self) -> int:
        """How many threads there are; may be set, up to `maxsize`.

        Less of them: waits until those that are too many have ended.
        """
        return self._size

    @size.setter
    def size(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"size must not be negative: {size!r}")
        if size > self._maxsize:
            raise ValueError(
                f"size must not be bigger than maxsize: {size!r}, "
                f"{self._maxsize!r}"
            )
        while self._size < size:
            self._add_thread()
        self._remove_threads(self._size - size)

    def _add_thread(self) -> None:
        token = object()
        self._threads.add(token)
        add_idle_threads(1)
        try:
            start_new_thread(patiently, (_run_thread, self, token))
        except BaseException:
            self._threads.discard(token)
            add_idle_threads(-1)
            raise
        self._started += 1
        self._size += 1

    def _remove_thread(self) -> None:
        self._size -= 1
        self.task_queue.put(None)

    def _ended(self) -> int:
        return self._started - len(self._threads)

    def _remove_threads(self, count: int) -> None:
        """Waits until as many more have ended; not in the hub."""
        if count <= 0:
            return
        enough = self._ended() + count
        for _ in range(count):
            self._remove_thread()
        loop = self.hub.loop
        if getcurrent() is get_hub_if_exists() or loop is None:
            return
        loop.ref()
        try:
            while self._ended() < enough:
                self._gone.clear()
                if self._ended() < enough:
                    self._gone.wait()
        finally:
            if self.hub.loop is loop:
                loop.unref()

    def adjust(self) -> None:
        """Start threads that are needed, and end those that are too many."""
        while self._size > self._maxsize:
            self._remove_thread()
        while self._size < min(self._maxsize, self._unfinished):
            self._add_thread()

    def _idle_asker(self) -> Any:
        """For a thread that has had nothing to do for long."""
        return partial(_call_in_hub, self.hub, _weakly(self, "_let_idle_go"))

    def _let_idle_go(self) -> None:
        if self._size > self._unfinished:
            self._remove_thread()

    # --- tasks

    def spawn(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        """Run ``func(*args, **kwargs)`` in a thread.

        Waits while as many tasks are unfinished as there may be.

        :returns: an :class:`.AsyncResult`.
        :raises InvalidThreadUseError: in another thread than the hub's.
        """
        hub = self.hub
        if hub is not get_hub():
            raise InvalidThreadUseError
        while True:
            semaphore = self._semaphore
            semaphore.acquire()
            if semaphore is self._semaphore:
                break  # else this is a child, and that was the parent's
        self._unfinished += 1
        try:
            if self._size < self._maxsize:
                self.adjust()
            result = AsyncResult()
            to_hub = ThreadResult(result, hub, self._task_ended)
            self.task_queue.put((func, args, kwargs, to_hub))
        except BaseException:
            self._unfinished -= 1
            semaphore.release()
            raise
        if self._unfinished == 1:
            self._nothing_left.clear()
        hub.loop.ref()
        return result

    def _task_ended(self) -> None:
        """In the hub."""
        self._unfinished -= 1
        self.task_queue.task_done()
        self.hub.loop.unref()
        if not self._unfinished:
            self._nothing_left.set()
        self._semaphore.release()

    def join(self) -> None:
        """Wait until all tasks have ended."""
        while self._unfinished:
            self._nothing_left.wait()

    def kill(self) -> None:
        """End the threads; waits for them, and thus for tasks that run.

        No new ones are started before the next `spawn`.
        """
        self.size = 0
        self.fork_watcher.close()

    def _end_when_done(self) -> None:
        """As `kill`, without waiting: what was spawned will run."""
        while self._size:
            self._remove_thread()
        self.fork_watcher.close()

    # --- for GroupMappingMixin

    def _apply_immediately(self) -> bool:
        # In a thread of the pool, say: it would wait for itself.
        return get_hub_if_exists() is not self.hub

    def _apply_async_cb_spawn(self, callback: Any, result: Any) -> None:
        callback(result)

    def _apply_async_use_greenlet(self) -> bool:
        return True


_pools: weakref.WeakSet[ThreadPool] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for pool in list(_pools):
        pool._on_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _weakly(obj: Any, method: str) -> Any:
    """Calls the method while the object exists."""
    # Not a function: CPython 3.13.0 crashes if it lacks memory for one.
    return partial(_call_if_alive, weakref.ref(obj), method)


def _call_if_alive(ref: Any, method: str) -> None:
    target = ref()
    if target is not None:
        getattr(target, method)()


def _call_in_hub(hub: Any, func: Any) -> None:
    """From any thread; nothing is called in a hub that was destroyed."""
    loop = hub.loop
    if loop is not None:
        try:
            if get_hub_if_exists() is hub:
                # As from other threads: after what is going on here now.
                loop.run_callback(loop.run_callback, func)
            else:
                loop.run_callback_threadsafe(func)
        except Exception:
            if hub.loop is loop and not sys.is_finalizing():
                raise


def _ignore(source: Any) -> None:
    """Receives a result nobody wants."""


class ThreadResult:
    """Brings what a thread has found out to its receiver, in the hub.

    :param receiver: called with this object, as an
        :class:`~.event.AsyncResult` is by what it is linked to.
    :param call_when_ready: called without arguments before that.
    """

    __slots__ = (
        "exc_info",
        "hub",
        "value",
        "context",
        "receiver",
        "_call_when_ready",
    )

    def __init__(self, receiver: Any, hub: Any, call_when_ready: Any) -> None:
        self.receiver = _ignore if receiver is None else receiver
        self.hub = hub
        self.context: Any = None
        self.value: Any = None
        self.exc_info: Any = ()
        self._call_when_ready = call_when_ready

    @property
    def exception(self) -> Any:
        """What was raised, or None."""
        return self.exc_info[1] if self.exc_info else None

    def successful(self) -> bool:
        """Whether there is a value, not an exception."""
        return not self.exc_info

    def set(self, value: Any) -> None:
        """The task returned this. In any thread."""
        self.value = value
        patiently(ThreadResult._tell_hub, self)

    def handle_error(self, context: Any, exc_info: Any) -> None:
        """The task raised this. In any thread."""
        self.context = context
        self.exc_info = exc_info
        patiently(ThreadResult._tell_hub, self)

    def _tell_hub(self) -> None:
        _call_in_hub(self.hub, self._on_async)

    def destroy(self) -> None:
        """Forget everything."""
        self.hub = self.context = self.value = None
        self.exc_info = ()
        self._call_when_ready = None
        self.receiver = _ignore

    destroy_in_main_thread = destroy

    def _on_async(self) -> None:
        hub = self.hub
        try:
            self._call_when_ready()
            if self.exc_info:
                hub.handle_error(self.context, *self.exc_info)
        finally:
            try:
                self._deliver()
            finally:
                self.destroy()

    def _deliver(self) -> None:
        try:
            self.receiver(self)
        except MemoryError:
            self.value, self.exc_info = None, sys.exc_info()
            self.receiver(self)


class _Future:
    """The part of :class:`concurrent.futures.Future` that can be had here.

    Waiting in the standard library's functions works once threading is
    patched; before that it would block the hub that delivers the result.
    """

    __slots__ = ("_result", "_links", "_own_condition", "_waiters", "__dict__")

    def __init__(self, result: Any) -> None:
        self._result = result
        self._links: dict[Any, Any] = {}
        self._own_condition: Any = None
        self._waiters: list[Any] = []
        result.rawlink(self._wake_waiters)

    def _wake_waiters(self, _source: Any) -> None:
        for waiter in self._waiters:
            if self._result.successful():
                waiter.add_result(self)
            else:
                waiter.add_exception(self)

    @property
    def _state(self) -> str:
        return "FINISHED" if self._result.ready() else "RUNNING"

    @property
    def _condition(self) -> Any:
        if self._own_condition is None:
            if not self.done() and not is_module_patched("threading"):
                raise AttributeError(
                    "_condition: wait for this future with gevent, or patch "
                    "threading"
                )
            from threading import Condition

            self._own_condition = Condition()
        return self._own_condition

    def cancel(self) -> bool:
        """False: a task that was submitted will run."""
        return False

    def cancelled(self) -> bool:
        return False

    def running(self) -> bool:
        return not self.done()

    def done(self) -> bool:
        return bool(self._result.ready())

    ready = done

    def successful(self) -> bool:
        """Whether it has ended with a value."""
        return bool(self._result.successful())

    def result(self, timeout: float | None = None) -> Any:
        """Wait for what it returns, or raises."""
        self._wait(timeout)
        return self._result.get(block=False)

    def exception(self, timeout: float | None = None) -> Any:
        """Wait for what it raises, or None."""
        self._wait(timeout)
        return self._result.exception

    def _wait(self, timeout: float | None) -> None:
        if not self.done():
            self._result.wait(timeout)
            if not self.done():
                raise futures.TimeoutError

    def add_done_callback(self, func: Any) -> None:
        """Call ``func(future)`` when it is done; now, if it is already."""
        if self.done():
            self._call(func)
        else:
            self._result.rawlink(lambda _source: self._call(func))

    def _call(self, func: Any) -> None:
        try:
            func(self)
        except Exception:
            from logging import getLogger

            getLogger("concurrent.futures").exception(
                "exception calling callback for %r", self
            )

    def rawlink(self, callback: Any) -> None:
        """As an :class:`.AsyncResult` has it, for `gevent.wait`."""
        self._links[callback] = link = lambda _source: callback(self)
        self._result.rawlink(link)

    def unlink(self, callback: Any) -> None:
        """Undo `rawlink`."""
        link = self._links.pop(callback, None)
        if link is not None:
            self._result.unlink(link)


class ThreadPoolExecutor(futures.ThreadPoolExecutor):
    """:class:`concurrent.futures.ThreadPoolExecutor` on a `ThreadPool`.

    Its threads are native in any case. Waiting for a future lets other
    greenlets run; `gevent.wait` takes futures, too. The functions
    `concurrent.futures.wait` and `as_completed` do if threading is patched.

    Only the first argument, the number of threads, matters.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._threadpool: ThreadPool | None = ThreadPool(
            self._max_workers
        )

    def submit(
        self, fn: Any, /, *args: Any, **kwargs: Any
    ) -> Any:
        """Run ``fn(*args, **kwargs)`` in a thread; returns its future."""
        pool = self._threadpool
        if pool is None:
            raise RuntimeError("cannot schedule new futures after shutdown")
        return _Future(pool.spawn(fn, *args, **kwargs))

    def shutdown(self, wait: bool = True, **kwargs: Any) -> None:
        """Take no more tasks. If `wait`, until the last has ended."""
        pool, self._threadpool = self._threadpool, None
        super().shutdown(False)
        if pool is None:
            return
        if wait:
            pool.join()
            pool.kill()
        else:
            pool._end_when_done()

    kill = shutdown

    def _adjust_thread_count(self) -> None:
        """Threads are the pool's business."""
