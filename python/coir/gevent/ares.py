"""Another name of :mod:`gevent.resolver.cares`."""

from .resolver.cares import (
    InvalidIP as InvalidIP,
)
from .resolver.cares import (
    Result as Result,
)
from .resolver.cares import (
    ares_host_result as ares_host_result,
)
from .resolver.cares import (
    channel,
)

__all__ = ["channel"]
