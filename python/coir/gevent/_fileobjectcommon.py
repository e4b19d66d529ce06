"""Opening files as ``open()`` does, around raw files of various kinds.

An :class:`OpenDescriptor` holds what ``open()`` is given, checks it, and makes
the layers: raw file, buffer, text. A file object (:class:`FileObjectBase`)
offers the methods of the topmost layer as its own, until it is closed; from
then on all raise :exc:`FileObjectClosed`.
"""

from __future__ import annotations

import io
import os
import warnings
from errno import EBADF
from typing import TYPE_CHECKING, Any

from .hub import get_hub
from .lock import DummySemaphore, Semaphore

if TYPE_CHECKING:
    from collections.abc import Callable


class cancel_wait_ex(OSError):
    """Raised in who waits for a file that is closed meanwhile."""

    def __init__(self) -> None:
        super().__init__(
            EBADF, "File descriptor was closed in another greenlet"
        )


class FileObjectClosed(OSError):
    """The file object was closed."""

    def __init__(self) -> None:
        super().__init__(EBADF, "Bad file descriptor (FileObject was closed)")


class FlushingBufferedWriter(io.BufferedWriter):
    """Flushes after each write."""

    def write(self, b: Any) -> int:
        written = super().write(b)
        self.flush()
        return written


class WriteallMixin:
    """A raw file that can write all of what it is given."""

    def writeall(self, value: Any) -> int:
        """Write all of `value`; returns its length."""
        write = super().write  # type: ignore[misc]
        with memoryview(value) as view, view.cast("B") as rest:
            length = done = len(rest)
            while done:
                written = write(rest[length - done :])
                done -= written or 0
            return length


class WriteIsWriteallMixin(WriteallMixin):
    """Whose `write` is never partial."""

    def write(self, value: Any) -> int:
        return self.writeall(value)


class FileIO(io.FileIO):
    """The raw file of those who block."""


class WriteallFileIO(WriteIsWriteallMixin, io.FileIO):
    """One that writes all."""


def _check_mode(mode: str) -> tuple[str, bool]:
    """The mode of the raw file, and whether this is a binary file."""
    flags = set(mode)
    if flags - set("axrwb+tU") or len(mode) > len(flags):
        raise ValueError(f"invalid mode: {mode!r}")
    if "U" in flags:
        if flags & set("axw+"):
            raise ValueError(
                "mode U cannot be combined with 'x', 'w', 'a', or '+'"
            )
        flags.add("r")
    if {"t", "b"} <= flags:
        raise ValueError("can't have text and binary mode at once")
    kinds = [kind for kind in "xrwa" if kind in flags]
    if len(kinds) > 1:
        raise ValueError("can't have create/read/write/append mode at once")
    if not kinds:
        raise ValueError(
            "must have exactly one of create/read/write/append mode"
        )
    return kinds[0] + ("+" if "+" in flags else ""), "b" in flags


