"""Files that let other greenlets run, ``gevent.fileobject``.

``FileObject`` is one of three classes that take the arguments of
:func:`open`, and a descriptor, a path, or a file with ``fileno()``:

- :class:`FileObjectPosix`, the default, for what can be waited for: pipes,
  sockets, terminals. Works with regular files as ``open()`` does;
- :class:`FileObjectThread`, which runs each operation in a thread pool;
- :class:`FileObjectBlock`, which blocks.

``GEVENT_FILE`` or ``config.fileobject`` chooses: ``posix``, ``thread``,
``block``, or the full name of another class. It is looked at when this module
is imported.
"""

from __future__ import annotations

from ._config import config
from ._fileobjectcommon import FileObjectBlock, FileObjectThread
from ._fileobjectposix import FileObjectPosix

__all__ = [
    "FileObjectPosix",
    "FileObjectThread",
    "FileObjectBlock",
    "FileObject",
]

FileObject = config.fileobject
