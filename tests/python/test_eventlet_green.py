"""coir.eventlet's green threads: what eventlet's own tests leave out."""

import gc
import sys
import traceback
import weakref

import pytest
from coir import eventlet
from coir._core import GreenletExit, getcurrent, greenlet
from coir.eventlet import debug, greenthread, hubs


@pytest.fixture(autouse=True)
def quiet():
    debug.hub_exceptions(False)
    yield
    debug.hub_exceptions(True)


def test_order_of_spawn_wait_and_sleep():
    log = []

    def body(name, times):
        for n in range(times):
            log.append(f"{name}{n}")
            eventlet.sleep(0)
        return name

    a, b = eventlet.spawn(body, "a", 2), eventlet.spawn(body, "b", 3)
    log.append("spawned")
    assert not a and not a.dead
    assert a.wait() == "a"
    log.append("waited")
    assert b.wait() == "b"
    assert log == ["spawned", "a0", "b0", "a1", "b1", "b2", "waited"] or (
        log == ["spawned", "a0", "b0", "a1", "b1", "waited", "b2"]
    )


def test_sleep_0_lets_all_others_run():
    log = []
    for n in range(200):
        eventlet.spawn_n(log.append, n)
    eventlet.sleep(0)
    assert log == list(range(200))


def test_wait_raises_with_the_traceback():
    def fail_deep():
        raise KeyError("deep")

    def fail():
        fail_deep()

    thread = eventlet.spawn(fail)
    for _ in range(2):
        with pytest.raises(KeyError) as info:
            thread.wait()
        frames = traceback.extract_tb(info.value.__traceback__)
        names = [frame.name for frame in frames]
        assert names.count("fail_deep") == 1 and names[-1] == "fail_deep"


def test_all_that_wait_get_the_error_with_its_own_traceback():
    def fail():
        eventlet.sleep(0)
        raise KeyError

    thread = eventlet.spawn(fail)
    lengths = []

    def wait():
        try:
            thread.wait()
        except KeyError as exc:
            lengths.append(len(traceback.extract_tb(exc.__traceback__)))

    for g in [eventlet.spawn(wait) for _ in range(4)]:
        g.wait()
    assert len(set(lengths)) == 1


def test_links():
    log = []

    def link(thread, *args, **kwargs):
        log.append((thread.wait(), args, kwargs, getcurrent() is thread))

    thread = eventlet.spawn(lambda: 1)
    thread.link(link, 2, three=3)
    thread.link(link, 4)
    assert thread.unlink(link, 4) is True
    assert thread.unlink(link, 4) is False
    thread.wait()
    assert log == [(1, (2,), {"three": 3}, True)]
    thread.link(link)
    assert log[1:] == [(1, (), {}, False)]
    assert not thread._exit_funcs


def test_one_link_is_kept_as_several_are():
    log = []
    thread = eventlet.spawn(lambda: 1)
    assert thread._exit_funcs is None
    thread.link(log.append)
    assert list(thread._exit_funcs) == [(log.append, (), {})]
    thread.unlink(log.append)
    assert not thread._exit_funcs
    thread.link(log.append)
    assert thread.unlink(log.clear) is False
    assert thread.unlink(log.append) is True
    assert thread.unlink(log.append) is False
    thread.link(log.append)
    thread.wait()
    assert log == [thread]


def test_a_link_that_fails_hinders_nobody_who_waits():
    def link(thread):
        raise ValueError

    thread = eventlet.spawn(lambda: 1)
    thread.link(link)
    assert thread.wait() == 1
    assert thread.dead


def test_kill_before_the_start():
    started = []
    thread = eventlet.spawn(started.append, 1)
    linked = []
    thread.link(linked.append)
    thread.kill()
    assert thread.dead and linked == [thread]
    with pytest.raises(GreenletExit):
        thread.wait()
    thread = eventlet.spawn_after(0.001, started.append, 1)
    thread.kill(KeyError("of a test"))
    with pytest.raises(KeyError):
        thread.wait()
    eventlet.sleep(0.005)
    assert not started


def test_kill_runs_it_at_once():
    log = []

    def body():
        try:
            eventlet.sleep(10)
        except ValueError as exc:
            log.append(str(exc))
            eventlet.sleep(0)
            log.append("later")

    thread = eventlet.spawn(body)
    eventlet.sleep(0)
    thread.kill(ValueError, ValueError("kill"), None)
    log.append("killer")
    thread.wait()
    assert log == ["kill", "killer", "later"]
    thread.kill()  # nothing


def test_kill_of_itself():
    def body():
        greenthread.kill(getcurrent())
        raise AssertionError("not reached")

    with pytest.raises(GreenletExit):
        eventlet.spawn(body).wait()


def test_cancel_is_only_for_what_has_not_begun():
    thread = eventlet.spawn(eventlet.sleep, 0.001)
    eventlet.sleep(0)
    thread.cancel()
    assert not thread.dead
    thread.wait()
    other = eventlet.spawn_after(10, print)
    other.cancel()
    assert other.dead
    with pytest.raises(GreenletExit):
        other.wait()


