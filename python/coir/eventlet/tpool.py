"""Native threads, for what would block all green threads.

`execute` runs a function in one of ``EVENTLET_THREADPOOL_SIZE`` (20) threads,
which are started with the first call, and blocks the calling green thread
only. What runs there must not use green threads of the caller's.
"""

from __future__ import annotations

import atexit
import os
import sys
import traceback
import warnings
from _queue import SimpleQueue
from collections.abc import Callable
from typing import Any

from coir.gevent._threading import (
    Lock,
    get_thread_ident,
)

from . import event, greenthread, timeout
from .patcher import original

__all__ = ["execute", "Proxy", "killall", "set_num_threads"]

EXC_CLASSES = (Exception, timeout.Timeout)
SYS_EXCS = (GeneratorExit, KeyboardInterrupt, SystemExit)

#: Whether errors are raised without being printed.
QUIET = True

_nthreads = int(os.environ.get("EVENTLET_THREADPOOL_SIZE", 20))
_setup_already = False
_reqq: Any = None


class _Thread:
    """A thread of the pool, from its start to its end."""

    def __init__(self, jobs: SimpleQueue[Any]) -> None:
        self.ident: int | None = None
        self._ended = Lock()
        self._ended.acquire()
        thread = original("threading").Thread(
            target=self._run, args=(jobs,), daemon=True
        )
        thread.name = f"tpool_{thread.name}"
        thread.start()

    def _run(self, jobs: SimpleQueue[Any]) -> None:
        self.ident = get_thread_ident()
        try:
            tworker(jobs)
        finally:
            self._ended.release()

    def join(self) -> None:
        """Wait until it has ended: blocks the whole calling thread."""
        with self._ended:
            pass


_threads: list[_Thread] = []


class _Failed:
    """What a function failed with."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


def tworker(jobs: SimpleQueue[Any] | None = None) -> None:
    """Do what is asked for, until told to end: the body of a thread."""
    if jobs is None:
        jobs = _reqq
    while True:
        job = jobs.get()
        if job is None:
            return
        done, func, args, kwargs = job
        result: Any = None
        try:
            result = func(*args, **kwargs)
        except SYS_EXCS:
            done.send(None)
            raise
        except BaseException as exc:
            # Locals of frames that ended would live as long as the error.
            traceback.clear_frames(exc.__traceback__)
            result = _Failed(exc)
        done.send(result)
        job = done = func = args = kwargs = result = None


def execute(meth: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``meth(*args, **kwargs)``, called in a thread of the pool.

    Called directly if the caller is such a thread, holds an import lock, or
    the pool has no threads.
    """
    setup()
    if _nthreads == 0 or _is_import_locked():
        return meth(*args, **kwargs)
    me = get_thread_ident()
    if any(thread.ident == me for thread in _threads):
        return meth(*args, **kwargs)
    done = event.Event()
    _reqq.put((done, meth, args, kwargs))
    result = done.wait()
    if not isinstance(result, _Failed):
        return result
    error = result.error
    if not QUIET:
        traceback.print_exception(error)
        traceback.print_stack()
    try:
        raise error
    finally:
        del error, result


def _is_import_locked() -> bool:
    import _imp

    return _imp.lock_held()


