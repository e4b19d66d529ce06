"""coir.gevent's Greenlet: what gevent's own tests leave out."""

import contextvars
import gc
import sys
import threading
import traceback
import weakref

import pytest
from coir import gevent
from coir._core import (
    getcurrent,
    greenlet,
    queued_greenlets,
    set_copy_context,
    set_track_greenlet_tree,
)
from coir.gevent.greenlet import Greenlet, joinall, killall
from coir.gevent.hub import get_hub


def nothing():
    pass


@pytest.fixture
def errors():
    """What greenlets report, as (context, exception)."""
    hub = get_hub()
    found = []
    hub.handle_error = lambda context, t, v, tb: found.append((context, v))
    yield found
    del hub.handle_error


def run_others():
    """Let all that is ready run, and what that makes ready."""
    for _ in range(5):
        gevent.sleep(0)


def parked(log=None):
    """A function that waits until it is killed."""

    def body():
        try:
            get_hub().switch()
        except BaseException as exc:
            if log is not None:
                log.append(type(exc))
            raise

    return body


# --- starting ----------------------------------------------------------------


def test_arguments_are_given_and_then_dropped():
    g = gevent.spawn(lambda *a, **k: (a, k), 1, 2, three=3)
    assert g.args == (1, 2)
    assert g.kwargs == {"three": 3}
    assert g.get() == ((1, 2), {"three": 3})
    assert g.args == ()
    assert g.kwargs == {}


def test_what_is_given_by_name_may_be_replaced_before_the_start():
    g = Greenlet(dict, a=1)
    g.kwargs["b"] = 2
    g.start()
    assert g.get() == {"a": 1, "b": 2}
    g = Greenlet(dict)
    g.kwargs["c"] = 3
    assert "c=3" in repr(g)
    g.kwargs = {"d": 4}
    g.start()
    assert g.get() == {"d": 4}
    assert g.kwargs == {}


def test_one_that_is_given_itself_by_name_is_garbage():
    g = Greenlet(nothing)
    g.kwargs["g"] = g
    ref = weakref.ref(g)
    del g
    gc.collect()
    assert ref() is None


def test_spawning_with_names_when_there_is_no_memory():
    testcapi = pytest.importorskip("_testcapi")

    def attempt():
        gevent.spawn(dict, a=1).join()
        assert Greenlet(nothing).kwargs == {}

    attempt()
    fails = 0
    for start in range(1, 60):
        try:
            testcapi.set_nomemory(start, start + 1)
            attempt()
        except MemoryError:
            fails += 1
        finally:
            testcapi.remove_mem_hooks()
    run_others()
    assert fails > 0
    assert gevent.spawn(dict, a=1).get() == {"a": 1}


def test_run_may_be_a_keyword():
    assert gevent.spawn(run=lambda x: x, x=5).get() == 5
    with pytest.raises(TypeError):
        gevent.spawn(nothing, run=nothing)


def test_greenlets_run_in_the_order_of_their_start():
    log = []
    gs = [Greenlet(log.append, i) for i in range(5)]
    for g in reversed(gs):
        g.start()
    get_hub().loop.run_callback(log.append, "callback")
    gevent.spawn(log.append, "last")
    joinall(gs)
    run_others()
    assert log == [4, 3, 2, 1, 0, "callback", "last"]


def test_a_subclass_may_override_run_and__run():
    class ByUnderscore(Greenlet):
        def _run(self, x):
            return self.factor * x

    class ByName(Greenlet):
        def run(self):
            self.ran = True

    g = ByUnderscore(None, 4)
    g.factor = 3
    g.start()
    assert g.get() == 12
    assert ByUnderscore.spawn(lambda: "given goes first").get() == (
        "given goes first"
    )
    h = ByName()
    h.start()
    run_others()
    assert h.ran


def test_run_may_be_called_by_hand_and_by_an_override():
    g = Greenlet(nothing_of, 1)
    g.rawlink(lambda g: None)
    g.run()
    g.start()
    assert g.ready() and g.successful()
    run_others()

    class Wrapped(Greenlet):
        def run(self):
            self.before = getcurrent() is self
            super().run()
            self.after = self.ready()

    thing = Thing()
    ref = weakref.ref(thing)
    h = Wrapped.spawn(lambda x: x, thing)
    assert h.get() is thing
    run_others()
    assert h.before and h.after and h.dead
    del h, thing
    gc.collect()
    assert ref() is None


