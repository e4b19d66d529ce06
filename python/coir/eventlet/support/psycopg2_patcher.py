"""Have psycopg2 wait in the hub."""

from __future__ import annotations

from typing import Any

import psycopg2
from psycopg2 import extensions

from .. import hubs


def make_psycopg_green() -> None:
    """Have all connections of psycopg2 wait in the hub."""
    if not hasattr(extensions, "set_wait_callback"):
        raise ImportError(
            f"psycopg2 {psycopg2.__version__} cannot wait by a callback"
        )
    extensions.set_wait_callback(eventlet_wait_callback)


def eventlet_wait_callback(conn: Any, timeout: float = -1) -> None:
    """Wait until what a connection does is done."""
    while True:
        state = conn.poll()
        if state == extensions.POLL_OK:
            return
        if state == extensions.POLL_READ:
            hubs.trampoline(conn.fileno(), read=True)
        elif state == extensions.POLL_WRITE:
            hubs.trampoline(conn.fileno(), write=True)
        else:
            raise psycopg2.OperationalError(f"Bad result from poll: {state!r}")
