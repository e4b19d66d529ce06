"""The standard library's :mod:`subprocess`, green.

`Popen` is Coir's, see ``coir.gevent.subprocess``: children are started by the
interpreter's own code, and waited for by a descriptor of the process.
"""

from __future__ import annotations

import os as _os
from typing import Any

from coir.gevent import subprocess as _engine

from ..greenio import GreenPipe
from ..patcher import original, slurp_properties

subprocess_orig = original("subprocess")
_imported = __import__("subprocess")

slurp_properties(_imported, globals(), srckeys=dir(_imported))
mswindows = False

__all__ = _engine.__all__
__patched__ = [
    "Popen",
    "call",
    "check_call",
    "check_output",
    "getoutput",
    "getstatusoutput",
    "run",
]

CalledProcessError = _imported.CalledProcessError
TimeoutExpired = _imported.TimeoutExpired


#: Arguments that make the pipes text.
_TEXT = ("text", "universal_newlines", "encoding", "errors")


class Popen(_engine.Popen):
    """A child process; see :class:`subprocess.Popen`.

    Its pipes block the current green thread only.
    """

    def __init__(
        self, args: Any, bufsize: int = 0, *others: Any, **kwds: Any
    ) -> None:
        if bufsize == 0 and any(map(kwds.get, _TEXT)):
            bufsize = -1  # text needs a buffer
        super().__init__(args, bufsize, *others, **kwds)

    __repr__ = subprocess_orig.Popen.__repr__

    def _make_pipe(self, fd: int, mode: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return GreenPipe(fd, mode, *args, **kwargs)
        except BaseException:
            try:
                _os.close(fd)
            except OSError:
                pass  # it was a file already
            raise

    def wait(
        self, timeout: float | None = None, check_interval: float = 0.01
    ) -> Any:
        """Wait for it to end; returns its code.

        :param timeout: seconds.
        :param check_interval: without effect.
        :raises TimeoutExpired: if that time is over.
        """
        return super().wait(timeout)


_functions = _engine.functions_with(Popen)
for _name in __patched__[1:]:
    globals()[_name] = _functions[_name]
