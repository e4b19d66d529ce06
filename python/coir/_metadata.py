"""Metadata of the distributions that Coir stands in for.

Apart from ``_alias``, because ``importlib.metadata`` takes long to import and
is loaded already whenever this is needed.
"""

from __future__ import annotations

import os
import pathlib
from importlib.metadata import Distribution

#: Version of the API that the package of that name implements.
API_VERSIONS = {
    "eventlet": "0.41.3",
    "gevent": "26.9.0",
    "greenlet": "3.5.6",
}

_METADATA = """\
Metadata-Version: 2.1
Name: {name}
Version: {version}
Summary: The API of {name} {version}, provided by Coir
"""


class AliasDistribution(Distribution):
    """What ``importlib.metadata.distribution(name)`` gives under an alias."""

    def __init__(self, name: str, directory: str) -> None:
        self._alias = name
        self._directory = directory

    def read_text(self, filename: str | os.PathLike[str]) -> str | None:
        match os.fspath(filename):
            case "METADATA":
                return _METADATA.format(
                    name=self._alias, version=API_VERSIONS[self._alias]
                )
            case "top_level.txt":
                return f"{self._alias}\n"
            case "INSTALLER":
                return "coir\n"
        return None

    def locate_file(self, path: str | os.PathLike[str]) -> pathlib.Path:
        return pathlib.Path(self._directory, path)