def test_kill_from_another_thread_and_of_oneself():
    log = []
    g = gevent.spawn(parked(log))
    run_others()
    thread = threading.Thread(target=g.kill)
    thread.start()
    g.join(timeout=10)
    thread.join()
    assert log == [gevent.GreenletExit] and g.successful()
    h = gevent.spawn(lambda: getcurrent().kill())
    h.join()
    assert isinstance(h.value, gevent.GreenletExit)


def test_a_subclass_may_override_start():
    class Counting(Greenlet):
        starts = 0

        def start(self):
            self.starts += 1
            super().start()

    g = Counting.spawn(nothing)
    g.join()
    assert g.starts == 1


def test_switching_to_one_that_is_queued_starts_it_once():
    log = []
    # In the hub: any other would not be switched back to.
    get_hub().loop.run_callback(lambda: g.switch())
    g = gevent.spawn(log.append, 1)
    run_others()
    assert log == [1]
    assert g.ready() and g.value is None


def test_start_from_another_thread_runs_it_in_its_own():
    g = Greenlet(threading.get_ident)
    thread = threading.Thread(target=g.start)
    thread.start()
    assert g.get(timeout=10) == threading.get_ident()
    thread.join()


def test_another_thread_can_join_one():
    release = []

    def wait_for_it():
        while not release:
            gevent.sleep(0.001)
        return 7

    g = gevent.spawn(wait_for_it)
    results = []
    begun = threading.Event()

    def other():
        begun.set()
        results.append(g.get(timeout=10))

    thread = threading.Thread(target=other)
    thread.start()
    begun.wait()
    release.append(True)
    g.join()
    thread.join()
    assert results == [7]


def test_attributes_of_before_and_after():
    g = Greenlet(nothing)
    assert not g and not g.started and not g.dead and not g.ready()
    g.start()
    assert g and g.started and not g.dead
    g.join()
    assert not g and g.dead and g.ready() and g.successful()
    assert g.exc_info is None
    g.name = "renamed"
    assert '"renamed"' in repr(g)
    assert g.name == vars(g)["name"] == "renamed"


def test_the_running_one_is_not_dead():
    seen = []
    g = gevent.spawn(lambda: seen.append((g.dead, g.ready(), bool(g))))
    g.join()
    assert seen == [(False, False, True)]


# --- errors ------------------------------------------------------------------


def test_an_error_is_reported_once_and_raised_by_each_get(errors):
    def fail():
        raise ValueError("as it should")

    g = gevent.spawn(fail)
    depths = []
    for _ in range(3):
        with pytest.raises(ValueError) as caught:
            g.get()
        assert caught.value is g.exception
        depths.append(len(traceback.extract_tb(caught.value.__traceback__)))
    assert len(set(depths)) == 1  # no longer each time
    assert errors == [(g, g.exception)]
    assert g.exc_info[:2] == (ValueError, g.exception)


def test_report_error_of_a_subclass_is_called(errors):
    class Silent(Greenlet):
        def _report_error(self, exc_info):
            self.info = exc_info

    g = Silent.spawn(lambda: 1 / 0)
    run_others()
    assert g.info[0] is ZeroDivisionError
    assert errors == []


def test_handle_error_that_fails_reaches_the_loop(capfd):
    hub = get_hub()
    calls = []

    def handle_error(context, t, v, tb):
        calls.append(t)
        if t is ZeroDivisionError:
            raise KeyError("from the handler")

    hub.handle_error = handle_error
    try:
        g = gevent.spawn(lambda: 1 / 0)
        g.join()
        run_others()
    finally:
        del hub.handle_error
    assert calls == [ZeroDivisionError, KeyError]