class OpenDescriptor:
    """What is to be opened, and how; as :func:`open`.

    :param fobj: a descriptor, a path, or a file with ``fileno()``.
    :param bufsize: old name of `buffering`.
    :param close: old name of `closefd`.
    :param atomic_write: without a buffer, let ``write()`` write all it is
        given.
    """

    default_buffer_size = io.DEFAULT_BUFFER_SIZE

    def __init__(
        self,
        fobj: Any,
        mode: str = "r",
        bufsize: int | None = None,
        close: bool | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        buffering: int | None = None,
        closefd: bool | None = None,
        atomic_write: bool = False,
    ) -> None:
        closefd = _one_of("closefd", closefd, "close", close, True)
        buffering = _one_of("buffering", buffering, "bufsize", bufsize, -1)
        if not hasattr(fobj, "fileno") and not isinstance(
            fobj, (int, io.IOBase)
        ):
            fobj = os.fspath(fobj)
        if not isinstance(mode, str):
            raise TypeError(f"invalid mode: {mode!r}")
        if not isinstance(buffering, int):
            raise TypeError(f"invalid buffering: {buffering!r}")
        if encoding is not None and not isinstance(encoding, str):
            raise TypeError(f"invalid encoding: {encoding!r}")
        if errors is not None and not isinstance(errors, str):
            raise TypeError(f"invalid errors: {errors!r}")
        self.fileio_mode, self.binary = _check_mode(mode)
        if self.binary:
            for what, value in (
                ("an encoding", encoding),
                ("an errors", errors),
                ("a newline", newline),
            ):
                if value is not None:
                    raise ValueError(
                        f"binary mode doesn't take {what} argument"
                    )
            if buffering == 1:
                warnings.warn(
                    "line buffering (buffering=1) isn't supported in binary "
                    "mode, the default buffer size will be used",
                    RuntimeWarning,
                    stacklevel=4,
                )
                buffering = -1
        self.fobj = fobj
        self.mode = mode.replace("U", "") or "r"
        self.buffering = buffering
        self.closefd = bool(closefd)
        self.encoding = encoding
        self.errors = errors
        self.newline = newline
        self.atomic_write = atomic_write
        self._raw: Any = None
        self._opened: Any = None

    @property
    def reads(self) -> bool:
        """Whether the mode allows reading."""
        return "r" in self.fileio_mode or "+" in self.fileio_mode

    @property
    def writes(self) -> bool:
        """Whether the mode allows writing."""
        return self.fileio_mode != "r"

    def is_fd(self) -> bool:
        """Whether a descriptor was given."""
        return isinstance(self.fobj, int)

    def is_path(self) -> bool:
        """Whether a path was given."""
        return isinstance(self.fobj, (str, bytes))

    def opened(self) -> Any:
        """The file: raw, buffered or text, as was asked for."""
        if self._opened is None:
            raw = self.opened_raw()
            try:
                self._opened = self._layers(raw)
            except BaseException:
                if raw is not self.fobj:
                    raw.close()
                raise
        return self._opened

    def opened_raw(self) -> Any:
        """What is below all layers."""
        if self._raw is None:
            self._raw = self._do_open_raw()
        return self._raw

    def _do_open_raw(self) -> Any:
        kind = WriteallFileIO if self._is_atomic() else FileIO
        if self.is_path():
            return kind(self.fobj, self.fileio_mode)
        if self.is_fd():
            return kind(self.fobj, self.fileio_mode, self.closefd)
        fobj = self.fobj
        if isinstance(fobj, FileObjectBase):
            fobj = fobj.io
        if isinstance(fobj, io.TextIOBase) and self.writes:
            fobj.flush()
        if isinstance(fobj, io.TextIOWrapper):
            fobj = fobj.buffer
        return fobj

    def _is_atomic(self) -> bool:
        return self.atomic_write and self.writes and self.buffering == 0

    def _layers(self, raw: Any) -> Any:
        stream = raw
        line_buffering = self.buffering == 1
        if self.buffering < 0 and not self.binary:
            line_buffering = bool(raw.isatty())
        if self.buffering != 0 and not isinstance(raw, io.BufferedIOBase):
            stream = self._buffered(raw)
        if self.binary:
            return stream
        text = io.TextIOWrapper(
            stream,
            self.encoding,
            self.errors,
            self.newline,
            line_buffering,
            write_through=self.buffering == 0,
        )
        text.mode = self.mode  # type: ignore[misc]
        return text

    def _buffered(self, raw: Any) -> Any:
        size = self.buffering
        if size in (-1, 1) or size < 0:
            size = self.default_buffer_size
        kind: Any = io.BufferedReader
        if "+" in self.fileio_mode:
            kind = io.BufferedRandom
        elif self.writes:
            kind = io.BufferedWriter
        return kind(raw, size)


def _one_of(
    name: str, value: Any, old_name: str, old_value: Any, default: Any
) -> Any:
    if value is not None and old_value is not None:
        raise TypeError(
            f"Cannot specify both {name}={value} and {old_name}={old_value}"
        )
    if value is not None:
        return value
    return default if old_value is None else old_value


class _ClosedIO:
    """What takes the place of a file that was closed."""

    __slots__ = ("name",)

    def __init__(self, io_obj: Any) -> None:
        try:
            self.name = io_obj.name
        except AttributeError:
            pass

    def __getattr__(self, name: str) -> Any:
        if name == "name":
            # It had none: that is what reading it told before.
            raise AttributeError(name)
        raise FileObjectClosed

    def __bool__(self) -> bool:
        return False


