"""What a subclass overrides is called where gevent calls it."""

import collections
import contextlib
import copy
import io
import pickle

import coir.gevent as gevent
import pytest
from coir._core import get_hub
from coir.gevent import event, lock, pool, queue


def recording(cls, *names, **others):
    """A subclass that notes calls of these methods in `calls`."""
    calls = []

    def overridden(name):
        method = getattr(cls, name)

        def call(self, *args, **kwargs):
            calls.append(name)
            return method(self, *args, **kwargs)

        return call

    body = {name: overridden(name) for name in names}
    sub = type("Sub", (cls,), {**body, "calls": calls, **others})
    return sub


def fail():
    raise ValueError("as it should")


@pytest.fixture
def quiet():
    with contextlib.redirect_stderr(io.StringIO()) as err:
        yield err


# Greenlets.


def test_get_and_join_ask_ready_and_successful():
    cls = recording(gevent.Greenlet, "ready", "successful", "run")
    g = cls.spawn(lambda: 5)
    assert g.get() == 5
    assert cls.calls == ["ready", "run", "successful"]
    del cls.calls[:]
    g.join()
    assert g.get(block=False) == 5
    assert cls.calls == ["ready", "ready", "successful"]


def test_a_subclass_may_call_a_failure_a_success(quiet):
    class Lenient(gevent.Greenlet):
        def successful(self):
            return True

    assert Lenient.spawn(fail).get() is None


def test_a_subclass_may_be_ready_early_or_never():
    class Early(gevent.Greenlet):
        def ready(self):
            return True

    g = Early.spawn(gevent.sleep, 60)
    g.join()
    assert g.get() is None
    assert not g.dead
    g.kill()

    class Never(gevent.Greenlet):
        def ready(self):
            return False

    g = Never.spawn(lambda: 5)
    for _ in range(2):
        g.join()
        assert g.get() == 5
    with pytest.raises(gevent.Timeout):
        g.get(block=False)


@pytest.mark.parametrize("name", ["ready", "successful"])
def test_what_ready_and_successful_raise_comes_out(name):
    class Broken(gevent.Greenlet):
        pass

    g = Broken.spawn(lambda: 5)
    g.join()
    setattr(Broken, name, lambda self: fail())
    with pytest.raises(ValueError, match="as it should"):
        g.get()


@pytest.mark.parametrize("kind", ["link_value", "link_exception"])
def test_ways_to_link_call_link(kind):
    cls = recording(gevent.Greenlet, "link", "rawlink")
    g = cls(len, ())
    seen = []
    getattr(g, kind)(seen.append)
    assert cls.calls == ["link", "rawlink"]
    g.start()
    g.join()
    gevent.sleep(0.001)
    assert seen == ([g] if kind == "link_value" else [])


def test_link_of_a_subclass_gets_the_kind_by_name():
    class Linked(gevent.Greenlet):
        def link(self, callback, SpawnedLink=None):
            self.kind = SpawnedLink.__name__
            super().link(callback, SpawnedLink)

    g = Linked(len, ())
    g.link_exception(fail)
    assert g.kind == "FailureSpawnedLink"
    g.link_value(fail)
    assert g.kind == "SuccessSpawnedLink"


def test_formatinfo_of_a_subclass_is_in_the_repr():
    class Named(gevent.Greenlet):
        def _formatinfo(self):
            return "at work"

    assert repr(Named(len)).endswith(": at work>")
    Named._formatinfo = lambda self: fail()
    with pytest.raises(ValueError, match="as it should"):
        repr(Named(len))


def test_run_of_a_subclass():
    class Twice(gevent.Greenlet):
        def run(self):
            self.args = (21,)
            super().run()

    assert Twice.spawn(lambda n: 2 * n, 1).get() == 42


# Queues.

KINDS = [
    queue.Queue,
    queue.SimpleQueue,
    queue.LifoQueue,
    queue.PriorityQueue,
]
HOOKS = ["_init", "_create_queue", "_put", "_get", "_peek", "_qsize", "qsize"]


@pytest.mark.parametrize("kind", KINDS)
def test_hooks_of_queues(kind):
    cls = recording(kind, *HOOKS)

    def calls(func, *args):
        del cls.calls[:]
        func(*args)
        return cls.calls[:]

    def new(*args):
        nonlocal q
        q = cls(*args)

    q = None
    assert calls(new) == ["_init", "_create_queue"]
    assert calls(new, None, [1]) == ["_init", "_create_queue"]
    assert calls(q.put, 2) == ["_put"]
    assert calls(q.get) == ["qsize", "_qsize", "_get"]
    assert calls(q.peek) == ["qsize", "_qsize", "_peek"]
    for asked in (q.qsize, q.empty, q.__len__, cls(3).full):
        assert calls(asked)[-1:] == ["_qsize"]
        assert ("qsize" in cls.calls) or asked == q.qsize
    assert q.get_nowait() in (1, 2)
    assert q.qsize() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_container_of_ones_own(kind):
    class Own(kind):
        def _create_queue(self, items=()):
            made = super()._create_queue(items)
            assert type(made) is (
                collections.deque
                if kind in (queue.Queue, queue.SimpleQueue)
                else list
            )
            return Container(made)

    class Container(list):
        def popleft(self):
            return self.pop(0)

    q = Own(None, [2, 1])
    assert type(q.queue) is Container
    assert len(q) == 2
    q.put(3)
    found = [q.get() for _ in range(3)]
    assert sorted(found) == [1, 2, 3]
    assert type(Own().queue) is Container


