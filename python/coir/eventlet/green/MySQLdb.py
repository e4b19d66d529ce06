"""mysqlclient's :mod:`MySQLdb`, whose connections use native threads.

Not replaced by `monkey_patch` unless it is asked for.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import MySQLdb as __MySQLdb
import MySQLdb.connections as __connections
import MySQLdb.converters as converters  # noqa: F401
import MySQLdb.cursors as cursors  # noqa: F401

from .. import tpool
from ..patcher import slurp_properties

__all__ = __MySQLdb.__all__
__patched__ = ["connect", "Connect", "Connection", "connections"]

slurp_properties(
    __MySQLdb, globals(), ignore=__patched__, srckeys=dir(__MySQLdb)
)

__Connection = __connections.Connection


def Connection(*args: Any, **kw: Any) -> Any:
    """A connection, of which each method is called in a native thread."""
    connection = tpool.execute(__Connection, *args, **kw)
    return tpool.Proxy(connection, autowrap_names=("cursor",))


connect = Connect = Connection

#: What `MySQLdb.connections` has, with that for its class.
connections = SimpleNamespace(
    **{
        name: value
        for name, value in vars(__connections).items()
        if not name.startswith("__")
    }
)
connections.Connection = Connection
