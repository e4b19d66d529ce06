"""What is put in the place of hub.loop is what gevent asks."""

import gc
import os
import threading
import weakref

import pytest

gevent = pytest.importorskip("coir.gevent")

from coir.gevent.event import AsyncResult, Event  # noqa: E402
from coir.gevent.hub import get_hub  # noqa: E402


class Proxy:
    """Notes what is called of the loop."""

    def __init__(self, loop):
        self.loop = loop
        self.calls = []

    def __getattr__(self, name):
        value = getattr(self.loop, name)
        if not callable(value):
            return value

        def call(*args, **kwargs):
            self.calls.append(name)
            return value(*args, **kwargs)

        return call


class Timer:
    """One that somebody else moves on."""

    def __init__(self, loop, seconds, ref, priority):
        self.what = (seconds, ref, priority)
        self.loop = loop
        self.done = []

    def start(self, callback, update=None):
        self.callback = callback
        self.done.append(("start", update))

    def stop(self):
        self.done.append("stop")

    def close(self):
        self.done.append("close")


class Clock(Proxy):
    def timer(self, seconds, ref=True, priority=None):
        self.last = Timer(self, seconds, ref, priority)
        return self.last


@pytest.fixture
def hub():
    hub = get_hub()
    loop = hub.loop
    yield hub
    hub.loop = loop


@pytest.fixture
def proxy(hub):
    hub.loop = Proxy(hub.loop)
    return hub.loop


@pytest.fixture
def clock(hub):
    hub.loop = Clock(hub.loop)
    return hub.loop


def test_it_is_the_loop_until_that_is_back(hub):
    loop = hub.loop
    proxy = hub.loop = Proxy(loop)
    assert hub.loop is proxy
    hub.loop = loop
    assert hub.loop is loop
    gevent.sleep(0.001)
    assert proxy.calls == []


def test_sleep(proxy):
    gevent.sleep(0.001)
    assert proxy.calls == ["timer", "update_now"]
    proxy.calls.clear()
    gevent.sleep(0)
    assert proxy.calls == ["run_callback"]


def test_start_of_a_greenlet(proxy):
    g = gevent.spawn(lambda: 5)
    assert proxy.calls == ["run_callback"]
    assert g.get() == 5
    proxy.calls.clear()
    assert gevent.spawn_later(0.001, lambda: 6).get() == 6
    assert proxy.calls[0] == "timer"


def test_greenlet_that_is_killed_before_its_turn(proxy):
    g = gevent.spawn(lambda: 5)
    h = gevent.spawn(lambda: 6)
    g.kill(block=False)
    assert h.get() == 6
    assert isinstance(g.value, gevent.GreenletExit)


def test_kill(proxy):
    g = gevent.spawn(Event().wait)
    gevent.sleep(0)
    proxy.calls.clear()
    g.kill()
    assert "run_callback" in proxy.calls
    assert g.dead


def test_links(proxy):
    seen = []
    result = AsyncResult()
    for i in range(3):
        result.rawlink(lambda _, i=i: seen.append(i))
    result.set(1)
    assert proxy.calls == ["run_callback"] * 3
    gevent.sleep(0)
    assert seen == [0, 1, 2]
    g = gevent.spawn(lambda: 1)
    g.rawlink(lambda _: seen.append("g"))
    g.join()
    gevent.sleep(0)
    assert seen[3:] == ["g"]


def test_link_that_goes_before_it_is_called(proxy):
    seen = []
    event = Event()
    event.rawlink(seen.append)
    event.set()
    event.unlink(seen.append)
    gevent.sleep(0)
    assert seen == []


def test_links_from_another_thread(hub, proxy):
    event, done = Event(), threading.Event()
    event.rawlink(lambda _: done.set())
    thread = threading.Thread(target=event.set)
    thread.start()
    with gevent.Timeout(30):
        while not done.is_set():
            gevent.sleep(0.001)
    thread.join()
    assert "run_callback_threadsafe" in proxy.calls


