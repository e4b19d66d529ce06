"""coir.gevent.queue: what gevent's own tests leave open."""

import copy
import gc
import random
import threading
import weakref
from collections import deque

import pytest
from coir._core import get_hub
from coir.gevent.exceptions import InvalidSwitchError, LoopExit
from coir.gevent.queue import (
    Channel,
    Empty,
    Full,
    LifoQueue,
    PriorityQueue,
    Queue,
    ShutDown,
    SimpleQueue,
    UnboundQueue,
)
from coir.greenlet import GreenletExit, getcurrent
from greenlet_helper import Stop, kill, start

KINDS = [SimpleQueue, Queue, LifoQueue, PriorityQueue]


def let_run():
    """Let everybody run until they wait."""
    hub = get_hub()
    for _ in range(10):
        hub.loop.run_callback(getcurrent().switch)
        hub.switch()


def in_hub(func, *args):
    """What it returns or raises when it is called in the hub."""
    res = []

    def call():
        try:
            res.append(func(*args))
        except Exception as exc:
            res.append(type(exc))

    get_hub().loop.run_callback(call)
    let_run()
    return res[0]


def getter(q, out, name=None, **kwargs):
    def body():
        try:
            item = q.get(**kwargs)
        except BaseException as exc:
            item = type(exc)
        out.append(item if name is None else (name, item))

    return start(body)


# --- without waiting ---------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_maxsize(kind):
    assert kind().maxsize is None
    assert kind(None).maxsize is None
    assert kind(-1).maxsize is None
    assert kind(2).maxsize == 2
    with pytest.deprecated_call():
        assert kind(0).maxsize is None
    with pytest.raises(TypeError):
        kind("2")
    q = kind(1)
    q.put(1)
    assert q.full() and not q.empty() and len(q) == q.qsize() == 1
    with pytest.raises(Full):
        q.put_nowait(2)
    with pytest.raises(Full):
        q.put(2, False)
    with pytest.raises(Full):
        q.put(2, block=False, timeout="ignored")
    q.maxsize = None
    q.put_nowait(2)
    assert len(q) == 2
    assert q


@pytest.mark.parametrize(
    ("kind", "order"),
    [
        (SimpleQueue, [3, 1, 2]),
        (Queue, [3, 1, 2]),
        (UnboundQueue, [3, 1, 2]),
        (LifoQueue, [2, 1, 3]),
        (PriorityQueue, [1, 2, 3]),
    ],
)
def test_order_peek_and_copy(kind, order):
    q = kind(None, [3, 1, 2])
    other = q.copy()
    third = kind()
    for item in (3, 1, 2):
        third.put(item)
    for one in (q, other, third):
        assert one.peek() == one.peek_nowait() == order[0]
        assert [one.get() for _ in range(3)] == order
        assert one.empty()
        with pytest.raises(Empty):
            one.get_nowait()
        with pytest.raises(Empty):
            one.peek_nowait()
    assert type(other) is kind


def test_ring_wraps_and_grows():
    q = SimpleQueue()
    model = deque()
    rng = random.Random(1)
    for n in range(20000):
        if rng.random() < 0.52 or not model:
            q.put(n)
            model.append(n)
        else:
            assert q.get() == model.popleft()
        assert len(q) == len(model)
    assert list(q.queue) == list(model)


def test_attribute_queue_is_what_holds_the_items():
    q = Queue(None, [1, 2])
    assert q.queue == deque([1, 2])
    q.queue.append(3)
    q.put(4)
    assert [q.get() for _ in range(4)] == [1, 2, 3, 4]
    q.queue = deque([7])
    assert q.get() == 7
    assert LifoQueue(None, [1]).queue == [1]
    assert PriorityQueue(None, [2, 1]).queue == [1, 2]


def test_iteration_ends_at_stopiteration():
    q = Queue(None, [1, 2, StopIteration, 3])
    assert list(q) == [1, 2]
    assert list(q.queue) == [3]