def test_killed_while_it_is_being_woken():
    """What it was brought is not lost on others, nor its place in line."""
    semaphore = eventlet.Semaphore(0)
    got = []

    def body(n):
        semaphore.acquire()
        got.append(n)

    first, second = eventlet.spawn(body, 1), eventlet.spawn(body, 2)
    eventlet.sleep(0)
    semaphore.release()
    first.kill()
    second.wait()
    assert got == [2] and semaphore.counter == 0

    queue = eventlet.Queue()
    getters = [eventlet.spawn(queue.get) for _ in range(2)]
    eventlet.sleep(0)
    queue.put("item")
    getters[0].kill()
    assert getters[1].wait() == "item"

    event = eventlet.Event()
    waiting = eventlet.spawn(event.wait)
    eventlet.sleep(0)
    event.send(1)
    waiting.kill()
    with pytest.raises(GreenletExit):
        waiting.wait()


# --- raw greenlets -----------------------------------------------------------


def test_greenlets_switch_inside_of_green_threads():
    log = []

    def child():
        log.append("child")
        back = parent.switch("from child")
        log.append(back)
        return "result"

    def body():
        nonlocal parent
        parent = getcurrent()
        g = greenlet(child)
        log.append(g.switch())
        eventlet.sleep(0)
        log.append(g.switch("from parent"))
        return g.dead

    parent = None
    thread = eventlet.spawn(body)
    other = eventlet.spawn(lambda: log.append("other"))
    assert thread.wait() is True
    other.wait()
    assert log == ["child", "from child", "other", "from parent", "result"]


def test_who_blocks_becomes_a_child_of_the_hub():
    """As eventlet has it: it then ends in the hub, not in who made it."""
    hub = hubs.get_hub()
    seen = []

    def child():
        seen.append(getcurrent().parent is hub.greenlet)
        eventlet.sleep(0)
        seen.append(getcurrent().parent is hub.greenlet)

    def body():
        g = greenlet(child)
        hub.schedule_call_global(0.005, getcurrent().switch, "timer")
        return g.switch()

    assert eventlet.spawn(body).wait() == "timer"
    assert seen == [False, True]


def test_a_switch_ends_a_wait():
    event = eventlet.Event()

    def body():
        return event.wait()

    thread = eventlet.spawn(body)
    eventlet.sleep(0)
    hubs.get_hub().schedule_call_global(0, thread.switch, "stranger")
    assert thread.wait() == "stranger"
    event.send()


def test_a_class_derived_from_green_thread():
    class Mine(greenthread.GreenThread):
        def main(self, function, args, kwargs):
            log.append("main")
            super().main(function, args, kwargs)

    log = []
    hub = hubs.get_hub()
    thread = Mine(hub.greenlet)
    hub.schedule_call_global(0, thread.switch, lambda a, b: a + b, (1,),
                             {"b": 2})
    assert thread.wait() == 3 and log == ["main"]
    assert issubclass(Mine, greenlet)
    plain = greenthread.GreenThread(hub.greenlet)
    hub.schedule_call_global(0, plain.switch, max, (1, 2), {})
    assert plain.wait() == 2


def test_exceptions_do_not_leak_from_one_to_another():
    def body():
        try:
            raise KeyError
        except KeyError:
            eventlet.sleep(0)
            return sys.exc_info()[0]

    threads = [eventlet.spawn(body) for _ in range(2)]
    eventlet.sleep(0)
    assert sys.exc_info()[0] is None
    assert [t.wait() for t in threads] == [KeyError] * 2


# --- ends --------------------------------------------------------------------


def test_nothing_is_kept():
    class Thing:
        pass

    def body(thing):
        eventlet.sleep(0)
        return None

    thing = Thing()
    ref = weakref.ref(thing)
    threads = [
        eventlet.spawn(body, thing),
        eventlet.spawn_n(body, thing),
        eventlet.spawn_after(0, body, thing),
    ]
    del thing
    eventlet.sleep(0.002)
    gc.collect()
    assert ref() is None and len(threads) == 3


@pytest.mark.skipif(
    sys.version_info < (3, 14), reason="frames do not tell what they hold"
)
def test_one_that_nobody_can_wake_is_collected():
    ended = []

    def body():
        event = eventlet.Event()
        try:
            event.wait()
        finally:
            ended.append(1)

    eventlet.spawn_n(body)
    eventlet.sleep(0)
    gc.collect()
    assert ended == [1]


def test_arguments():
    with pytest.raises(TypeError):
        eventlet.spawn()
    with pytest.raises(TypeError):
        eventlet.spawn_n()
    with pytest.raises(TypeError):
        eventlet.spawn(print).link()
    with pytest.raises(TypeError):
        eventlet.sleep("1")
    with pytest.raises(TypeError):
        eventlet.sleep(1, 2)
    assert eventlet.spawn(dict, a=1).wait() == {"a": 1}
    with pytest.raises(TypeError):
        eventlet.spawn(None).wait()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_names():
    log = []
    eventlet.call_after_global(0, log.append, 1)
    greenthread.call_after_local(0, log.append, 2)
    eventlet.sleep(0)
    assert log == [1, 2]
    timer = eventlet.exc_after(0.001, KeyError)
    with pytest.raises(KeyError):
        eventlet.sleep(1)
    assert timer.called
    with pytest.raises(eventlet.Timeout):
        raise eventlet.TimeoutError
    assert greenthread.with_timeout(1, lambda: 1) == 1
