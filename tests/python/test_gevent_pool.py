"""coir.gevent.pool: what gevent's own tests leave out."""

import gc
import weakref

import pytest
from coir import gevent
from coir.gevent.event import Event
from coir.gevent.greenlet import Greenlet
from coir.gevent.hub import get_hub
from coir.gevent.pool import Group, Pool, PoolFull


def nothing(*args):
    return args


def forever():
    get_hub().switch()


def run_others():
    for _ in range(5):
        gevent.sleep(0)


def test_map_in_the_order_of_the_items():
    for pool in Group(), Pool(1), Pool(3), Pool(None):
        assert pool.map(lambda x: x * x, range(20)) == [
            x * x for x in range(20)
        ]
        assert len(pool) == 0
        assert pool.join()


def test_a_pool_is_never_larger_than_its_size():
    pool = Pool(3)
    most = []

    def work(_):
        most.append(len(pool))
        gevent.sleep(0)

    pool.map(work, range(20))
    assert max(most) == 3
    assert pool.free_count() == pool._semaphore.counter == 3


def test_full_pool():
    pool = Pool(1)
    g = pool.spawn(forever)
    assert pool.full() and g in pool and list(pool) == [g]
    other = Greenlet(nothing)
    with pytest.raises(PoolFull):
        pool.add(other, blocking=False)
    with pytest.raises(PoolFull):
        pool.start(other, timeout=0.001)
    with pytest.raises(PoolFull):
        pool.add(greenlet=other, blocking=True, timeout=0)
    assert pool.wait_available(timeout=0) == 0
    assert other not in pool and other.has_links() == 0
    pool.kill()
    assert pool.wait_available() == 1
    with pytest.raises(TypeError):
        Group().add(other, False)
    with pytest.raises(TypeError):
        Group().add()
    with pytest.raises(ValueError, match="negative"):
        Pool(-1)


def test_who_waits_for_room_may_be_killed():
    pool = Pool(1)
    g = pool.spawn(forever)
    spawner = gevent.spawn(pool.spawn, nothing)
    run_others()
    spawner.kill()
    g.kill()
    assert pool._semaphore.counter == 1 and not pool


def test_discarding_twice_makes_room_once():
    pool = Pool(1)
    g = pool.spawn(forever)
    pool.discard(g)
    pool.discard(g)
    assert pool._semaphore.counter == 1
    assert g.has_links() == 0
    g.kill()
    run_others()
    assert pool._semaphore.counter == 1


def test_adding_twice_takes_room_once():
    pool = Pool(2)
    g = gevent.spawn(forever)
    pool.add(g)
    pool.add(g)
    assert pool._semaphore.counter == 1
    g.kill()
    run_others()
    assert pool._semaphore.counter == 2 and not pool


def test_adding_one_that_has_ended():
    g = gevent.spawn(nothing)
    g.join()
    pool = Pool(1)
    pool.add(g)
    run_others()
    assert not pool and pool._semaphore.counter == 1
    group = Group([g, gevent.spawn(nothing)])
    assert group.join()
    assert not group


def test_what_cannot_be_added_takes_no_room():
    class Bad:
        def rawlink(self, callback):
            raise KeyError

    pool = Pool(1)
    with pytest.raises(KeyError):
        pool.add(Bad())
    with pytest.raises(TypeError):
        pool.add([])  # no hash
    assert pool._semaphore.counter == 1 and not pool
    assert pool.join(timeout=0)


def test_plain_greenlets_may_be_members():
    group = Group()
    g = gevent.spawn_raw(forever)
    group.add(g)
    run_others()
    group.discard(g)
    assert not group
    gevent.kill(g)
    run_others()
    assert g.dead


def test_a_link_of_somebody_else_does_not_keep_one_in_the_pool():
    log = []
    pool = Pool(1)
    g = pool.spawn(nothing)
    g.rawlink(log.append)
    g.join()
    run_others()
    assert log == [g] and not pool


def test_a_subclass_may_override_the_parts():
    calls = []

    class Mine(Pool):
        def add(self, *args, **kwargs):
            calls.append("add")
            super().add(*args, **kwargs)

        def start(self, *args, **kwargs):
            calls.append("start")
            super().start(*args, **kwargs)

        def _discard(self, greenlet):
            calls.append("discard")
            super()._discard(greenlet)

    pool = Mine(1)
    assert pool.spawn(nothing, 1).get() == (1,)
    run_others()
    assert calls == ["start", "add", "discard"]
    assert pool._semaphore.counter == 1

    plain = Pool(1)
    plain._discard = lambda g: calls.append("mine")
    g = plain.spawn(nothing)
    g.join()
    run_others()
    assert calls[3:] == ["mine"] and g in plain