def test_a_link_that_fails_is_reported_and_the_others_called(errors):
    log = []
    g = gevent.spawn(nothing)
    g.rawlink(log.append)
    g.rawlink(lambda _: 1 / 0)
    g.rawlink(log.append)
    run_others()
    assert log == [g, g]
    assert [type(e) for _, e in errors] == [ZeroDivisionError]
    assert errors[0][0][1] is g


# --- joining, killing --------------------------------------------------------


def test_who_joins_may_be_killed():
    g = gevent.spawn(parked())
    joiner = gevent.spawn(g.join)
    run_others()
    assert g.has_links() == 1
    joiner.kill()
    assert g.has_links() == 0
    g.kill()
    assert isinstance(g.value, gevent.GreenletExit)


def test_who_was_woken_may_be_killed_before_it_runs():
    g = gevent.spawn(parked())
    log = []

    def join():
        try:
            g.join()
        finally:
            log.append("left")

    joiners = [gevent.spawn(join) for _ in range(3)]
    run_others()

    def in_hub():
        g.throw()  # from here on they are ready, but do not run
        joiners[1].throw()

    get_hub().loop.run_callback(in_hub)
    joinall(joiners)
    assert log == ["left"] * 3


def test_who_is_switched_to_while_it_joins_gets_an_error(errors):
    from coir.gevent.exceptions import InvalidSwitchError

    g = gevent.spawn(parked())
    joiner = gevent.spawn(g.join)
    run_others()
    get_hub().loop.run_callback(joiner.switch, "surprise")
    run_others()
    assert type(joiner.exception) is InvalidSwitchError
    g.kill()


def test_kill_waits_until_it_has_ended_and_no_longer():
    log = []

    def stubborn():
        try:
            get_hub().switch()
        except gevent.GreenletExit:
            gevent.sleep(0)
            log.append("cleaned up")

    g = gevent.spawn(stubborn)
    run_others()
    g.kill()
    assert log == ["cleaned up"]
    assert g.value is None

    def undead():
        while True:
            try:
                get_hub().switch()
            except gevent.GreenletExit:
                log.append("no")
            except KeyError:
                return "at last"

    g = gevent.spawn(undead)
    run_others()
    g.kill(timeout=0)
    assert not g.ready() and log[1:] == ["no"]
    g.kill(KeyError, timeout=None)
    assert g.value == "at last"


def test_the_killer_has_the_next_turn():
    # It replaces what it kills before others see who is there.
    log = []

    def kill(greenlet):
        greenlet.kill()
        log.append("killed")

    def other():
        for i in range(3):
            gevent.sleep(0)
            log.append(i)

    victim = gevent.spawn(parked())
    gevent.sleep(0)
    victim.link(lambda _: log.append("link"))
    joinall([gevent.spawn(kill, victim), gevent.spawn(other)], timeout=30)
    assert log == ["killed", 0, "link", 1, 2]


def test_the_killer_may_be_killed():
    log = []
    victim = gevent.spawn(parked(log))
    run_others()
    killer = gevent.spawn(victim.kill)
    # Its turn, then the hub's to throw: in between it waits.
    get_hub().loop.run_callback(killer.throw)
    run_others()
    assert killer.ready()
    assert log == [gevent.GreenletExit]
    assert victim.ready()


def test_killed_before_it_ran_by_an_error(errors):
    log = []
    g = gevent.spawn(nothing)
    g.rawlink(log.append)
    joiner = gevent.spawn(g.get)
    g.kill(ValueError)
    assert g.dead and type(g.exception) is ValueError
    run_others()
    assert log == [g]
    assert type(joiner.exception) is ValueError
    assert g.has_links() == 0


def test_base_throw_into_one_that_is_queued_ends_it():
    g = gevent.spawn(nothing)
    seen = []
    g.rawlink(seen.append)
    # Behind its back; it ends in the hub, as main would be left to.
    get_hub().loop.run_callback(greenlet.throw, g)
    get_hub().loop.run_callback(lambda: None)
    g.join(timeout=10)
    run_others()
    assert g.dead and seen == [g]


def test_killall_of_new_ones_running_ones_and_plain_ones():
    log = []
    running = [gevent.spawn(parked(log)) for _ in range(3)]
    plain = gevent.spawn_raw(parked(log))
    run_others()
    new = [gevent.spawn(log.append, "never") for _ in range(3)]
    killall([*new, *running, plain])
    assert log == [gevent.GreenletExit] * 4
    assert plain.dead
    assert all(g.dead and g.successful() for g in new + running)