def proxy_call(
    autowrap: Any, f: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    """`execute` it; a result of the types `autowrap` becomes a `Proxy`.

    :param nonblocking: if true, it is called directly.
    """
    if kwargs.pop("nonblocking", False):
        result = f(*args, **kwargs)
    else:
        result = execute(f, *args, **kwargs)
    return Proxy(result, autowrap) if isinstance(result, autowrap) else result


class Proxy:
    """An object whose methods are called in threads of the pool.

    :param autowrap: types of results and attributes that become a `Proxy`,
        too.
    :param autowrap_names: names of methods and attributes whose values do.
    """

    def __init__(
        self, obj: Any, autowrap: Any = (), autowrap_names: Any = ()
    ) -> None:
        self._obj = obj
        self._autowrap = autowrap
        self._autowrap_names = autowrap_names

    def _in_pool(self, f: Callable[..., Any], *args: Any, **kw: Any) -> Any:
        return proxy_call(self._autowrap, f, *args, **kw)

    def __getattr__(self, attr_name: str) -> Any:
        value = getattr(self._obj, attr_name)
        by_name = attr_name in self._autowrap_names
        if not callable(value):
            if by_name or isinstance(value, self._autowrap):
                return Proxy(value, self._autowrap)
            return value

        def method(*args: Any, **kwargs: Any) -> Any:
            result = self._in_pool(value, *args, **kwargs)
            if by_name and not isinstance(result, Proxy):
                return Proxy(result)
            return result

        return method

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = self._in_pool(self._obj, *args, **kwargs)
        return Proxy(result) if "__call__" in self._autowrap_names else result

    def __getitem__(self, key: Any) -> Any:
        return self._in_pool(self._obj.__getitem__, key)

    def __setitem__(self, key: Any, value: Any) -> Any:
        return self._in_pool(self._obj.__setitem__, key, value)

    def __deepcopy__(self, memo: Any = None) -> Any:
        return self._in_pool(self._obj.__deepcopy__, memo)

    def __copy__(self, memo: Any = None) -> Any:
        return self._in_pool(self._obj.__copy__, memo)

    def __enter__(self) -> Any:
        return self._in_pool(self._obj.__enter__)

    def __exit__(self, *exc: Any) -> Any:
        return self._in_pool(self._obj.__exit__, *exc)

    def __next__(self) -> Any:
        return self._in_pool(next, self._obj)

    def next(self) -> Any:
        """As ``next(self)``."""
        return self.__next__()

    # What follows is called often, and hardly ever blocks.

    def __eq__(self, rhs: Any) -> Any:
        return self._obj == rhs

    def __hash__(self) -> int:
        return hash(self._obj)

    def __repr__(self) -> str:
        return repr(self._obj)

    def __str__(self) -> str:
        return str(self._obj)

    def __len__(self) -> int:
        return len(self._obj)

    def __bool__(self) -> bool:
        return bool(self._obj)

    __nonzero__ = __bool__

    def __iter__(self) -> Any:
        it = iter(self._obj)
        return self if it is self._obj else Proxy(it)


def setup() -> None:
    """Start the threads; nothing, if that was done."""
    global _reqq, _setup_already
    if _setup_already:
        return
    if _nthreads < 0:
        raise AssertionError("Can't specify negative number of threads")
    _setup_already = True
    if _nthreads == 0:
        warnings.warn(
            "Zero threads in tpool.  All tpool.execute calls will execute in "
            "main thread.  Check the value of the environment variable "
            "EVENTLET_THREADPOOL_SIZE.",
            RuntimeWarning,
            stacklevel=3,
        )
    _reqq = SimpleQueue()
    _threads.extend(_Thread(_reqq) for _ in range(_nthreads))


@atexit.register
def killall() -> None:
    """End all threads, when they have done what they were asked for.

    Blocks the whole calling thread until then.
    """
    global _reqq, _setup_already
    if not _setup_already:
        return
    if not sys.is_finalizing():
        greenthread.sleep(0)  # who is about to ask
    threads, _threads[:] = _threads[:], []
    for _ in threads:
        _reqq.put(None)
    for thread in threads:
        thread.join()
    _reqq = None
    _setup_already = False


def set_num_threads(nthreads: int) -> None:
    """Have so many threads, after the next `setup`."""
    global _nthreads
    _nthreads = nthreads


def _after_fork_in_child() -> None:
    """The threads are the parent's; the child starts its own."""
    global _reqq, _setup_already
    _threads.clear()
    _reqq = None
    _setup_already = False


os.register_at_fork(after_in_child=_after_fork_in_child)