def test_a_class_may_be_changed_later():
    class Mine(Group):
        pass

    group = Mine()
    group.spawn(nothing).join()
    calls = []
    Mine.start = lambda self, g: calls.append(g)
    g = group.spawn(nothing)
    assert calls == [g] and g not in group


def test_greenlet_class():
    class Mine(Greenlet):
        pass

    assert type(Pool(1, Mine).spawn(nothing)) is Mine
    group = Group()
    group.greenlet_class = Mine
    assert type(group.spawn(nothing)) is Mine
    assert type(Group().spawn(nothing)) is Greenlet
    run_others()


def test_apply_within_the_pool_does_not_wait_for_room():
    pool = Pool(1)
    assert pool.apply(lambda: pool.apply(nothing, (2,))) == (2,)
    log = []
    assert pool.apply_cb(nothing, (1,), callback=log.append) == (1,)
    pool.spawn(forever)
    g = pool.apply_async(nothing, (3,), callback=log.append)
    assert g not in pool
    pool.kill()
    assert g.get() == (3,)
    run_others()
    assert log == [(1,), (3,)]
    assert pool.map_async(str, [1], callback=log.append).get() == ["1"]
    assert log[2:] == [["1"]]


def test_kill_with_a_timeout_leaves_who_does_not_end():
    def undead():
        while True:
            try:
                get_hub().switch()
            except gevent.GreenletExit:
                pass
            except KeyError:
                return

    group = Group()
    g = group.spawn(undead)
    run_others()
    group.kill(timeout=0.001)
    assert g in group and g in group.dying
    group.killone(g, KeyError)  # not again
    assert g in group
    g.kill(KeyError)
    run_others()
    assert not group and not group.dying


def test_an_error_comes_out_of_map_and_join():
    hub = get_hub()
    hub.handle_error = lambda *args: None
    try:
        pool = Pool(2)
        with pytest.raises(ZeroDivisionError):
            pool.map(lambda x: 1 / x, [2, 1, 0, 3])
        pool.join()
        g = pool.spawn(lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pool.join(raise_error=True)
        assert g.exception is not None
        it = pool.imap(lambda x: 1 / x, [1, 0, 2])
        assert next(it) == 1
        with pytest.raises(ZeroDivisionError):
            next(it)
        assert next(it) == 0.5
        with pytest.raises(StopIteration):
            next(it)
    finally:
        del hub.handle_error


def test_join_wakes_all_who_join():
    group = Group()
    go = Event()
    for _ in range(3):
        group.spawn(go.wait)
    joiners = [gevent.spawn(group.join) for _ in range(3)]
    run_others()
    assert not any(g.ready() for g in joiners)
    go.set()
    gevent.joinall(joiners)
    assert not group and all(g.value for g in joiners)
    assert group.join(timeout=0)


def test_groups_are_collected():
    pool = Pool(2)
    pool.attribute = pool
    ref = weakref.ref(pool)
    g = pool.spawn(forever)
    pool.spawn(nothing)
    run_others()
    del pool
    gc.collect()
    assert ref() is not None  # it will have to know of the end of g
    g.kill()
    run_others()
    gc.collect()
    assert ref() is None


@pytest.mark.parametrize("make", [Group, lambda: Pool(2)])
def test_memory_stays_flat(make):
    def some():
        make().map(nothing, range(10))
        group = make()
        group.spawn(nothing)
        group.discard(group.spawn(nothing))
        run_others()

    some()
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(200):
        some()
    gc.collect()
    assert len(gc.get_objects()) - before < 50


def test_imap_runs_one_more_while_its_reader_waits():
    for name in "imap", "imap_unordered":
        most = running = 0

        def task(item):
            nonlocal most, running
            running += 1
            most = max(most, running)
            gevent.sleep(0)
            running -= 1
            return item

        results = getattr(Pool(5), name)(task, range(9), maxsize=1)
        run_others()
        assert most == 1
        assert sorted(results) == list(range(9))
        assert most == 2


def test_imap_makes_room_once_for_a_reader_that_was_interrupted():
    go = Event()
    started = []

    def task(item):
        started.append(item)
        go.wait()
        return item

    results = Pool(9).imap(task, range(9), maxsize=1)
    for _ in range(3):
        with gevent.Timeout(0.001, False):
            next(results)
    assert started == [0, 1]
    go.set()
    assert list(results) == list(range(9))
