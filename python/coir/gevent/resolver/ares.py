"""What ``GEVENT_RESOLVER=ares`` gives: the look-ups of libc, by threads.

gevent's own resolver of that name is on c-ares, which works in the loop
without threads. What it is used for, many look-ups at once that block nobody,
the pool of threads does as well, and without c-ares' deviations from the
system's results. So a program that chooses it goes on; what is c-ares' alone,
other servers for one, is refused.
"""

from __future__ import annotations

from typing import Any

from .thread import Resolver as ThreadResolver

__all__ = ["Resolver"]


class Resolver(ThreadResolver):
    """As :class:`gevent.resolver.thread.Resolver`.

    :param use_environ: ignored; the settings ``GEVENTARES_*`` are not used.
    :raises NotImplementedError: for settings of c-ares.
    """

    def __init__(
        self, hub: Any = None, use_environ: bool = True, **kwargs: Any
    ) -> None:
        if kwargs:
            raise NotImplementedError(
                "coir.gevent looks names up by threads, not by c-ares, and "
                f"has no settings of that: {', '.join(sorted(kwargs))}"
            )
        super().__init__(hub)
