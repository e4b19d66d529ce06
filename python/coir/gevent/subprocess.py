"""The standard library's :mod:`subprocess`, whose waits let others run.

:class:`Popen` is derived from the interpreter's own, which starts the child as
fast as it can; no Python code runs in a fork of this process, unless there is
a `preexec_fn`. The end of a child is waited for by a descriptor of its process
(pidfd), in any thread, without a handler of SIGCHLD. Pipes are cooperative
files, see :mod:`gevent.fileobject`.

The other functions are the interpreter's own code, with this Popen.
"""

from __future__ import annotations

import os
import subprocess as __subprocess__
import sys
import time
from collections.abc import Callable
from io import FileIO as _FileIO
from types import FunctionType
from typing import TYPE_CHECKING, Any

from ._util import copy_globals
from .monkey.api import get_original, patch_item

if TYPE_CHECKING:
    from subprocess import (
        STDOUT,
        CalledProcessError,
        TimeoutExpired,
        list2cmdline,
    )

__implements__ = [
    "Popen",
    "call",
    "check_call",
    "check_output",
    "run",
    "getoutput",
    "getstatusoutput",
]

_Popen: Any = get_original("subprocess", "Popen")
_functions = {
    name: get_original("subprocess", name) for name in __implements__[1:]
}

# All of it: the functions need what theirs need.
_names = copy_globals(
    __subprocess__,
    globals(),
    names_to_ignore=__implements__,
    dunder_names_to_keep=(),
    cleanup_globs=False,
)
del copy_globals

__imports__ = [name for name in _names if name in __subprocess__.__all__]
__all__ = __implements__ + __imports__

mswindows = False
_WNOHANG = os.WNOHANG
_monotonic = time.monotonic


def FileObject(*args: Any, **kwargs: Any) -> Any:
    """A new :class:`gevent.fileobject.FileObject`."""
    # Not imported with this module: until it is used, it can be configured.
    from .fileobject import FileObject as cls

    return cls(*args, **kwargs)


def _as_io(pipe: Any) -> Any:
    """The ordinary file in a file object, if that lets others run itself.

    As the files of the interpreter's Popen it is of the classes in `io`.
    """
    from .fileobject import FileObjectPosix

    return pipe.io if type(pipe) is FileObjectPosix else pipe


def _close(pipe: Any) -> None:
    """Close a file, even if a greenlet is reading it, which gets an error."""
    try:
        pipe.close()
    except RuntimeError:
        raw = getattr(getattr(pipe, "buffer", pipe), "raw", None)
        if raw is not None:
            raw.close()


class _Communication:
    """What ``communicate()`` is doing: a greenlet for each pipe.

    They go on when it is interrupted, so that it can be called again.
    """

    def __init__(self, popen: Any, data: Any) -> None:
        from .greenlet import Greenlet

        self.chunks: dict[str, list[bytes]] = {}
        self.greenlets = []
        if popen.stdin:
            self.greenlets.append(
                Greenlet.spawn(self._write, popen.stdin, data)
            )
        for name in ("stdout", "stderr"):
            pipe = getattr(popen, name)
            if pipe:
                chunks = self.chunks[name] = []
                # Closed before by its user: as if there were nothing to read.
                if not pipe.closed:
                    self.greenlets.append(
                        Greenlet.spawn(self._read, pipe, chunks)
                    )

    def __iter__(self) -> Any:
        return iter(self.greenlets)

    def __len__(self) -> int:
        return len(self.greenlets)

    def output(self, name: str) -> bytes | None:
        """What was read so far; None if there is no such pipe."""
        chunks = self.chunks.get(name)
        return None if chunks is None else b"".join(chunks)

    @staticmethod
    def _write(pipe: Any, data: Any) -> None:
        try:
            try:
                pipe.flush()
            except ValueError:
                if data or not pipe.closed:
                    raise
            if data:
                pipe.write(data)
        except BrokenPipeError:
            pass  # it does not want to know
        finally:
            try:
                pipe.close()
            except BrokenPipeError:
                pass

    @staticmethod
    def _read(pipe: Any, chunks: list[bytes]) -> None:
        binary = getattr(pipe, "buffer", pipe)
        read = getattr(binary, "read1", binary.read)
        try:
            while True:
                data = read(65536)
                if not data:
                    break
                chunks.append(data)
        finally:
            try:
                pipe.close()
            except OSError:
                pass