def test_repr():
    q = Queue(3)
    assert repr(q) == f"<Queue at {id(q):#x} maxsize=3>"
    q.put(1)
    assert str(q) == "<Queue maxsize=3 queue=deque([1]) tasks=1>"
    q.put(q)
    assert "..." in repr(q)
    q = SimpleQueue()
    getter(q, [], timeout=100)
    let_run()
    assert str(q) == "<SimpleQueue getters[1]>"
    q.put(None)
    let_run()
    c = Channel()
    assert repr(c) == f"<Channel at {id(c):#x}>"


def test_arguments():
    q = Queue()
    q.put(item=1, timeout=None)
    assert q.get(block=True, timeout=1) == 1
    for call in (
        lambda: q.put(),
        lambda: q.put(1, True, None, 2),
        lambda: q.put(1, item=2),
        lambda: q.put(1, wrong=2),
        lambda: q.get(True, block=True),
        lambda: q.get(timeout="x"),
        lambda: q.get(timeout=[]),
    ):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(ValueError):
        Channel(2)
    with pytest.raises(ValueError):
        UnboundQueue(1)
    assert Queue[int].__args__ == (int,)


def test_subclass_may_override_the_same_as_the_standard_ones():
    class Doubling(Queue):
        def _init(self, maxsize):
            self.items = []

        def _qsize(self):
            return len(self.items)

        def _put(self, item):
            self.items.append(item * 2)

        def _get(self):
            return self.items.pop(0)

        def _peek(self):
            return self.items[0]

    q = Doubling(1)
    q.put(1)
    assert q.full() and q.peek() == 2
    out = []
    start(lambda: (q.put(5), out.append("put")))
    let_run()
    assert out == []
    assert q.get() == 2
    let_run()
    assert out == ["put"]
    assert q.get() == 10
    getter(q, out)
    let_run()
    q.put(3)
    let_run()
    assert out == ["put", 6]


def test_subclass_that_fails_wakes_nobody_in_vain():
    class Picky(Queue):
        def _put(self, item):
            if item == "bad":
                raise ZeroDivisionError
            super()._put(item)

    q = Picky(1)
    q.put("a")
    out = []

    def putter(item):
        try:
            q.put(item)
            out.append(item)
        except ZeroDivisionError:
            out.append("failed")

    start(putter, "bad")
    start(putter, "b")
    let_run()
    assert q.get() == "a"
    let_run()
    assert out == ["failed", "b"]
    assert q.get() == "b"


def test_get_nowait_calls_get():
    class Sub(Queue):
        def get(self, block=True, timeout=None):
            return ("mine", block)

        def put(self, item, block=True, timeout=None):
            return ("mine", item, block)

    assert Sub().get_nowait() == ("mine", False)
    assert Sub().put_nowait(1) == ("mine", 1, False)
    assert next(Sub()) == ("mine", True)


# --- waiting -----------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_getters_are_served_in_order(kind):
    q = kind()
    out = []
    for name in "abc":
        getter(q, out, name)
    let_run()
    for n in range(3):
        q.put(n)
        let_run()
    assert out == [("a", 0), ("b", 1), ("c", 2)]


def test_putters_are_served_in_order():
    q = Queue(1, [0])
    for n in (1, 2, 3):
        start(q.put, n)
    let_run()
    assert len(q) == 1
    out = []
    for _ in range(4):
        out.append(q.get())
        let_run()
    assert out == [0, 1, 2, 3]


def test_timeouts():
    q = Queue(1)
    with pytest.raises(Empty):
        q.get(timeout=0.001)
    with pytest.raises(Empty):
        q.get(timeout=0)
    with pytest.raises(ValueError):
        q.peek(timeout=-1)
    q.put(1)
    with pytest.raises(Full):
        q.put(2, timeout=0.001)
    with pytest.raises(Empty):
        Channel().get(timeout=0.001)
    with pytest.raises(Full):
        Channel().put(1, timeout=0.001)
    assert len(q) == 1


def test_timeout_object_is_started_and_cancelled():
    class Timeout:
        pending = False
        log = []

        def start(self):
            self.log.append("start")

        def cancel(self):
            self.log.append("cancel")

    q = Queue()
    start(q.put, 1)
    assert q.get(timeout=Timeout()) == 1
    assert Timeout.log == ["start", "cancel"]