def test_with_block_joins_or_kills():
    with gevent.spawn(lambda: 5) as g:
        assert not g.ready()
    assert g.value == 5
    log = []
    with pytest.raises(KeyError), gevent.spawn(parked(log)) as g:
        gevent.sleep(0)
        raise KeyError
    assert log == [KeyError]
    assert type(g.exception) is KeyError


def test_get_without_waiting_and_with_a_timeout():
    g = gevent.spawn(parked())
    with pytest.raises(gevent.Timeout):
        g.get(block=False)
    with pytest.raises(gevent.Timeout) as caught:
        g.get(timeout=0.001)
    assert caught.value.seconds == 0.001
    assert g.join(timeout=0) is None
    own = gevent.Timeout(0.001)
    assert g.join(timeout=own) is None  # as gevent: it is not raised
    other = gevent.Timeout(0.001)
    with pytest.raises(gevent.Timeout) as caught:
        g.get(timeout=other)
    assert caught.value is other
    with pytest.raises(TypeError):
        g.join(timeout="soon")
    g.kill()


# --- iwait -------------------------------------------------------------------


def test_wait_returns_in_the_order_of_the_ends():
    order = []
    a = gevent.spawn(lambda: (run_others(), order.append("a")))
    b = gevent.spawn(order.append, "b")
    c = gevent.spawn(nothing)
    c.join()
    assert gevent.wait([a, c, b]) == [c, b, a]
    assert order == ["b", "a"]
    assert gevent.wait([a, b, c], count=1) == [a]
    assert gevent.wait([], timeout=5) == []


def test_iwait_in_a_with_block_leaves_nothing_behind():
    done = gevent.spawn(nothing)
    waits = gevent.spawn(parked())
    with gevent.iwait([waits, done, waits]) as it:
        assert next(it) is done
        assert waits.has_links() == 2
    assert waits.has_links() == 0
    with pytest.raises(StopIteration):
        next(it)
    assert list(gevent.iwait([waits, done], timeout=0.001)) == [done]
    assert waits.has_links() == 0
    waits.kill()


def test_iwait_is_left_by_an_exception():
    waits = gevent.spawn(parked())
    other = gevent.spawn(gevent.wait, [waits])
    run_others()
    assert waits.has_links() == 1
    other.kill()
    assert waits.has_links() == 0
    waits.kill()


def test_what_is_waited_for_twice_is_given_twice():
    g = gevent.spawn(nothing)
    assert gevent.wait([g, g]) == [g, g]


def test_wait_needs_a_length_and_links():
    with pytest.raises(TypeError):
        gevent.wait(g for g in ())
    with pytest.raises(AttributeError):
        gevent.wait([object()])


def test_wait_for_others_than_greenlets():
    class Linkable:
        def __init__(self):
            self.links = []

        def rawlink(self, link):
            self.links.append(link)

        def unlink(self, link):
            self.links.remove(link)

        def tell(self):
            for link in self.links[:]:
                link(self)

    ready, never = Linkable(), Linkable()
    get_hub().loop.run_callback(ready.tell)
    assert gevent.wait([never, ready], count=1) == [ready]
    assert never.links == ready.links == []


# --- the spawn tree ----------------------------------------------------------


def test_spawning_stack_tells_where():
    def spawn_here():
        return gevent.spawn(nothing)

    g = spawn_here()
    line = spawn_here.__code__.co_firstlineno + 1
    frame = g.spawning_stack
    assert frame.f_code is spawn_here.__code__
    assert frame.f_lineno == line
    assert frame.f_back.f_code is sys._getframe().f_code
    assert "spawn_here" in "".join(traceback.format_stack(frame))
    depth = 0
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    assert depth == Greenlet.spawning_stack_limit == 10
    g.join()


def test_spawning_stack_limit_of_a_class():
    class Short(Greenlet):
        spawning_stack_limit = 1

    class None_(Greenlet):
        spawning_stack_limit = 0

    assert Short().spawning_stack.f_back is None
    assert None_().spawning_stack is None


