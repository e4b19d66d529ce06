"""Two green threads, two locks, each waits for the other's.

When nothing can ever happen again, who waits for the end gets a LoopExit, and
it tells who waits for what. Run it with
``coir run --as gevent gevent_deadlock.py``.
"""

import gevent
from gevent.exceptions import LoopExit
from gevent.lock import Semaphore

account = Semaphore()
journal = Semaphore()


def transfer():
    with account:
        gevent.sleep(0)
        with journal:
            print("transferred")


def report():
    with journal:
        gevent.sleep(0)
        with account:
            print("reported")


def main():
    both = [gevent.spawn(transfer), gevent.spawn(report)]
    try:
        gevent.joinall(both)
    except LoopExit as stuck:
        print(stuck)


if __name__ == "__main__":
    main()
