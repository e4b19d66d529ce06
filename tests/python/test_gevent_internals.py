"""What gevent's modules define without exporting it, and programs may use."""

import os
import select as native
import sys
import threading

import pytest

gevent = pytest.importorskip("coir.gevent")

from coir.gevent import (  # noqa: E402
    event,  # noqa: F401
    greenlet,
    lock,
    queue,
    select,
    threadpool,
)
from coir.gevent.resolver import _addresses  # noqa: E402


def test_functions_of_greenlets_and_frames():
    g = gevent.spawn(gevent.sleep)
    assert greenlet.get_my_hub(g) is gevent.get_hub()
    assert greenlet.get_generic_parent(g) is g.parent
    g.join()
    frame = sys._getframe()
    assert greenlet.Gevent_PyFrame_GetBack(frame) is frame.f_back
    assert greenlet.Gevent_PyFrame_GetCode(frame) is frame.f_code
    assert greenlet.Gevent_PyFrame_GetLineNumber(frame) == frame.f_lineno


def test_atomic_methods():
    class Counter:
        def __init__(self):
            self._atomic = threading.Lock()

        @lock.atomic
        def add(self, number):
            """Documented."""
            assert self._atomic.locked()
            return number + 1

    counter = Counter()
    assert counter.add(1) == 2
    assert not counter._atomic.locked()
    assert Counter.add.__doc__ == "Documented."


def test_item_waiter():
    some = queue.Queue()
    waiter = queue.ItemWaiter("item", some)
    assert (waiter.item, waiter.queue) == ("item", some)
    g = gevent.spawn(waiter.get)
    gevent.sleep(0)
    waiter.put_and_switch()
    assert g.get() is waiter
    assert waiter.item is None and waiter.queue is None
    assert some.get_nowait() == "item"


def test_select_result():
    r, w = os.pipe()
    try:
        found = select.SelectResult().select([r], [w], 10)
        assert [list(files) for files in found] == [[], [w], []]
        os.write(w, b"x")
        found = select.SelectResult().select([r], [], None)
        assert [list(files) for files in found] == [[r], [], []]
    finally:
        os.close(r)
        os.close(w)


def test_poll_result():
    result = select.PollResult()
    result.add_error_before_io(3)
    assert not result.event.is_set()
    result.add_event(1, 4)
    assert result.event.is_set()
    result.add_event(3, 5)
    result.add_event(-1, 6)
    assert result.events == {
        (3, native.POLLNVAL),
        (4, native.POLLIN),
        (5, native.POLLIN | native.POLLOUT),
        (6, native.POLLNVAL),
    }


def test_thread_result_that_is_not_to_tell():
    seen = []
    result = threadpool.ThreadResult(seen.append, gevent.get_hub(), seen.clear)
    result.destroy_in_main_thread()
    assert result.hub is None
    assert seen == []


@pytest.mark.parametrize(
    ("host", "is_4", "is_6"),
    [
        ("127.0.0.1", True, False),
        (b"127.0.0.1", True, False),
        ("::1", False, True),
        (b"fe80::1%eth0", False, True),
        ("fe80::1%eth0", False, True),
        ("127.1", False, False),
        ("localhost", False, False),
        ("::1\0", False, False),
        (b"\xff", False, False),
        (None, False, False),
    ],
)
def test_addresses(host, is_4, is_6):
    assert _addresses.is_ipv4_addr(host) is is_4
    assert _addresses.is_ipv6_addr(host) is is_6


def test_watchers_are_made_by_their_classes():
    """As in programs that have them from gevent.core."""
    from coir.gevent import core, get_hub

    loop = get_hub().loop
    r, w = os.pipe()
    for watcher in (
        core.io(loop, w, core.WRITE),
        core.timer(loop, 0.001),
        core.timer(loop, after=0, repeat=1, ref=False),
        core.idle(loop),
        core.check(loop),
    ):
        done = gevent.event.Event()
        watcher.start(done.set)
        assert done.wait(10)
        watcher.close()
    os.close(r)
    os.close(w)
    for args in (), (0.1,):
        with pytest.raises(TypeError, match="timer\\(\\) needs a loop"):
            core.timer(*args)
    with pytest.raises(TypeError):
        core.timer(loop, "x")
    with pytest.raises(TypeError, match="cannot create"):
        type("Timer", (core.timer,), {})(loop, 0.1)
    with pytest.raises(TypeError):
        core.watcher(loop)


def test_attributes_that_gevents_objects_have():
    from coir.gevent import backdoor, get_hub, hub, pywsgi

    with pytest.raises(KeyError) as caught:
        hub.reraise(KeyError, KeyError("k"))
    assert caught.value.args == ("k",)
    assert select.poll().loop is get_hub().loop
    assert backdoor.BackdoorServer(("127.0.0.1", 0)).stderr is sys.stderr
    assert pywsgi.OldMessage().status == ""
