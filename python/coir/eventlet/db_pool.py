"""Pools of database connections, of any module of DB-API 2.

`ConnectionPool` talks to the database in native threads, by `tpool`;
`RawConnectionPool` is for modules that let green threads run by themselves.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from . import hubs, timeout
from .greenthread import GreenThread
from .hubs.timer import Timer
from .pools import Pool

__all__ = [
    "BaseConnectionPool",
    "ConnectTimeout",
    "ConnectionPool",
    "DatabaseConnector",
    "GenericConnectionWrapper",
    "PooledConnectionWrapper",
    "RawConnectionPool",
    "TpooledConnectionPool",
    "cleanup_rollback",
]

_MISSING: Any = object()


class ConnectTimeout(Exception):
    """The database did not answer in time."""


def cleanup_rollback(conn: Any) -> None:
    """Undo what was not committed: done when a connection comes back."""
    conn.rollback()


class BaseConnectionPool(Pool):
    """A pool of connections that ``db_module.connect(*args, **kwargs)`` makes.

    :param max_idle: seconds that one may lie idle before it is closed.
    :param max_age: seconds that one is used for; 0: none is used twice.
    :param connect_timeout: seconds that connecting may take, then
        `ConnectTimeout` is raised.
    :param cleanup: called with each connection that comes back; None: nothing.
    """

    def __init__(
        self,
        db_module: Any,
        min_size: int = 0,
        max_size: int = 4,
        max_idle: float = 10,
        max_age: float = 30,
        connect_timeout: float = 5,
        cleanup: Callable[[Any], Any] | None = cleanup_rollback,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if not db_module:
            raise AssertionError("a module is needed")
        self._db_module = db_module
        self._args = args
        self._kwargs = kwargs
        self.max_idle = max_idle
        self.max_age = max_age
        self.connect_timeout = connect_timeout
        self.cleanup = cleanup
        self._expiration_timer: Any = None
        super().__init__(
            min_size=min_size, max_size=max_size, order_as_stack=True
        )

    # --- closing what is too old

    def _is_expired(
        self, now: float, last_used: float, created_at: float
    ) -> bool:
        return (
            self.max_idle <= 0
            or self.max_age <= 0
            or now - last_used > self.max_idle
            or now - created_at > self.max_age
        )

    def _expire_old_connections(self, now: float) -> None:
        """Close those that were idle, or alive, for too long."""
        good: list[Any] = []
        old: list[Any] = []
        for item in self.free_items:
            expired = self._is_expired(now, item[0], item[1])
            (old if expired else good).append(item)
        self.free_items.clear()
        self.free_items.extend(good)
        self.current_size -= len(old)
        for item in old:
            self._safe_close(item[2], quiet=True)

    def _schedule_expiration(self) -> None:
        """Close old ones now, and see to it that this goes on, when the next
        one will be too old."""
        if self.max_age == 0 or self.max_idle == 0:
            return  # none is kept
        timer = self._expiration_timer
        if timer is not None and not timer.called:
            return
        self._expiration_timer = None
        now = time.time()
        self._expire_old_connections(now)
        if not self.free_items:
            return
        delay = min(
            min(item[0] + self.max_idle - now, item[1] + self.max_age - now)
            for item in self.free_items
        )
        if delay > 0:
            thread = GreenThread(hubs.get_hub().greenlet)
            self._expiration_timer = Timer(
                delay, thread.switch, self._schedule_expiration, [], {}
            )
            self._expiration_timer.schedule()

    def _safe_close(self, conn: Any, quiet: bool = False) -> None:
        try:
            conn.close()
        except AttributeError:
            pass  # there is none
        except Exception as exc:
            if not quiet:
                print(f"Connection.close raised: {exc}")

    # --- lending

    def _unwrap_connection(self, conn: Any) -> Any:
        """What a wrapper has, which it loses; None if it has nothing."""
        try:
            if not conn:
                return None
            base = conn._base
            conn._destroy()
            return base
        except AttributeError:
            return None

    def get(self) -> Any:
        """Borrow a connection; its ``close()`` gives it back."""
        conn = super().get()
        if conn is None:  # put() had a place to give, but no connection
            try:
                conn = self.create()
            except Exception:
                self.current_size -= 1
                raise
        created_at = time.time()
        if isinstance(conn, tuple):
            _, created_at, conn = conn
        wrapped: Any = PooledConnectionWrapper(conn, self)
        wrapped._db_pool_created_at = created_at
        return wrapped

    def _clean(self, conn: Any, cleanup: Any) -> Any:
        """Make it good for others: itself, or None if it isn't."""
        if cleanup is _MISSING:
            cleanup = self.cleanup
        if cleanup is None or not conn:
            return conn
        try:
            cleanup(conn)
        except Exception as exc:
            print(f"WARNING: cleanup {cleanup} raised: {exc}")
            return None
        return conn

    def put(self, conn: Any, cleanup: Any = _MISSING) -> None:
        """Give a connection back.

        :param cleanup: called with it; None: nothing; by default the pool's.
        """
        created_at = getattr(conn, "_db_pool_created_at", 0)
        now = time.time()
        base = self._unwrap_connection(conn)
        failed = True
        try:
            if self._is_expired(now, now, created_at):
                self._safe_close(base)
                base = None
            else:
                base = self._clean(base, cleanup)
            failed = False
        finally:
            if failed:
                base = None
            self._put_base(base, now, created_at)

    def _put_base(self, base: Any, now: float, created_at: float) -> None:
        if base is not None:
            super().put((now, created_at, base))
        elif self.waiting() > 0:
            super().put(None)  # who waits makes another
        else:
            self.current_size -= 1
        self._schedule_expiration()

    @contextmanager
    def item(self, cleanup: Any = _MISSING) -> Iterator[Any]:
        """Borrow a connection for a ``with`` block."""
        conn = self.get()
        try:
            yield conn
        finally:
            self.put(conn, cleanup=cleanup)

    def clear(self) -> None:
        """Close all connections that nobody has borrowed."""
        if self._expiration_timer:
            self._expiration_timer.cancel()
        items, self.free_items = self.free_items, deque()
        for item in items:
            conn = item[2] if isinstance(item, tuple) else item
            self._safe_close(conn, quiet=True)
            self.current_size -= 1

    def __del__(self) -> None:
        if not sys.is_finalizing() and hasattr(self, "free_items"):
            self.clear()

    # --- making

    def create(self) -> Any:
        """(last used, made, connection) of a new one."""
        now = time.time()
        return (
            now,
            now,
            self.connect(
                self._db_module,
                self.connect_timeout,
                *self._args,
                **self._kwargs,
            ),
        )

    @classmethod
    def connect(
        cls, db_module: Any, connect_timeout: float, *args: Any, **kw: Any
    ) -> Any:
        """A new connection, in `connect_timeout` seconds."""
        raise NotImplementedError


