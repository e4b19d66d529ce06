"""Not there: eventlet gave up its hub on libevent."""

raise ImportError(
    "there is no pyevent hub; use eventlet.hubs.epolls, or none at all"
)