def test_nobody_else_is_an_error():
    for wait in (Queue().get, Queue().peek, Channel().get, Queue(1, [1]).join):
        with pytest.raises(LoopExit):
            wait()
    with pytest.raises(LoopExit):
        Queue(1, [1]).put(2)
    with pytest.raises(LoopExit):
        Channel().put(2)


def test_nothing_waits_in_the_hub():
    q = Queue(1)
    assert in_hub(q.get) is Empty
    assert in_hub(q.peek) is Empty
    assert in_hub(q.put, 1) is None
    assert in_hub(q.put, 2) is Full
    assert issubclass(in_hub(q.join), AssertionError)
    assert in_hub(q.get) == 1
    out = []
    getter(q, out)
    let_run()
    assert in_hub(q.put, 3) is None
    let_run()
    assert out == [3]
    q = Queue(1)
    getter(q, out)
    getter(q, out)
    let_run()
    assert in_hub(lambda: [q.put(n) for n in (5, 6, 7)]) == [None] * 3
    assert out == [3, 5, 6]
    assert in_hub(q.put, 8) is Full
    assert q.get() == 7
    del out[1:]
    c = Channel()
    assert in_hub(c.get) is Empty
    assert in_hub(c.put, 1) is Full
    getter(c, out)
    let_run()
    assert in_hub(c.put, 4) is None
    assert out == [3, 4]


def test_peekers_pass_their_turn_on():
    q = Queue()
    out = []
    start(lambda: out.append(("peek", q.peek())))
    start(lambda: out.append(("peek", q.peek())))
    getter(q, out, "get")
    getter(q, out, "late")
    let_run()
    q.put(1)
    let_run()
    assert out == [("peek", 1), ("peek", 1), ("get", 1)]
    q.put(2)
    let_run()
    assert out[3:] == [("late", 2)]


@pytest.mark.parametrize("kind", KINDS)
def test_item_of_a_getter_killed_before_it_ran_stays(kind):
    q = kind()
    out = []
    first = getter(q, out, "first")
    let_run()
    q.put(1)
    q.put(2)
    kill(first)
    assert out == [("first", Stop)]
    assert len(q) == 2
    assert q.get() == (2 if kind is LifoQueue else 1)


@pytest.mark.parametrize("kind", KINDS)
def test_turn_of_a_killed_getter_goes_to_the_next(kind):
    q = kind()
    out = []
    first = getter(q, out, "first")
    getter(q, out, "second")
    let_run()
    q.put(1)
    kill(first)
    let_run()
    assert out == [("first", Stop), ("second", 1)]


def test_place_of_a_putter_killed_before_it_ran_goes_to_the_next():
    q = Queue(1, [0])
    first = start(q.put, 1)
    start(q.put, 2)
    let_run()
    assert q.get() == 0
    kill(first)
    let_run()
    assert q.get() == 2
    assert q.empty()


def test_getter_whose_item_was_taken_keeps_its_place():
    q = Queue()
    out = []
    getter(q, out, "first")
    getter(q, out, "second")
    let_run()
    q.put(1)
    assert q.get() == 1  # "first" was woken, but did not run yet
    let_run()
    assert out == []
    q.put(2)
    q.put(3)
    let_run()
    assert out == [("first", 2), ("second", 3)]


def test_getter_whose_item_was_taken_has_not_more_time():
    q = Queue()
    out = []
    getter(q, out, timeout=0.01)
    let_run()
    q.put(1)
    assert q.get() == 1
    with pytest.raises(Empty):
        q.get(timeout=0.05)
    assert out == [Empty]


def test_switching_to_a_waiter_is_an_error_and_loses_nothing():
    q = Queue()
    out = []
    g = getter(q, out, "first")
    let_run()
    q.put(1)
    get_hub().loop.run_callback(g.switch, "intruder")
    # It is woken first.
    let_run()
    assert out == [("first", 1)]
    g = getter(q, out, "second")
    let_run()
    get_hub().loop.run_callback(g.switch, "intruder")
    let_run()
    assert out[1:] == [("second", InvalidSwitchError)]
    q.put(2)
    assert q.get() == 2