class Popen(_Popen):  # type: ignore[misc]
    """A child process; see :class:`subprocess.Popen`.

    Can be given to :func:`gevent.wait` and to others that take what has
    ``rawlink()``. May be used in any thread, by several greenlets.

    :param threadpool: only None; it is of use on other systems.
    """

    _communicating_greenlets: _Communication | None = None
    _result: Any = None
    _links: Any = None
    stdout: Any
    stderr: Any

    @staticmethod
    def pipe_cloexec() -> tuple[int, int]:
        """A pipe whose ends are closed in programs that are started."""
        return os.pipe()

    def __init__(
        self,
        args: Any,
        bufsize: int = -1,
        *others: Any,
        threadpool: None = None,
        **kwargs: Any,
    ) -> None:
        self._bufsize = -1 if bufsize is None else bufsize
        self._parent_ends: list[int] = []
        try:
            super().__init__(args, bufsize, *others, **kwargs)
        except BaseException:
            # Those that became files, or were to, are closed already.
            for fd in self._parent_ends:
                if fd != -1:
                    os.close(fd)
            raise

    # The class that this is derived from makes files of our ends of the
    # pipes, blocking ones. So it does not get to see these ends before it
    # starts the child, which needs to know what to close.

    def _get_handles(self, *args: Any) -> tuple[int, ...]:
        p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite = (
            super()._get_handles(*args)
        )
        self._parent_ends = [p2cwrite, c2pread, errread]
        for number, (end, fd) in enumerate(
            ((p2cwrite, p2cread), (c2pread, c2pwrite), (errread, errwrite))
        ):
            if end == -1:
                self._make_blocking(number if fd == -1 else fd)
        return p2cread, -1, -1, c2pwrite, -1, errwrite

    @staticmethod
    def _make_blocking(fd: int) -> None:
        # A cooperative file of ours, which the child does not expect.
        try:
            if not os.get_blocking(fd):
                os.set_blocking(fd, True)
        except OSError:
            pass

    def _make_pipe(self, fd: int, mode: str, *args: Any, **kwargs: Any) -> Any:
        """A cooperative file on our end of a pipe; if it fails, closes it."""
        owner = _FileIO(fd, mode[0])
        try:
            return _as_io(FileObject(owner, mode, *args, **kwargs))
        except BaseException:
            owner.close()
            raise

    def _execute_child(self, *args: Any) -> None:
        if self.text_mode:
            options = {"encoding": self.encoding, "errors": self.errors}
        else:
            options = {}
        ends = tuple(self._parent_ends)
        for number, (name, mode) in enumerate(
            (("stdin", "w"), ("stdout", "r"), ("stderr", "r"))
        ):
            if ends[number] != -1:
                if not self.text_mode:
                    mode += "b"
                self._parent_ends[number] = -1
                pipe = self._make_pipe(
                    ends[number], mode, self._bufsize, **options
                )
                setattr(self, name, pipe)
        handles = list(args)
        for index, end in zip(_PARENT_ENDS, ends):
            handles[index] = end
        super()._execute_child(*handles)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} at {id(self):#x}"
            f" pid={getattr(self, 'pid', None)!r}"
            f" returncode={self.returncode!r}>"
        )

    # --- waiting

    def _internal_poll(
        self, _deadstate: int | None = None, *args: Any, **kwargs: Any
    ) -> int | None:
        if _deadstate is not None:
            # Called by __del__, maybe when there is nothing left of us.
            code: int | None = super()._internal_poll(
                _deadstate, *args, **kwargs
            )
            return code
        if self.returncode is None and self._waitpid_lock.acquire(False):
            try:
                if self.returncode is None:
                    self._reap()
            finally:
                self._waitpid_lock.release()
        code = self.returncode
        return code

    def _reap(self) -> None:
        try:
            pid, status = os.waitpid(self.pid, _WNOHANG)
        except ChildProcessError:
            # Somebody else has: what it returned is lost.
            self.returncode = 0
            return
        if pid == self.pid:
            self._handle_exitstatus(status)

    def _wait(self, timeout: float | None) -> int:
        from .os import wait_for_child

        deadline = None if timeout is None else _monotonic() + timeout
        while self._internal_poll() is None:
            left = None
            if deadline is not None:
                left = deadline - _monotonic()
                if left <= 0:
                    raise TimeoutExpired(self.args, timeout)  # type: ignore[arg-type]
            wait_for_child(self.pid, left)
        code: int = self.returncode
        return code

    def wait(
        self, timeout: float | None = None, _raise_exc: bool = True
    ) -> int | None:
        """Wait until the process has ended; return its `returncode`.

        :raises TimeoutExpired: after `timeout` seconds.
        """
        try:
            code: int | None = super().wait(timeout)
        except TimeoutExpired:
            if _raise_exc:
                raise
            return None
        return code

    @property
    def result(self) -> Any:
        """An AsyncResult that will be the return code."""
        if self._result is None:
            from .event import AsyncResult
            from .greenlet import Greenlet

            self._result = AsyncResult()
            if self._internal_poll() is not None:
                self._result.set(self.returncode)
            else:
                Greenlet.spawn(self.wait).link(self._set_result)
        return self._result

    def _set_result(self, greenlet: Any) -> None:
        self._result.set(self.returncode)

    def rawlink(self, callback: Callable[[Any], object]) -> None:
        """Have ``callback(self)`` called in the hub when it has ended."""
        if self._links is None:
            self._links = {}
        link = self._links[callback] = _Link(self, callback)
        self.result.rawlink(link)

    def unlink(self, callback: Callable[[Any], object]) -> None:
        """Take a rawlink() back."""
        link = self._links and self._links.pop(callback, None)
        if link is not None:
            self.result.unlink(link)

    # --- pipes

    def communicate(
        self, input: Any = None, timeout: float | None = None
    ) -> tuple[Any, Any]:
        """Send `input`, read until the end; wait for the process.

        Can be called again, after an interruption as well: nothing of what
        was read is lost.

        :raises TimeoutExpired: after `timeout` seconds.
        """
        if not input and (self.stdin or self.stdout or self.stderr):
            # Else a single pipe is read by one call, in this greenlet.
            self._communication_started = True
        result: tuple[Any, Any] = super().communicate(input, timeout)
        return result

    def _communicate(
        self, input: Any, endtime: float | None, orig_timeout: float | None
    ) -> tuple[Any, Any]:
        from .greenlet import joinall

        communication = self._communicating_greenlets
        if communication is None:
            communication = _Communication(self, input)
            self._communicating_greenlets = communication
        left = None
        if endtime is not None:
            left = max(0, endtime - _monotonic())
        joinall(communication.greenlets, timeout=left)
        for greenlet in communication:
            if greenlet.ready():
                greenlet.get()
        if not all(greenlet.ready() for greenlet in communication):
            raise TimeoutExpired(
                self.args,
                orig_timeout,  # type: ignore[arg-type]
                output=communication.output("stdout") or None,
                stderr=communication.output("stderr") or None,
            )
        if endtime is not None:
            left = endtime - _monotonic()
        try:
            self.wait(timeout=left)
        except TimeoutExpired as exc:
            exc.timeout = orig_timeout  # type: ignore[assignment]
            raise
        return (
            self._decoded("stdout", communication),
            self._decoded("stderr", communication),
        )

    def _decoded(self, name: str, communication: _Communication) -> Any:
        data = communication.output(name)
        if data is None or not self.text_mode:
            return data
        text = data.decode(self.encoding, self.errors or "strict")
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def __exit__(self, exc_type: Any, value: Any, traceback: Any) -> None:
        communication = self._communicating_greenlets
        if communication is not None:
            running = [g for g in communication if not g.ready()]
            if running:
                from .greenlet import killall

                killall(running)
        stdout, stderr = self.stdout, self.stderr
        for pipe in (stdout, stderr):
            if pipe:
                _close(pipe)
        self.stdout = self.stderr = None
        try:
            super().__exit__(exc_type, value, traceback)
        finally:
            self.stdout, self.stderr = stdout, stderr