def test_init_of_a_subclass_gets_items_only_if_there_are_any():
    class Old(queue.Queue):
        def _init(self, maxsize):
            self.given = maxsize
            super()._init(maxsize)

    assert Old(3).given == 3
    assert Old().given is None
    with pytest.raises(TypeError):
        Old(3, [1])

    class New(queue.Queue):
        def _init(self, maxsize, items=()):
            super()._init(maxsize, [10 * n for n in items])

    q = New(None, [1, 2])
    assert [q.get(), q.get()] == [10, 20]
    assert q.unfinished_tasks == 2


def test_qsize_is_not_asked_while_the_queue_is_made():
    class Late(queue.Queue):
        def __init__(self):
            super().__init__()
            self.own = []

        def _qsize(self):
            return len(self.own)

        def _put(self, item):
            self.own.append(item)

        def _get(self):
            return self.own.pop()

    q = Late()
    q.put(1)
    assert q.unfinished_tasks == 0
    assert q.get() == 1


def test_unfinished_tasks_of_an_iterator():
    q = queue.Queue(None, iter([1, 2, 3]))
    assert (q.unfinished_tasks, q.qsize()) == (3, 3)


@pytest.mark.parametrize("name", ["_create_queue", "_init", "qsize"])
def test_what_hooks_of_queues_raise_comes_out(name):
    class Broken(queue.Queue):
        pass

    setattr(Broken, name, lambda self, *args: fail())
    with pytest.raises(ValueError, match="as it should"):
        len(Broken(1))


@pytest.mark.parametrize("kind", [*KINDS, queue.Channel])
def test_short_forms_call_the_long_ones(kind):
    cls = recording(kind, "put", "get")
    q = cls()
    if kind is queue.Channel:
        with pytest.raises(queue.Full):
            q.put_nowait(1)
        with pytest.raises(queue.Empty):
            q.get_nowait()
    else:
        q.put_nowait(1)
        assert q.get_nowait() == 1
    assert cls.calls == ["put", "get"]


# Events, locks, pools.


def test_results_are_got_by_get():
    cls = recording(event.AsyncResult, "get", "ready")
    result = cls()
    result.set(3)
    assert (result.get_nowait(), result.result(timeout=1)) == (3, 3)
    assert result.done()
    assert cls.calls == ["get", "get", "ready"]

    class Waits(event.AsyncResult):
        def get(self, **given):
            return given

    assert Waits().get_nowait() == {"block": False}
    assert Waits().result(5) == {"timeout": 5}


@pytest.mark.parametrize(
    "kind", [lock.Semaphore, lock.BoundedSemaphore, lock.RLock]
)
def test_with_calls_acquire_and_release(kind):
    cls = recording(kind, "acquire", "release")
    with cls():
        assert cls.calls == ["acquire"]
    assert cls.calls == ["acquire", "release"]


@pytest.mark.parametrize("kind", [pool.Group, pool.Pool])
def test_hooks_of_pools(kind):
    cls = recording(kind, "add", "start", "spawn", "_discard")
    group = cls()
    group.spawn(len, ())
    group.join()
    assert cls.calls == ["spawn", "start", "add", "_discard"]


def test_hooks_of_a_hub(quiet):
    hub = get_hub()
    seen = []
    hub.handle_error = lambda context, *info: seen.append(info[0])
    try:
        gevent.spawn(fail).join()
        hub.loop.run_callback(fail)
        gevent.sleep(0.001)
    finally:
        del hub.handle_error
    assert seen == [ValueError, ValueError]


# Copies and representations.


class Marked(gevent.Timeout):
    def __init__(self, *args):
        super().__init__(*args)
        self.mark = args


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))],
    ids=["copy", "deepcopy", "pickle"],
)
@pytest.mark.parametrize("kind", [gevent.Timeout, Marked])
def test_a_copy_of_a_timeout(kind, copied):
    timeout = kind(0.001, False)
    timeout.note = ["kept"]
    with timeout:
        twin = copied(timeout)
        assert timeout.pending
        assert not twin.pending
    assert type(twin) is kind
    assert (twin.seconds, twin.exception) == (0.001, False)
    assert twin.note == ["kept"]
    assert vars(twin) == vars(timeout)
    with twin:
        gevent.sleep(60)
        pytest.fail("it did not expire")
    assert copied(kind()).seconds is None


def test_a_state_that_is_none_of_a_timeout():
    with pytest.raises(TypeError):
        gevent.Timeout().__setstate__(3)
    with pytest.raises((TypeError, ValueError)):
        gevent.Timeout().__setstate__({"seconds": "soon"})


def test_the_repr_of_a_loop_has_no_module():
    assert repr(get_hub().loop).startswith("<loop at 0x")
