"""What greenlets keep of the thread state: frames, depth, exceptions, context,
and what the collector is told of the frames of suspended ones."""

import collections
import contextlib
import contextvars
import ctypes
import gc
import os
import random
import subprocess
import sys
import textwrap
import weakref

import pytest
from coir._core import getcurrent, greenlet


class Dedicated(greenlet):
    stack_policy = "dedicated"


class Slice(greenlet):
    stack_policy = "slice"


@pytest.fixture(params=[Dedicated, Slice])
def kind(request):
    return request.param


def leave(value=None):
    parent = getcurrent().parent
    return parent.switch(value) if parent is not None else None


def names(frame):
    found = []
    while frame is not None:
        found.append(frame.f_code.co_name)
        frame = frame.f_back
    return found


def rss_pages():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])


# --- frames ------------------------------------------------------------------


def test_frames_grow_beyond_the_root_chunk_and_are_freed(kind):
    def recurse(n):
        return leave(n) if n == 0 else recurse(n - 1)

    def round_trip():
        many = [kind(recurse) for _ in range(30)]
        for g in many:
            g.switch(500)
        assert all(len(names(g.gr_frame)) == 502 for g in many)
        for g in many[:15]:
            assert g.switch("end") == "end"
        many.clear()  # the others are killed

    round_trip()
    before = rss_pages()
    for _ in range(10):
        round_trip()
    assert rss_pages() - before < 500


def test_frame_chain_through_c_calls(kind):
    kept = []

    def inner():
        kept.append(sys._getframe())
        return leave()

    def body():
        return sorted([1], key=lambda _: inner())

    g = kind(body)
    g.switch()
    expected = ["leave", "inner", "<lambda>", "body"]
    top = g.gr_frame
    assert names(top) == expected
    assert names(kept[0]) == expected[1:]
    g.switch(5)
    assert g.dead and g.gr_frame is None
    assert names(top) == expected  # it outlives its greenlet


def test_frames_of_the_parent_seen_from_a_child(kind):
    seen = []

    def child(frame):
        seen.append(names(frame))
        seen.append(names(getcurrent().parent.gr_frame))

    def start(_):
        return kind(child).switch(sys._getframe())

    sorted([1], key=start)
    me = "test_frames_of_the_parent_seen_from_a_child"
    assert all(chain[:2] == ["start", me] for chain in seen)


def test_slices_overlap_and_frames_stay_readable():
    """Slices started at different depths overwrite each other's stack."""

    def recurse(n):
        return sorted([n], key=lambda n: recurse(n - 1)) if n else leave()

    many = []
    for depth in (1, 9, 3, 7, 5):
        many.append(Slice(recurse))
        many[-1].switch(depth)
        for g in many:
            gc.collect()
            chain = names(g.gr_frame)
            assert chain[0] == "leave" and set(chain[1:]) == {
                "recurse", "<lambda>"
            }
    for g in random.Random(1).sample(many, len(many)):
        g.switch(0)
        assert g.dead


# --- depth -------------------------------------------------------------------


def test_depth_survives_a_new_limit(kind):
    def recurse(n):
        return leave() if n == 0 else recurse(n - 1)

    g = kind(recurse)
    g.switch(300)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(500)
    try:
        assert g.switch("end") == "end"
    finally:
        sys.setrecursionlimit(limit)


def test_endless_starts_end_in_recursion_error(kind):
    count = 0

    def body():
        nonlocal count
        count += 1
        return kind(body).switch()

    with pytest.raises(RecursionError):
        kind(body).switch()
    assert 50 < count < sys.getrecursionlimit()


DEEP = {
    "python": "def r(n): return r(n + 1)\nr(0)",
    "sorted": "def r(n): return sorted([n], key=r)\nr(0)",
    "repr": "repr(nest(lambda x: [x]))",
    "eq": "nest(lambda x: [x]) == nest(lambda x: [x])",
    "json": "import json; json.dumps(nest(lambda x: [x]))",
    "loads": "import json; json.loads('[' * 100000 + ']' * 100000)",
    "pickle": "import pickle; pickle.dumps(nest(lambda x: [x]))",
    "parser": "compile('(' * 5000 + ')' * 5000, '', 'eval')",
    "lambda": "compile('lambda x:' * 3000 + '1', '', 'eval')",
    "getattr": "class A:\n"
    "    def __getattr__(s, n): return getattr(s, n + 'x')\nA().x",
    "dealloc": "x = nest(lambda x: (x,)); del x",
}