class _Link:
    """A callback for the AsyncResult of a Popen that wants the Popen."""

    def __init__(
        self, popen: Popen, callback: Callable[[Any], object]
    ) -> None:
        self.popen = popen
        self.callback = callback

    def __call__(self, result: Any) -> None:
        links = self.popen._links
        if links.get(self.callback) is self:
            del links[self.callback]
        self.callback(self.popen)


#: Where the arguments of _execute_child() are that are ours of the pipes.
_PARENT_ENDS = [
    _Popen._execute_child.__code__.co_varnames.index(name) - 1
    for name in ("p2cwrite", "c2pread", "errread")
]


#: Docstrings, of functions whose code is the interpreter's own.
_DOCS = {
    "call": """Run a program and return its exit status, when it has ended.

    The arguments are those of `Popen`. After `timeout` seconds the program is
    killed, and TimeoutExpired raised.
    """,
    "check_call": """As call(); CalledProcessError if the status is not 0.""",
    "check_output": """Run a program and return what it wrote to stdout.

    Bytes; or text, with `text`, `encoding` or `errors`. `input` is what it
    reads. The other arguments are those of `Popen`, but for `stdout`.

        >>> from gevent import subprocess
        >>> subprocess.check_output(["echo", "here"], text=True)
        'here\\n'
        >>> subprocess.check_output(["tr", "a-z", "A-Z"], input=b"loud")
        b'LOUD'
        >>> subprocess.check_output("echo oops >&2; exit 3", shell=True,
        ...                         stderr=subprocess.STDOUT)
        Traceback (most recent call last):
        ...
        subprocess.CalledProcessError: Command 'echo oops >&2; exit 3' \
returned non-zero exit status 3.

    :raises CalledProcessError: if its exit status is not 0; has the output.
    :raises TimeoutExpired: after `timeout` seconds; the program was killed.
    """,
    "run": """Run a program; a CompletedProcess when it has ended.

    `input` is what it reads; `capture_output` keeps what it writes; `check`
    raises CalledProcessError if its exit status is not 0. After `timeout`
    seconds it is killed, and TimeoutExpired raised. The other arguments are
    those of `Popen`.
    """,
    "getoutput": """The output and the errors of a shell's command, as text.

    Less the newline at the end. Its status is not looked at.
    """,
    "getstatusoutput": """Exit status and output of a shell's command.

    The output as getoutput() gives it.
    """,
}


