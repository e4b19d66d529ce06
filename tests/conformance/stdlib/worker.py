"""Runs a module of CPython's own tests, patched or not.

    worker.py plain|coir|gevent MODULE

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


def main():
    import unittest

    from test import support

    # Without a list all are on, the network for one.
    support.use_resources = ["cpu", "subprocess", "walltime"]
    name = sys.argv[2]
    try:
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
