"""Who waits: the report of coir.gevent when nothing can happen any more."""

import gc
import inspect
import re
import sys

import pytest
from coir import gevent
from coir.gevent import util
from coir.gevent._report import format_waiting, waiting
from coir.gevent.event import Event
from coir.gevent.exceptions import LoopExit
from coir.gevent.lock import RLock
from coir.gevent.queue import Queue


def get_one(queue):
    return queue.get()


def line_of(function, offset=1):
    return inspect.getsourcelines(function)[1] + offset


@pytest.fixture(autouse=True)
def nobody_waits():
    for item in waiting():
        gevent.kill(item.greenlet)  # left by other tests
    gevent.sleep(0)
    assert waiting() == []
    yield
    assert waiting() == []


def test_nobody_waits():
    assert waiting() == []
    assert format_waiting() == ""


def test_facts():
    queue = Queue()
    g = gevent.spawn(get_one, queue)
    gevent.sleep(0)
    [found] = waiting(gevent.get_hub().loop)
    assert found.greenlet is g
    assert found.what == "get" and found.object is queue
    assert 0 <= found.seconds < 60
    assert found.ended_by is None
    g.kill()


def test_of_another_loop():
    g = gevent.spawn(get_one, Queue())
    gevent.sleep(0)
    other = gevent.core.loop(default=False)
    assert waiting(other) == []
    other.destroy()
    g.kill()


def test_places_and_groups():
    queue = Queue()
    workers = [gevent.spawn(get_one, queue) for _ in range(3)]
    spawned_at = inspect.currentframe().f_lineno - 1
    gevent.sleep(0)
    text = format_waiting()
    gevent.killall(workers)
    assert text.startswith("3 greenlets wait:\n* #1 <Greenlet ")
    assert "> and 2 like it\n      in get() of <Queue " in text
    assert f"at {__file__}:{line_of(get_one)} in get_one" in text
    assert re.search(
        rf"spawned at {re.escape(__file__)}:{spawned_at} in ", text
    )
    assert "coir/gevent" not in text


def test_many_places_are_cut_off():
    workers = [gevent.spawn(get_one, Queue()) for _ in range(100)]
    gevent.sleep(0)
    text = format_waiting()
    gevent.killall(workers)
    assert text.startswith("100 greenlets wait:")
    assert text.endswith("\n* and 70 more")


def test_repr_that_fails_or_is_long():
    class Bad(Event):
        def __repr__(self):
            raise ValueError("no")

    class Long(Event):
        def __repr__(self):
            return "x" * 1000

    bad, long = Bad(), Long()
    workers = [gevent.spawn(event.wait) for event in (bad, long)]
    gevent.sleep(0)
    text = format_waiting()
    gevent.killall(workers)
    assert f"<Bad at {id(bad):#x}: repr failed: ValueError('no')>" in text
    assert "x" * 200 + "..., for" in text


def test_joins_in_a_cycle():
    first = gevent.spawn(lambda: second.join())
    second = gevent.spawn(lambda: first.join())
    gevent.sleep(0)
    assert [item.ended_by for item in waiting()] == [second, first]
    text = format_waiting()
    gevent.killall([first, second])
    assert text.count("They wait for each other: #1 for #2, #2 for #1") == 1
    assert "in join() of #2, for " in text
    assert "in join() of #1, for " in text


def test_locks_in_a_cycle():
    paper, pen = RLock(), RLock()

    def take_both(first, second):
        with first:
            gevent.sleep(0)
            with second:
                pass

    both = [
        gevent.spawn(take_both, paper, pen),
        gevent.spawn(take_both, pen, paper),
    ]
    with pytest.raises(LoopExit) as caught:
        gevent.joinall(both)
    gevent.killall(both)
    text = str(caught.value)
    assert text.startswith("This operation would block forever\n\tHub: <Hub ")
    assert "\n3 greenlets wait:\nThey wait for each other: #2 for #3" in text
    assert "\n* #1 main greenlet\n      in wait(), for " in text
    assert ", which #3 has, for " in text
    assert "in take_both" in text
    assert text == repr(caught.value)


def test_lock_of_one_who_has_ended():
    lock = RLock()
    gevent.spawn(lock.acquire).join()
    g = gevent.spawn(lock.acquire)
    with pytest.raises(LoopExit, match="who has ended"):
        g.join()
    g.kill()


def test_run_info_tells_what_is_waited_for():
    queue = Queue()
    g = gevent.spawn(get_one, queue)
    gevent.sleep(0)
    lines = util.format_run_info()
    bare = util.format_run_info(greenlet_stacks=False)
    g.kill()
    assert re.search(r"Waits in get\(\) of <Queue .*, for \d", "".join(lines))
    assert "Waits" not in "".join(bare)


@pytest.mark.skipif(
    sys.version_info < (3, 14), reason="frames do not tell what they hold"
)
@pytest.mark.parametrize(("kind", "method"), [(Event, "wait"), (Queue, "get")])
def test_who_waits_for_what_is_garbage_is_collected(kind, method):
    ended = []

    def wait(holder):
        try:
            getattr(holder[0], method)()
        finally:
            ended.append(True)

    gevent.spawn(wait, [kind()])
    gevent.sleep(0)
    gc.collect()
    gevent.sleep(0)
    assert ended == [True]