# --- tasks -------------------------------------------------------------------


def test_join():
    q = Queue()
    assert q.join() is True
    q = Queue(None, [1, 2])
    assert q.unfinished_tasks == 2
    assert q.join(timeout=0) is False
    assert q.join(timeout=0.001) is False
    out = []
    for _ in range(2):
        start(lambda: out.append(q.join()))
    let_run()
    q.task_done()
    let_run()
    assert out == []
    q.task_done()
    let_run()
    assert out == [True, True]
    with pytest.raises(ValueError):
        q.task_done()
    assert Queue(unfinished_tasks=3).unfinished_tasks == 3


@pytest.mark.parametrize("immediate", [False, True])
def test_shutdown_ends_all_waits(immediate):
    q = Queue(1, [0])
    out = []

    def putter():
        try:
            q.put(1)
        except ShutDown:
            out.append("putter")

    start(putter)
    start(lambda: out.append(q.join()))
    let_run()
    q.shutdown(immediate=immediate)
    assert q.is_shutdown
    let_run()
    if immediate:
        assert out == [True, "putter"] or out == ["putter", True]
        assert q.empty()
    else:
        assert out == ["putter"]
        assert q.get() == 0
        q.task_done()
        let_run()
        assert out == ["putter", True]
    with pytest.raises(ShutDown):
        q.get()
    with pytest.raises(ShutDown):
        q.peek_nowait()
    with pytest.raises(ShutDown):
        q.put(1)

    q = Queue()
    getter(q, out)
    getter(q, out)
    let_run()
    q.shutdown()
    let_run()
    assert out[-2:] == [ShutDown, ShutDown]


# --- channels ----------------------------------------------------------------


def test_channel_hands_over():
    c = Channel()
    assert c.empty() and c.full() and c.qsize() == c.balance == 0
    out = []

    def body():
        for n in range(3):
            out.append(("put", n))
            c.put(n)

    start(body)
    for n in range(3):
        assert c.get() == n
    assert out == [("put", 0), ("put", 1), ("put", 2)]
    let_run()
    putters = [start(c.put, n) for n in range(3)]
    let_run()
    assert c.balance == 3 and c.putters == putters
    assert c.get_nowait() == 0
    assert in_hub(c.get_nowait) == 1
    assert c.get() == 2
    let_run()
    assert all(g.dead for g in putters)


def test_channel_item_of_a_killed_getter_goes_to_the_next():
    c = Channel()
    out = []
    first = getter(c, out, "first")
    second = getter(c, out, "second")
    let_run()
    assert c.getters == [first, second]
    c.put_nowait(1)
    kill(first)
    let_run()
    assert out == [("first", Stop), ("second", 1)]


def test_channel_item_of_a_killed_getter_is_kept():
    c = Channel()
    out = []
    first = getter(c, out, "first")
    second = getter(c, out, "second")
    let_run()
    c.put_nowait(None)
    c.put_nowait(2)
    kill(first)
    kill(second)
    assert out == [("first", Stop), ("second", Stop)]
    start(c.put, 3)
    let_run()
    assert [c.get() for _ in range(3)] == [None, 2, 3]


def test_channel_putter_that_dies_takes_its_item_along():
    c = Channel()
    g = start(c.put, 1)
    start(c.put, 2)
    let_run()
    kill(g, GreenletExit)
    assert c.get() == 2
    with pytest.raises(Empty):
        c.get_nowait()


def test_channel_iteration():
    c = Channel()

    def body():
        for item in (1, 2, StopIteration):
            c.put(item)

    start(body)
    assert list(c) == [1, 2]
    start(body)
    assert c.next() == 1
    assert c.next() == 2
    with pytest.raises(StopIteration):
        c.next()


# --- threads -----------------------------------------------------------------


@pytest.mark.parametrize("kind", [SimpleQueue, Queue, Channel])
def test_between_threads(kind):
    there, back = kind(1), kind(1)
    count = 300

    def body():
        while (item := there.get()) is not None:
            back.put(item + 1)

    t = threading.Thread(target=body)
    t.start()
    for n in range(count):
        there.put(n)
        assert back.get() == n + 1
    there.put(None)
    t.join()