class FileObjectBase:
    """A file whose methods are those of what `descriptor` opens.

    What the layers have besides can be had as attributes, too.
    """

    #: Methods that are copied to each object.
    _delegate_methods = (
        "flush",
        "fileno",
        "writable",
        "readable",
        "seek",
        "seekable",
        "tell",
        "read",
        "readline",
        "readlines",
        "read1",
        "readinto",
        "write",
        "writeall",
        "writelines",
        "truncate",
    )

    _io: Any = None

    def __init__(self, descriptor: OpenDescriptor) -> None:
        self._io = descriptor.opened()
        self._closefd = descriptor.closefd
        self._do_delegate_methods()

    io = property(lambda self: self._io, doc="The topmost layer.")

    def _do_delegate_methods(self) -> None:
        for name in self._delegate_methods:
            method = getattr(self._io, name, None)
            if method is not None:
                setattr(self, name, self._wrap_method(method))

    def _wrap_method(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """What is to be offered in the place of a method of the file."""
        return method

    @property
    def closed(self) -> bool:
        """True if the file is closed."""
        return isinstance(self._io, _ClosedIO)

    def close(self) -> None:
        """Flush and close; once more does nothing."""
        if self.closed:
            return
        fobj = self._io
        self._io = _ClosedIO(fobj)
        for name in self._delegate_methods:
            self.__dict__.pop(name, None)
        self._do_close(fobj, self._closefd)

    def _do_close(self, fobj: Any, closefd: bool) -> None:
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        return getattr(self._io, name)

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"_fobj={self._io!r}"
        return (
            f"<{type(self).__name__} at {id(self):#x} {state}"
            f"{self._extra_repr()}>"
        )

    def _extra_repr(self) -> str:
        return ""

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    next = __next__

    def __bool__(self) -> bool:
        return True


class _Original:
    """What a file object was made for, to be closed with it."""

    __slots__ = ("_fobj", "_raw")

    def __init__(self, descriptor: OpenDescriptor) -> None:
        is_file = not (descriptor.is_fd() or descriptor.is_path())
        self._fobj = descriptor.fobj if is_file else None
        self._raw = descriptor.opened_raw()

    def close(self, top: Any, closefd: bool) -> None:
        """Close it from the topmost layer, or those above it only."""
        fobj = self._fobj
        if fobj is None:
            top.close()  # the raw file knows whether the descriptor is its own
        elif closefd:
            top.close()
            fobj.close()
        else:
            top.flush()
            while top is not self._raw:
                top = top.detach()


class FileObjectBlock(FileObjectBase):
    """A file that blocks the thread; for tests, and comparison."""

    def __init__(self, fobj: Any, *args: Any, **kwargs: Any) -> None:
        descriptor = OpenDescriptor(fobj, *args, **kwargs)
        self._original = _Original(descriptor)
        super().__init__(descriptor)

    def _do_close(self, fobj: Any, closefd: bool) -> None:
        self._original.close(fobj, closefd)


class FileObjectThread(FileObjectBase):
    """A file whose operations run in the hub's thread pool.

    :param lock: True, to have one operation at a time; or a lock of one's own
        for that; False for none. It is held until the operation has ended,
        even if who asked for it does not wait for that.
    :param threadpool: instead of the hub's.

    Other arguments as for :class:`OpenDescriptor`.
    """

    #: These do not block.
    _in_this_thread = frozenset(("fileno", "readable", "writable"))

    def __init__(
        self,
        *args: Any,
        lock: Any = True,
        threadpool: Any = None,
        **kwargs: Any,
    ) -> None:
        if not lock:
            lock = DummySemaphore()
        elif lock is True:
            lock = Semaphore()
        elif not hasattr(lock, "__enter__"):
            raise TypeError(f"Expected a Semaphore or boolean, got {lock!r}")
        if threadpool is None:
            threadpool = get_hub().threadpool
        self.lock = lock
        self.threadpool = threadpool
        descriptor = OpenDescriptor(*args, **kwargs)
        self._original = _Original(descriptor)
        super().__init__(descriptor)

    def _run(self, method: Any, *args: Any, **kwargs: Any) -> Any:
        lock, pool = self.lock, self.threadpool
        if pool._apply_immediately():
            with lock:
                return method(*args, **kwargs)
        lock.acquire()
        try:
            result = pool.spawn(method, *args, **kwargs)
        except BaseException:
            lock.release()
            raise
        result.rawlink(lambda _result: lock.release())
        return result.get()

    def _wrap_method(self, method: Any) -> Any:
        if method.__name__ in self._in_this_thread:
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._run(method, *args, **kwargs)

        call.__name__ = method.__name__
        call.__doc__ = method.__doc__
        return call

    def _do_close(self, fobj: Any, closefd: bool) -> None:
        self._run(self._original.close, fobj, closefd)

    def _extra_repr(self) -> str:
        return f" threadpool={self.threadpool!r}"