def test_one_that_loses_what_it_is_given(hub):
    class Loses(Proxy):
        def run_callback(self, callback, *args):
            self.calls.append("run_callback")

    loop = hub.loop
    proxy = hub.loop = Loses(loop)
    g = gevent.spawn(lambda: 5)
    assert proxy.calls == ["run_callback"]
    hub.loop = loop
    assert g.get() == 5


def test_one_that_calls_at_once(hub):
    class Calls(Proxy):
        def run_callback(self, callback, *args):
            callback(*args)

    hub.loop = Calls(hub.loop)
    assert gevent.spawn(lambda: 5).get() == 5


def test_one_that_fails(hub):
    class Fails(Proxy):
        def run_callback(self, callback, *args):
            raise OSError("no")

    errors = []
    hub.loop = Fails(hub.loop)
    hub.handle_error = lambda *args: errors.append(args[1])
    try:
        assert gevent.spawn(lambda: 5).get() == 5
    finally:
        del hub.handle_error
    assert errors == [OSError]


def test_timeout(clock):
    timeout = gevent.Timeout(5, ref=False, priority=1)
    with timeout:
        timer = clock.last
        assert timer.what == (5, False, 1)
        assert timeout.pending
        assert timer.done == [("start", True)]
    assert timer.done == [("start", True), "stop", "close"]
    assert not timeout.pending
    timer.callback()  # too late


def test_timeout_that_expires(clock):
    with pytest.raises(gevent.Timeout) as raised:
        with gevent.Timeout(5) as timeout:
            timer = clock.last
            clock.loop.run_callback(timer.callback)
            clock.loop.run_callback(timer.callback)
            Event().wait()
    assert raised.value is timeout
    assert timer.done == [("start", True), "stop", "close"]


def test_timeout_whose_timer_fails(hub):
    class Fails(Timer):
        def start(self, callback, update=None):
            raise OSError("no")

    class Gives(Proxy):
        def timer(self, *args, **kwargs):
            self.last = Fails(self, *args, **kwargs)
            return self.last

    hub.loop = Gives(hub.loop)
    timeout = gevent.Timeout(5)
    with pytest.raises(OSError, match="no"):
        timeout.start()
    assert not timeout.pending
    assert hub.loop.last.done == ["stop", "close"]


def test_waits_go_on_without_it(proxy):
    assert Event().wait(0.001) is False


def test_it_is_collected_with_its_hub():
    refs = []

    def run():
        hub = get_hub()
        gevent.sleep(0)  # it runs, with itself as the error handler
        proxy = hub.loop = Proxy(hub.loop)
        gevent.spawn(lambda: 1).join()
        hub.destroy(destroy_loop=True)
        refs.append(weakref.ref(proxy))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    gc.collect()
    assert refs[0]() is None


def test_in_the_child_of_a_fork(hub):
    """What others had asked for does not happen there."""

    class Loses(Proxy):
        def run_callback(self, callback, *args):
            pass

    loop = hub.loop
    hub.loop = Loses(loop)
    seen = []
    g = gevent.spawn(seen.append, 1)
    pid = os.fork()
    if pid == 0:
        hub.loop = loop
        gevent.sleep(0)
        os._exit(len(seen))
    hub.loop = loop
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    g.join()
    assert seen == [1]


class Plain:
    """Makes no functions, which CPython 3.13.0 cannot without memory."""

    def __init__(self, loop):
        self.loop = loop

    def __getattr__(self, name):
        return getattr(self.loop, name)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_without_memory(hub):
    testcapi = pytest.importorskip("_testcapi")
    hub.loop = Plain(hub.loop)
    event = Event()
    seen = []

    def once():
        event.clear()
        event.rawlink(seen.append)
        event.set()
        with gevent.Timeout(30):
            gevent.sleep(0)

    once()
    hub.handle_error = lambda *args: None
    failed = 0
    try:
        for n in range(200):
            testcapi.set_nomemory(n, n + 1)
            try:
                once()
            except (MemoryError, gevent.hub.LoopExit):
                failed += 1  # LoopExit: what was to end a wait had failed
            finally:
                testcapi.remove_mem_hooks()
    finally:
        del hub.handle_error
    assert failed
    seen.clear()
    once()
    gevent.sleep(0)
    assert event in seen
