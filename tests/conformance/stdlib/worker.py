"""Runs a module of CPython's own tests, patched or not.

    worker.py plain|coir|gevent|coir.eventlet|eventlet MODULE

Patched as a program would do it, first thing; so a process that
multiprocessing starts with this file as its main module is patched too.
"""

import sys

if sys.argv[1] == "coir":
    import coir.gevent.monkey

    coir.gevent.monkey.patch_all()
elif sys.argv[1] == "gevent":
    import gevent.monkey

    gevent.monkey.patch_all()
elif sys.argv[1] == "coir.eventlet":
    import coir.eventlet

    coir.eventlet.monkey_patch()
elif sys.argv[1] == "eventlet":
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import eventlet
    eventlet.monkey_patch()


#: Modules that want the network, and can do with the loopback.
LOCAL = ("test.test_socketserver", "test.test_timeout")


def stay_here(module):
    """Have test_timeout take a server of ours for one far away.

    :returns: the server, which is silent.
    """
    import socket

    server = socket.create_server(("127.0.0.1", 0))
    module.resolve_address = lambda host, port: server.getsockname()
    return server


def main():
    import importlib
    import unittest

    from test import support

    # Without a list all are on, the network for one.
    support.use_resources = ["cpu", "subprocess", "walltime"]
    name = sys.argv[2]
    if name in LOCAL:
        support.use_resources.append("network")
    try:
        module = importlib.import_module(name)
        if name == "test.test_timeout":
            server = stay_here(module)  # noqa: F841
        suite = unittest.defaultTestLoader.loadTestsFromName(name)
    except unittest.SkipTest as exc:
        reason = str(exc)

        class Import(unittest.TestCase):
            def runTest(self):
                self.skipTest(reason)

            def id(self):
                return f"{name}.import"

        suite = Import()
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    sys.exit(not result.wasSuccessful())


if __name__ == "__main__":
    main()