class TpooledConnectionPool(BaseConnectionPool):
    """A pool of connections that are used in native threads."""

    @classmethod
    def connect(
        cls, db_module: Any, connect_timeout: float, *args: Any, **kw: Any
    ) -> Any:
        from . import tpool

        with timeout.Timeout(connect_timeout, ConnectTimeout()):
            conn = tpool.execute(db_module.connect, *args, **kw)
        return tpool.Proxy(conn, autowrap_names=("cursor",))


class RawConnectionPool(BaseConnectionPool):
    """A pool of connections as they are."""

    @classmethod
    def connect(
        cls, db_module: Any, connect_timeout: float, *args: Any, **kw: Any
    ) -> Any:
        with timeout.Timeout(connect_timeout, ConnectTimeout()):
            return db_module.connect(*args, **kw)


ConnectionPool = TpooledConnectionPool


class GenericConnectionWrapper:
    """Has the methods of a connection, and calls those of another."""

    def __init__(self, baseconn: Any) -> None:
        self._base = baseconn

    def __enter__(self) -> Any:
        return self._base.__enter__()

    def __exit__(self, exc: Any, value: Any, tb: Any) -> Any:
        return self._base.__exit__(exc, value, tb)

    def __repr__(self) -> str:
        return repr(self._base)


_METHODS = """\
affected_rows autocommit begin change_user character_set_name close commit
cursor dump_debug_info errno error errorhandler get_server_info insert_id
literal ping query rollback select_db server_capabilities set_character_set
set_isolation_level set_server_option set_sql_mode show_warnings shutdown
sqlstate stat store_result string_literal thread_id use_result warning_count
""".split()


def _forward(name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._base, name)(*args, **kwargs)

    method.__name__ = name
    method.__qualname__ = f"GenericConnectionWrapper.{name}"
    return method


for _name in _METHODS:
    setattr(GenericConnectionWrapper, _name, _forward(_name))


class PooledConnectionWrapper(GenericConnectionWrapper):
    """A borrowed connection: false once it was given back, by ``close()``."""

    def __init__(self, baseconn: Any, pool: Any) -> None:
        super().__init__(baseconn)
        self._pool = pool

    def __bool__(self) -> bool:
        return bool(getattr(self, "_base", None))

    __nonzero__ = __bool__

    def _destroy(self) -> None:
        self._pool = None
        self.__dict__.pop("_base", None)

    def close(self) -> None:
        """Give it back."""
        if self and self._pool:
            self._pool.put(self)
        self._destroy()


class DatabaseConnector:
    """Makes a pool for each host and database that is asked for.

    :param credentials: arguments for connecting by host; ``default`` for
        those that are not in it.
    """

    def __init__(
        self,
        module: Any,
        credentials: dict[str, Any],
        conn_pool: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if not module:
            raise AssertionError("a module is needed")
        self._conn_pool_class = conn_pool or ConnectionPool
        self._module = module
        self._args = args
        self._kwargs = kwargs
        self._credentials = credentials
        self._databases: dict[tuple[str, str], Any] = {}

    def credentials_for(self, host: str) -> Any:
        """The arguments for connecting to it; None if there are none."""
        return self._credentials.get(host, self._credentials.get("default"))

    def get(self, host: str, dbname: str) -> Any:
        """The pool of a database on a host."""
        pool = self._databases.get((host, dbname))
        if pool is None:
            kwargs = {**self._kwargs, "db": dbname, "host": host}
            kwargs.update(self.credentials_for(host))
            pool = self._conn_pool_class(self._module, *self._args, **kwargs)
            self._databases[host, dbname] = pool
        return pool