def test_not_tracked():
    set_track_greenlet_tree(False)
    try:
        g = Greenlet(nothing)
    finally:
        set_track_greenlet_tree(True)
    assert g.spawning_greenlet is None
    assert g.spawn_tree_locals is None
    assert g.spawning_stack is None


def test_config_track_greenlet_tree():
    gevent.config.track_greenlet_tree = False
    try:
        assert Greenlet(nothing).spawning_greenlet is None
    finally:
        gevent.config.track_greenlet_tree = True
    assert Greenlet(nothing).spawning_greenlet() is getcurrent()


def test_greenlets_begin_in_an_empty_context():
    var = contextvars.ContextVar("var", default="none")
    token = var.set("spawner's")
    try:
        assert gevent.spawn(var.get).get() == "none"
        set_copy_context(True)
        try:
            g = gevent.spawn(lambda: (var.get(), var.set("its own")))
        finally:
            set_copy_context(False)
        var.set("changed")
        assert g.get()[0] == "spawner's"
        assert var.get() == "changed"
    finally:
        var.reset(token)


def test_spawn_callbacks_may_change_the_set():
    log = []

    def once(g):
        log.append(g)
        Greenlet.remove_spawn_callback(once)

    Greenlet.add_spawn_callback(once)
    g = gevent.spawn(nothing)
    h = gevent.spawn_later(0, nothing)
    joinall([g, h])
    assert log == [g]


# --- memory ------------------------------------------------------------------


class Thing:
    pass


def test_one_that_nobody_knows_is_unwound():
    log = []
    g = gevent.spawn(parked(log))
    ref = weakref.ref(g)
    run_others()
    del g
    gc.collect()
    assert log == [gevent.GreenletExit]
    assert ref() is None


def test_cycles_are_found():
    thing = Thing()
    ref = weakref.ref(thing)

    def keep(thing):
        return getcurrent()

    g = gevent.spawn(keep, thing)
    g.thing = thing
    thing.greenlet = g
    g.join()
    assert g.value is g
    del g, thing
    gc.collect()
    assert ref() is None

    log = []
    g = gevent.spawn(lambda me: parked(log)(), [])
    g.args[0].append(g)
    run_others()
    del g
    gc.collect()
    assert log == [gevent.GreenletExit]


@pytest.mark.skipif(
    sys.version_info < (3, 14),
    reason="the collector cannot see what a frame is about to use",
)
def test_who_waits_for_one_that_is_lost_is_lost_with_it():
    log = []

    def wait(g):
        try:
            g.join()
        except BaseException as exc:
            log.append(type(exc))
            raise

    g = gevent.spawn(parked(log))
    waiting = gevent.spawn(wait, g)
    refs = [weakref.ref(g), weakref.ref(waiting)]
    run_others()
    del waiting
    gc.collect()
    assert log == []
    del g
    gc.collect()
    assert log == [gevent.GreenletExit] * 2
    run_others()
    gc.collect()
    assert [ref() for ref in refs] == [None, None]


def test_the_end_lets_go_of_function_and_arguments():
    thing = Thing()
    ref = weakref.ref(thing)
    g = gevent.spawn(lambda x: None, thing)
    h = gevent.spawn(Thing, thing)
    h.kill()
    g.join()
    del thing
    assert ref() is None
    assert g.ready() and h.ready()


def test_queued_ones_survive_collections():
    refs = []
    for _ in range(100):
        g = gevent.spawn(Thing)
        g.me = g
        refs.append(weakref.ref(g))
    del g
    gc.collect()
    alive = [ref() for ref in refs]
    assert None not in alive
    joinall(alive)
    del alive
    gc.collect()
    assert [ref() for ref in refs] == [None] * 100


def test_queued_ones_are_in_the_tree():
    from coir.gevent.util import GreenletTree

    g = gevent.spawn(nothing)
    g.name = "queued"
    assert '"queued"' in str(GreenletTree.current_tree())
    g.join()
    with pytest.raises(TypeError):
        queued_greenlets(None)
    assert queued_greenlets(get_hub().loop) == []


