"""Files on descriptors that do not block: pipes, terminals.

The raw file is that of ``coir.gevent.fileobject``; the layers above are the
interpreter's own.
"""

from __future__ import annotations

import io
import os
from types import SimpleNamespace
from typing import Any, NoReturn

from coir.gevent._fileobjectcommon import OpenDescriptor
from coir.gevent._fileobjectposix import GreenFileDescriptorIOWriteall

from .. import hubs
from ..hubs import (  # noqa: F401
    IOClosed,
    notify_close,
    notify_opened,
    trampoline,
)
from ..support import get_errno  # noqa: F401
from .base import (  # noqa: F401
    SOCKET_BLOCKING,
    _original_socket,
    set_nonblocking,
)

__all__ = ["_fileobject", "GreenPipe"]

#: What `makefile` of a socket is made of.
_fileobject = __import__("socket").SocketIO
_socket_class = _original_socket


def _operation_on_closed_file(*args: Any, **kwargs: Any) -> NoReturn:
    raise ValueError("I/O operation on closed file")


class GreenFileIO(GreenFileDescriptorIOWriteall):
    """A raw file, of a path or of a descriptor, which then does not block.

    Writing writes all it is given.
    """

    def __init__(
        self,
        name: Any,
        mode: str = "r",
        closefd: bool = True,
        opener: Any = None,
    ) -> None:
        raw_mode = mode.replace("b", "").replace("t", "")
        if isinstance(name, int):
            fileno = name
            name = f"<fd:{fileno}>"
        else:
            with io.FileIO(name, raw_mode, opener=opener) as file:
                fileno = os.dup(file.fileno())
                os.set_inheritable(fileno, False)
            closefd = True
        hubs.notify_opened(fileno)
        how: Any = SimpleNamespace(
            reads="r" in mode or "+" in mode,
            writes=bool(set("wax+") & set(mode)),
            fileio_mode=raw_mode,
            binary=True,
            mode=mode,
        )
        super().__init__(fileno, how, closefd)
        self.name = name

    def _check_open(self) -> None:
        if self._closed:
            _operation_on_closed_file()

    def read(self, size: int | None = -1) -> Any:
        """Read what there is, at least a byte; without a size, all."""
        if size is None or size < 0:
            return self.readall()
        return super().read(size)

    def truncate(self, size: int | None = None) -> int:
        """Cut the file, and go there."""
        if size == -1:
            size = None
        size = super().truncate(size)
        self.seek(size)
        return size

    def close(self) -> None:
        """Close it; who waits for it gets an error."""
        if self.closed:
            return
        fileno = self._fileno
        super().close()
        hubs.notify_close(fileno)


class _Descriptor(OpenDescriptor):
    opener: Any = None

    def _do_open_raw(self) -> GreenFileIO:
        return GreenFileIO(self.fobj, self.mode, self.closefd, self.opener)


def GreenPipe(
    name: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Any = None,
) -> Any:
    """Open a file that blocks the current green thread only: a pipe, say.

    :param name: a path, a descriptor, or a file, which is closed: what is
        opened has a duplicate of its descriptor.

    The others are as for :func:`open`. Regular files are read and written as
    usual: they never block for long, as far as the system can tell.
    """
    if hasattr(name, "fileno"):
        fileno = os.dup(name.fileno())
        name.close()
        name = fileno
    if buffering == 0 and "b" not in mode:
        raise ValueError("can't have unbuffered text I/O")
    descriptor = _Descriptor(
        name,
        mode,
        buffering=buffering,
        encoding=encoding,
        errors=errors,
        newline=newline,
        closefd=closefd,
    )
    descriptor.opener = opener
    return descriptor.opened()
