"""Files on descriptors that do not block: pipes, sockets, terminals.

:class:`GreenFileDescriptorIO` is the raw file: it tries the system call, and
waits in the hub if that would block. Regular files never do; see
:class:`~._fileobjectcommon.FileObjectThread` for those on slow disks.
"""

from __future__ import annotations

import os
from io import RawIOBase, UnsupportedOperation
from typing import Any

from ._fileobjectcommon import (
    FileIO,
    FileObjectBase,
    FileObjectClosed,
    OpenDescriptor,
    WriteIsWriteallMixin,
    cancel_wait_ex,
)
from .hub import get_hub

_READ = 1
_WRITE = 2

#: At a time, of what is read to the end.
_CHUNK = 65536


class GreenFileDescriptorIO(RawIOBase):
    """A raw file on the descriptor `fileno`, which is made non-blocking.

    Greenlets of several threads may use it at a time. Closing it ends their
    waits by an error.
    """

    def __init__(
        self,
        fileno: int,
        open_descriptor: OpenDescriptor,
        closefd: bool = True,
    ) -> None:
        super().__init__()
        self._fileno = fileno
        self._closefd = closefd
        self._closed = True  # so far there is nothing to close
        self._seekable: bool | None = None
        self._readable = open_descriptor.reads
        self._writable = open_descriptor.writes
        self._keep_alive: Any = None  # whose descriptor it is
        self._waits: list[tuple[Any, Any]] = []  # hubs and watchers
        self.mode = open_descriptor.fileio_mode
        if open_descriptor.binary:
            self.mode = open_descriptor.mode
        os.set_blocking(fileno, False)
        self._closed = False

    def isatty(self) -> bool:
        return os.isatty(self.fileno())

    def readable(self) -> bool:
        self._check_open()
        return self._readable

    def writable(self) -> bool:
        self._check_open()
        return self._writable

    def seekable(self) -> bool:
        if self._seekable is None:
            try:
                os.lseek(self.fileno(), 0, os.SEEK_CUR)
            except OSError:
                self._seekable = False
            else:
                self._seekable = True
        return self._seekable

    def fileno(self) -> int:
        self._check_open()
        return self._fileno

    @property
    def closed(self) -> bool:
        """True if it was closed."""
        return bool(self.__dict__.get("_closed", True))

    def _check_open(self) -> None:
        if self._closed:
            raise FileObjectClosed

    # --- closing

    def close(self) -> None:
        """Close it; who waits for it gets an error."""
        if self.closed:
            return
        self.flush()
        self._closed = True
        waits = list(self._waits)
        finish, self._keep_alive = self._closer(), None
        if not waits:
            finish()
            return
        # Those who wait must have left the descriptor before it is closed.
        for hub, watcher in waits[:-1]:
            hub.cancel_wait(watcher, cancel_wait_ex(), True)
        hub, watcher = waits[-1]
        hub.cancel_waits_close_and_then([watcher], cancel_wait_ex(), finish)

    def _closer(self) -> Any:
        fileno, closefd, keep_alive = (
            self._fileno,
            self._closefd,
            self._keep_alive,
        )

        def finish() -> None:
            if not closefd:
                return
            if keep_alive is not None:
                keep_alive.close()
            else:
                os.close(fileno)

        return finish

    # --- reading and writing

    def _wait(self, events: int) -> None:
        hub = get_hub()
        watcher = hub.loop.io(self._fileno, events)
        wait = (hub, watcher)
        self._waits.append(wait)
        try:
            hub.wait(watcher)
        finally:
            self._waits.remove(wait)
            watcher.close()
        self._check_open()

    def readinto(self, b: Any) -> int:
        """Read what there is, at least one byte; 0 at the end."""
        self._check_open()
        if not self._readable:
            raise UnsupportedOperation("readinto")
        while True:
            try:
                return os.readv(self._fileno, [b])
            except BlockingIOError:
                self._wait(_READ)

    def readall(self) -> bytes:
        """Read up to the end."""
        self._check_open()
        if not self._readable:
            raise UnsupportedOperation("readall")
        chunks: list[bytes] = []
        while True:
            try:
                chunk = os.read(self._fileno, _CHUNK)
            except BlockingIOError:
                self._wait(_READ)
                continue
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)

    def write(self, b: Any) -> int:
        """Write what can be written, at least one byte; returns how much."""
        self._check_open()
        if not self._writable:
            raise UnsupportedOperation("write")
        while True:
            try:
                return os.write(self._fileno, b)
            except BlockingIOError:
                self._wait(_WRITE)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._check_open()
        return os.lseek(self._fileno, offset, whence)

    def truncate(self, size: int | None = None) -> int:
        if not self.writable():
            raise UnsupportedOperation("truncate")
        if size is None:
            size = self.tell()
        os.ftruncate(self._fileno, size)
        return size

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"fileno={self._fileno}"
        return f"<{type(self).__name__} at {id(self):#x} {state}>"


class GreenFileDescriptorIOWriteall(
    WriteIsWriteallMixin, GreenFileDescriptorIO
):
    """One whose `write` writes all."""


class GreenOpenDescriptor(OpenDescriptor):
    """Opens raw files that do not block."""

    def _do_open_raw(self) -> GreenFileDescriptorIO:
        owner: Any = None
        closefd = self.closefd
        if self.is_fd():
            fileno = self.fobj
            name = fileno
        else:
            owner = self.fobj
            if self.is_path():
                owner = FileIO(self.fobj, self.fileio_mode)
                closefd = True
            elif self.writes and hasattr(owner, "flush"):
                owner.flush()
            fileno = owner.fileno()
            name = getattr(owner, "name", None)
        kind = (
            GreenFileDescriptorIOWriteall
            if self._is_atomic()
            else GreenFileDescriptorIO
        )
        raw = kind(fileno, self, closefd)
        raw._keep_alive = owner
        if name is not None:
            raw.name = name  # type: ignore[attr-defined]
        return raw


class FileObjectPosix(FileObjectBase):
    """A file on a descriptor that does not block: a pipe, say.

    Arguments are those of :class:`OpenDescriptor`. The descriptor is made
    non-blocking, and stays so. Its raw file is the attribute ``fileio``.
    """

    default_bufsize = OpenDescriptor.default_buffer_size

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        descriptor = GreenOpenDescriptor(*args, **kwargs)
        self.fileio: Any = None
        super().__init__(descriptor)
        self.fileio = descriptor.opened_raw()

    def _do_close(self, fobj: Any, closefd: bool) -> None:
        try:
            fobj.close()
        finally:
            self.fileio = None