def test_what_is_queued_when_the_hub_is_destroyed_is_dropped():
    refs = []
    log = []

    def thread():
        started = gevent.spawn(log.append, "started")
        linked = gevent.spawn(nothing)
        linked.rawlink(log.append)
        killed = gevent.spawn(parked(log))
        linked.join()
        gevent.sleep(0)
        log.clear()
        started = gevent.spawn(log.append, "never")
        linked.rawlink(log.append)
        killed.kill(block=False)
        refs.extend(map(weakref.ref, (started, linked, killed)))
        get_hub().destroy(destroy_loop=True)
        assert started.dead and not started.successful()

    t = threading.Thread(target=thread)
    t.start()
    t.join()
    gc.collect()
    assert [ref() for ref in refs] == [None] * 3
    assert "never" not in log


def test_greenlets_of_a_thread_that_ends(monkeypatch):
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    log = []

    def fail():
        try:
            get_hub().switch()
        except gevent.GreenletExit:
            raise KeyError("at the end") from None

    def thread():
        g = gevent.spawn(parked(log))
        g.rawlink(log.append)
        gevent.spawn(g.join)
        h = gevent.spawn(fail)
        h.rawlink(log.append)
        gevent.sleep(0)

    t = threading.Thread(target=thread)
    t.start()
    t.join()
    assert log == [gevent.GreenletExit]
    assert [u.exc_type for u in unraisable] == [KeyError]
    unraisable.clear()


@pytest.mark.parametrize("kind", ["join", "kill", "fail", "link", "iwait"])
def test_memory_stays_flat(kind, errors):
    def one():
        if kind == "join":
            gevent.spawn(nothing).join()
        elif kind == "kill":
            g = gevent.spawn(parked())
            gevent.sleep(0)
            g.kill()
            gevent.spawn(nothing).kill()
        elif kind == "fail":
            gevent.spawn(lambda: 1 / 0).join()
            errors.clear()
        elif kind == "link":
            g = gevent.spawn(nothing)
            g.link(nothing_of)
            g.link_value(nothing_of)
            g.link_exception(nothing_of)
            g.join()
            run_others()
        else:
            gevent.wait([gevent.spawn(nothing) for _ in range(3)])

    for _ in range(100):
        one()
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(1000):
        one()
    gc.collect()
    assert len(gc.get_objects()) - before < 50


def nothing_of(source):
    pass


def test_a_greenlet_that_was_given_no_name_has_none_to_delete():
    g = Greenlet(nothing)
    with pytest.raises(AttributeError):
        del g.name
    g.name = "mine"
    del g.name
    assert g.name.startswith("Greenlet-")


def test_none_is_the_default_of_kill_and_link():
    g = gevent.spawn(gevent.sleep, 10)
    linked = []
    g.link(linked.append, None)
    gevent.sleep(0)
    g.kill(None)
    gevent.sleep(0)
    assert isinstance(g.value, gevent.GreenletExit)
    assert linked == [g]


def test_get_raises_with_what_is_being_handled_as_context():
    g = gevent.spawn(int, "x")
    g.join()
    with pytest.raises(ValueError) as caught:
        try:
            raise KeyError("first")
        except KeyError:
            g.get()
    assert isinstance(caught.value.__context__, KeyError)


def test_a_greenlet_that_cannot_be_printed_fails_alone(capsys):
    class Unprintable(Greenlet):
        def __repr__(self):
            raise RuntimeError("no text")

    g = Unprintable.spawn(int, "x")
    assert g.join() is None
    assert isinstance(g.exception, ValueError)
    text = capsys.readouterr().err
    assert "no text" in text
    assert "Unprintable object at" in text


def test_an_error_of_handle_error_is_handled_as_the_greenlets(monkeypatch):
    handled = []

    def handle_error(context, type, value, tb):
        handled.append((context, type))
        if len(handled) == 1:
            raise KeyError("in the handler")

    monkeypatch.setattr(get_hub(), "handle_error", handle_error, raising=False)
    g = gevent.spawn(int, "x")
    assert g.join() is None
    assert handled == [(g, ValueError), (g, KeyError)]
