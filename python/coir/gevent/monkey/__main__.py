"""``python -m coir.gevent.monkey``: see :func:`coir.gevent.monkey.main`."""

from ._main import main

if __name__ == "__main__":
    main()