@pytest.mark.parametrize("policy", ["dedicated", "slice"])
@pytest.mark.parametrize("what", DEEP)
def test_deep_recursion_is_an_error_not_a_crash(what, policy):
    child = f"""
        from coir._core import greenlet
        def nest(f):
            x = ()
            for _ in range(100000):
                x = f(x)
            return x
        def body():
            try:
                exec({DEEP[what]!r}, {{"nest": nest}})
            except (RecursionError, MemoryError, SyntaxError):
                pass
            return sorted([2, 1], key=lambda n: n) == [1, 2]
        assert greenlet(body).switch()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(child)],
                          env=dict(os.environ, COIR_STACK=policy),
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (done.returncode, done.stderr[-1000:])


def test_deep_deallocation(kind):
    def body():
        nested = None
        for _ in range(100000):
            nested = (nested,)
        del nested
        return "end"

    assert kind(body).switch() == "end"


# --- exceptions and context --------------------------------------------------


def test_handled_exceptions_stay_with_their_greenlet(kind):
    def body(n):
        try:
            raise ValueError(n)
        except ValueError as error:
            leave()
            assert sys.exc_info()[1] is error
            try:
                raise KeyError
            except KeyError:
                leave()
                assert sys.exc_info()[1].__context__ is error
        assert sys.exc_info() == (None, None, None)

    one, two = kind(body), kind(body)
    try:
        raise TypeError
    except TypeError as mine:
        for _ in range(3):
            one.switch(1)
            two.switch(2)
            assert sys.exc_info()[1] is mine
    assert sys.exc_info() == (None, None, None)
    assert one.dead and two.dead


def test_generator_driven_by_two_greenlets(kind):
    def numbers():
        try:
            raise ValueError
        except ValueError as error:
            for i in range(20):
                assert sys.exc_info()[1] is error
                yield i

    shared, got = numbers(), []

    def body():
        for _ in range(10):
            got.append(next(shared))
            assert sys.exc_info() == (None, None, None)
            leave()

    one, two = kind(body), kind(body)
    for _ in range(11):
        one.switch()
        two.switch()
    assert got == list(range(20)) and one.dead and two.dead


def test_context_variables(kind):
    var = contextvars.ContextVar("var", default="none")
    var.set("main")

    def body(value):
        assert var.get() == "none"
        var.set(value)
        leave()
        assert var.get() == value
        leave()
        return var.get()

    one, two = kind(body), kind(body)
    for value in (1, None):
        one.switch(value or 1)
        two.switch(value or 2)
        assert var.get() == "main"
    other = contextvars.copy_context()
    other.run(var.set, "other")
    one.gr_context = two.gr_context = other
    assert one.switch() == two.switch() == "other"
    assert var.get() == "main"


def test_tracing_follows_the_thread(kind):
    events = []

    def trace(frame, event, arg):
        if frame.f_code.co_name == "body":
            events.append(event)
        return trace

    def body():
        leave()
        return None

    before, within = kind(body), kind(body)
    before.switch()
    old = sys.gettrace()
    sys.settrace(trace)
    try:
        within.switch()
        before.switch()
        within.switch()
    finally:
        sys.settrace(old)
    assert events.count("call") == 1 and "return" in events
    count = len(events)
    after = kind(body)
    after.switch()
    after.switch()
    assert len(events) == count or old is not None


# --- the collector -----------------------------------------------------------


class Thing:
    def __lt__(self, other):
        return id(self) < id(other)


def things():
    return [Thing() for _ in range(3)]


def in_call(n, go):
    return sorted([Thing(), Thing()], key=lambda _: [go(n), Thing()] and 1)


def in_generator(n, go):
    def generate():
        mine = Thing()
        for thing in things():
            yield [thing, go(n), mine]

    return list(generate())


def in_loops(n, go):
    for _, thing in enumerate(things()):
        for value in {1: Thing()}.values():
            return [thing, go(n), value]


def in_arguments(n, go):
    return (lambda *a, **k: (a, k))(
        Thing(), *things(), x=Thing(), **{"y": go(n)}
    )


def in_handler(n, go):
    try:
        raise ValueError(Thing())
    except ValueError as error:
        try:
            return [error, go(n)]
        finally:
            go(0)


def in_with(n, go):
    @contextlib.contextmanager
    def manager():
        mine = Thing()
        yield [mine, go(n)]
        go(0)

    with manager() as value:
        return {Thing(): value}


def in_methods(n, go):
    class Odd(Thing):
        here = [Thing(), go(n)]

        def __init__(self, *args):
            super().__init__()
            self.kept = args, go(0)

        def __add__(self, other):
            return go(0)

        def __eq__(self, other):
            return go(0) is Thing

        def __hash__(self):
            go(0)
            return 5

        def __del__(self):
            go(-1)

        @property
        def asked(self):
            return go(0)

    one, two = Odd(Thing()), Odd(*things())
    table = {one: Thing(), two: Thing()}
    return [Thing(), one.asked, one + Thing(), table]


def in_closure(n, go):
    outer = Thing()

    def inner(arg):
        nonlocal outer
        outer = [arg, outer, go(n)]
        return outer

    return inner(Thing())


def in_coroutine(n, go):
    async def run(depth):
        mine = Thing()
        return await run(depth - 1) if depth else [mine, go(n)]

    try:
        run(3).send(None)
    except StopIteration as stop:
        return stop.value


def in_comprehension(n, go):
    return {Thing(): [go(n) for thing in things() if thing] for _ in (1, 2)}


SITUATIONS = [
    in_call, in_generator, in_loops, in_arguments, in_handler, in_with,
    in_methods, in_closure, in_coroutine, in_comprehension,
]


def wander(seed):
    """Suspend in nested situations of all kinds."""
    rnd = random.Random(seed)

    def go(n):
        mine = Thing()
        if n > 0:
            return rnd.choice(SITUATIONS)(n - 1, go)
        if n < 0 or rnd.random() < 0.7:
            leave([mine, Thing()])
        return mine

    return go(rnd.randrange(1, 7))


def overcounted():
    """Objects that are visited more often than they have references."""
    gc.collect()
    objects = gc.get_objects()
    # 3.12.1 gives references to what is free there: freed twice, it makes the
    # collector run in a circle.
    asyncio = sys.modules.get("_asyncio")
    visits = collections.Counter(
        id(target)
        for source in objects
        if source is not objects and source is not asyncio
        for target in gc.get_referents(source)
    )
    word = ctypes.c_uint32 if sys.version_info >= (3, 14) else ctypes.c_ssize_t
    wrong = []
    for thing in objects:
        count = word.from_address(id(thing)).value
        if count < 1 << 29 and visits[id(thing)] > count - 1:
            wrong.append((type(thing), visits[id(thing)], count))
    return wrong


def test_every_visit_is_a_reference(kind):
    """One visit too many, and the collector frees what is in use."""
    rnd = random.Random(5)
    for _ in range(3):
        many = [kind(wander) for _ in range(25)]
        for g in many:
            g.switch(rnd.randrange(1 << 30))
        for _ in range(3):
            assert overcounted() == []
            for g in many:
                if rnd.random() < 0.5:
                    g.switch()
        while not all(g.dead for g in many):
            for g in many:
                g.switch()


def test_suspended_greenlet_in_a_cycle_is_collected(kind):
    log = []

    def body():
        mine = Thing()
        mine.owner, mine.list = getcurrent(), [mine]
        log.append(weakref.ref(mine))
        try:
            sorted([1], key=lambda _: [leave()])
        finally:
            log.append("unwound")

    g = kind(body)
    g.switch()
    del g
    gc.collect()
    gc.collect()
    assert log[1:] == ["unwound"] and log[0]() is None
