"""Names and addresses in the file of hosts."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from ._numeric import is_numeric


class HostsFile:
    """What /etc/hosts says; it is read by :meth:`load`.

    - ``v4``, ``v6``: the address of a name;
    - ``aliases``: the first name in the line of another one;
    - ``reverse``: the first name of an address.

    :param fname: another file.
    """

    def __init__(self, fname: str | None = None) -> None:
        if fname is None:
            fname = "/etc/hosts"
            if sys.platform == "win32":
                root = os.environ.get("SystemRoot", "C:\\Windows")
                fname = root + "\\system32\\drivers\\etc\\hosts"
        self.fname = fname
        self.v4: dict[str, str] = {}
        self.v6: dict[str, str] = {}
        self.aliases: dict[str, str] = {}
        self.reverse: dict[str, str] = {}
        self._seen: tuple[float, int] | None = None

    def _lines(self) -> Iterator[list[str]]:
        with open(self.fname, encoding="utf-8", errors="replace") as file:
            for line in file:
                words = line.partition("#")[0].split()
                if len(words) > 1 and is_numeric(words[0]):
                    yield words

    def load(self) -> None:
        """Read the file, if there is one; what was read before goes."""
        for known in (self.v4, self.v6, self.aliases, self.reverse):
            known.clear()
        try:
            for address, first, *others in self._lines():
                known = self.v6 if ":" in address else self.v4
                first = first.lower()
                self.reverse.setdefault(address, first)
                known.setdefault(first, address)
                for other in map(str.lower, others):
                    known.setdefault(other, address)
                    self.aliases.setdefault(other, first)
        except OSError:
            pass  # there is none for us

    def reload(self) -> None:
        """Read the file if it has changed: a system call if it has not."""
        try:
            stat = os.stat(self.fname)
            now = (stat.st_mtime, stat.st_size)
        except OSError:
            now = None
        if now != self._seen or now is None:
            self.load()
            self._seen = now

    def iter_all_host_addr_pairs(self) -> Iterator[tuple[str, str]]:
        """(name, address) of all names, as the file is now."""
        self.load()
        for known in (self.v4, self.v6):
            yield from known.items()