def _with_globals(func: Any, names: dict[str, Any]) -> Any:
    """The interpreter's function with other globals."""
    ours = FunctionType(
        func.__code__,
        names,
        func.__name__,
        func.__defaults__,
        func.__closure__,
    )
    ours.__kwdefaults__ = func.__kwdefaults__
    ours.__doc__ = _DOCS[func.__name__]
    return ours


def functions_with(popen: type) -> dict[str, Any]:
    """The functions that start a child, by another class; their globals."""
    names = {**globals(), "Popen": popen}
    for name, func in _functions.items():
        names[name] = _with_globals(func, names)
    return names


for _name, _func in _functions.items():
    globals()[_name] = _with_globals(_func, globals())
del _name, _func


def _gevent_do_monkey_patch(request: Any) -> None:
    """Replace the class; the functions there use what the module has."""
    for name in request.items:
        if name == "Popen":
            patch_item(request.target_module, name, Popen)
        else:
            patch_item(
                request.target_module,
                name,
                getattr(request.target_module, name),
            )


def _gevent_did_monkey_patch(target_module: Any, *args: Any) -> None:
    """Have multiprocessing fork, as it did before Python 3.14.

    What it does instead since then needs blocking reads in this process.
    """
    if sys.version_info >= (3, 14):
        import multiprocessing

        if multiprocessing.get_start_method(allow_none=True) is None:
            multiprocessing.set_start_method("fork")
