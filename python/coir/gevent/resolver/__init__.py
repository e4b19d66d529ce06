"""Who looks up the names of hosts.

The setting ``resolver`` (``GEVENT_RESOLVER``) chooses: ``thread``, the
default, ``block``, ``dnspython``, ``ares``, or the name of a class.
"""

__all__: list[str] = []
