"""What all tests share: eventlet's rules hold where eventlet is tested.

A thread that has used coir.eventlet waits for ever where one of gevent's gets
LoopExit, and all of its greenlets go on in the child of a fork. All tests run
in one thread; those of other modules are to meet a hub as if it were new.
"""

import sys

import pytest

#: The eventlet hub of this thread, while others have it.
_put_away = None


def _hub():
    from coir.gevent import hub

    return hub, hub.get_hub()


def _put_eventlet_away():
    global _put_away
    module, hub = _hub()
    _put_away = hub._eventlet or _put_away
    hub._eventlet = None
    hub._uses_eventlet = False
    module._all_survive_forks = False


def _bring_eventlet_back():
    if _put_away is not None:
        module, hub = _hub()
        _put_away._use(hub)
        module._all_survive_forks = True


@pytest.fixture(autouse=True, scope="module")
def eventlet_where_it_is_tested(request):
    if "eventlet" in request.module.__name__:
        _bring_eventlet_back()
        yield
        _put_eventlet_away()
        return
    if "coir.eventlet" in sys.modules:
        _put_eventlet_away()  # used while tests were collected
    yield