def test_many_threads_lose_nothing():
    q = Queue(3)
    out = Queue()
    count, threads = 200, 3

    def produce(base):
        for n in range(count):
            q.put(base + n)

    def consume():
        while (item := q.get()) is not None:
            out.put(item)

    producers = [
        threading.Thread(target=produce, args=(i * count,))
        for i in range(threads)
    ]
    consumers = [threading.Thread(target=consume) for _ in range(threads)]
    for t in producers + consumers:
        t.start()
    got = sorted(out.get() for _ in range(count * threads))
    assert got == list(range(count * threads))
    for _ in consumers:
        q.put(None)
    for t in producers + consumers:
        t.join()


# --- memory ------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*KINDS, Channel])
def test_waiters_of_a_queue_nobody_knows_are_collected(kind):
    def make():
        q = kind()
        return weakref.ref(q), weakref.ref(start(q.get))

    q, g = make()
    let_run()
    assert (
        q().getters == [g()] if kind is Channel else "getters[1]" in str(q())
    )
    gc.collect()
    assert g() is None
    assert q() is None


@pytest.mark.parametrize("kind", KINDS)
def test_cycles_are_collected(kind):
    class Thing:
        def __lt__(self, other):
            return True

    q = kind()
    thing = Thing()
    thing.q = q
    q.put(thing)
    ref = weakref.ref(thing)
    del q, thing
    gc.collect()
    assert ref() is None


def test_references_are_balanced():
    import sys

    item = object()
    before = sys.getrefcount(item)

    def everything():
        q = Queue(2)
        out = []
        getter(q, out)
        g = getter(q, out)
        let_run()
        kill(g)
        q.put(item)
        let_run()
        q.put(item)
        q.put(item)
        with pytest.raises(Full):
            q.put(item, timeout=0)
        q.peek()
        q.copy()
        copy.copy(q.queue)
        q.get()
        q.get()
        c = Channel()
        g = getter(c, out)
        let_run()
        c.put(item, False)
        kill(g)
        assert c.get() is item
        start(c.put, item)
        assert c.get() is item
        let_run()

    for _ in range(5):
        everything()
    gc.collect()
    assert sys.getrefcount(item) == before


# --- at random ---------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_random_kills_lose_nothing_and_keep_the_order(seed):
    rng = random.Random(seed)
    q = Queue(rng.choice([None, 1, 2, 5]))
    got, put, failed = [], [], []
    alive = []

    def putter(n):
        try:
            q.put(n, timeout=rng.choice([None, None, 0.001]))
        except (Full, Stop):
            failed.append(n)
        else:
            put.append(n)

    def taker():
        try:
            got.append(q.get(timeout=rng.choice([None, None, 0.001])))
        except (Empty, Stop):
            pass

    for n in range(400):
        alive.append(start(putter, n))
        if rng.random() < 0.9:
            alive.append(start(taker))
        if rng.random() < 0.3:
            let_run()
        if rng.random() < 0.4:
            g = rng.choice(alive)
            if g:
                kill(g)
        alive = [g for g in alive if not g.dead]
    for _ in range(2000):
        let_run()
        try:
            got.append(q.get_nowait())
        except Empty:
            break
    for g in alive:
        if g:
            kill(g)
    assert sorted(got) == sorted(put)
    assert not set(got) & set(failed)
    assert len(set(got)) == len(got)


@pytest.mark.parametrize("cls", [Queue, SimpleQueue, LifoQueue, PriorityQueue])
def test_a_negative_timeout_is_refused_where_it_would_matter(cls):
    empty, full = cls(1), cls(1, [1])
    for wait in empty.get, empty.peek, lambda **kw: empty.put(1, **kw):
        with pytest.raises(ValueError, match="non-negative"):
            wait(timeout=-1)
    assert full.peek(timeout=-1) == full.get(timeout=-1) == 1
    with pytest.raises(Empty):
        empty.get(block=False, timeout=-1)
    empty.put(2, block=False, timeout=-1)
    assert empty.get_nowait() == 2
