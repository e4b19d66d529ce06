"""coir.gevent.local: what belongs to a greenlet, and how long it lives."""

import copy
import gc
import threading
import weakref

import pytest
from coir._core import all_local_dicts_for_greenlet
from coir.gevent.local import local
from coir.greenlet import getcurrent, greenlet


class Thing:
    pass


def run(func):
    return greenlet(func).switch()


def test_each_greenlet_has_its_own():
    x = local()
    x.value = 1

    def other():
        assert not hasattr(x, "value")
        assert x.__dict__ == {}
        x.value = 2
        getcurrent().parent.switch()
        return x.value

    g = greenlet(other)
    g.switch()
    assert x.value == 1
    x.value = 3
    assert g.switch() == 2
    assert x.value == 3
    assert x.__dict__ == {"value": 3}
    del x.value
    with pytest.raises(AttributeError):
        _ = x.value


def test_each_thread_has_its_own():
    x = local()
    x.value = 1
    seen = []

    def body():
        seen.append(hasattr(x, "value"))
        x.value = 2
        seen.append(run(lambda: hasattr(x, "value")))

    t = threading.Thread(target=body)
    t.start()
    t.join()
    assert seen == [False, False]
    assert x.value == 1


def test_init_runs_in_each_greenlet_that_uses_it():
    calls = []

    class Sub(local):
        number = 2

        def __init__(self, *args, **kwargs):
            calls.append((args, kwargs, getcurrent()))
            self.__dict__.update(kwargs)

    x = Sub(1, color="red")
    assert x.color == "red"
    g = greenlet(lambda: (x.color, x.number))
    assert g.switch() == ("red", 2)
    assert calls == [
        ((1,), {"color": "red"}, getcurrent()),
        ((1,), {"color": "red"}, g),
    ]


def test_init_that_fails_is_tried_again():
    class Sub(local):
        def __init__(self):
            self.a = 1
            if fails:
                raise ZeroDivisionError

    fails = False
    x = Sub()

    def other():
        nonlocal fails
        fails = True
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                _ = x.a
        fails = False
        assert all_local_dicts_for_greenlet(getcurrent()) == []
        return x.a

    assert run(other) == 1


def test_init_may_switch():
    class Sub(local):
        def __init__(self):
            if getcurrent() is not main:
                main.switch("in init")
            self.a = getcurrent()

    main = getcurrent()
    x = Sub()
    one, two = greenlet(lambda: x.a), greenlet(lambda: x.a)
    assert one.switch() == two.switch() == "in init"
    assert one.switch() is one
    assert two.switch() is two
    assert x.a is main


def test_arguments_need_an_init():
    with pytest.raises(TypeError, match="Initialization arguments"):
        local(1)
    with pytest.raises(TypeError, match="Initialization arguments"):
        local(a=1)


def test_dict_cannot_be_replaced():
    x = local()
    with pytest.raises(AttributeError, match="local.*read-only"):
        x.__dict__ = {}
    with pytest.raises(AttributeError, match="read-only"):
        del x.__dict__


def test_dict_cannot_be_replaced_under_a_name_that_is_no_string():
    class Name:
        def __init__(self, same):
            self.same = same

        def __eq__(self, other):
            if self.same is None:
                raise LookupError
            return self.same

    x = local()
    with pytest.raises(AttributeError, match="read-only"):
        x.__setattr__(Name(True), 2)
    with pytest.raises(TypeError):
        x.__setattr__(Name(False), 2)
    with pytest.raises(LookupError):
        x.__delattr__(Name(None))
    assert x.__dict__ == {}


def test_slots_are_shared():
    class Sub(local):
        __slots__ = ("slot",)

    x = Sub()
    x.slot = 1
    x.other = 1

    def other():
        x.slot += 1
        return hasattr(x, "other")

    assert run(other) is False
    assert x.slot == 2
    assert x.__dict__ == {"other": 1}


def test_copy_has_the_same_attributes_here():
    class Sub(local):
        def __init__(self, start):
            self.start = start

    x = Sub([1])
    x.more = 2
    y = copy.copy(x)
    assert type(y) is Sub
    assert y.__dict__ == {"start": [1], "more": 2}
    assert y.start is x.start
    y.more = 3
    assert x.more == 2
    assert run(lambda: y.__dict__) == {"start": [1]}


def test_values_go_with_the_greenlet_even_if_it_is_still_known():
    x = local()

    def other():
        x.thing = thing = Thing()
        return weakref.ref(thing)

    g = greenlet(other)
    ref = g.switch()
    assert g.dead
    assert ref() is None
    assert all_local_dicts_for_greenlet(g) == []


def test_values_go_with_the_local_while_the_greenlet_runs():
    for _ in range(3):
        x = local()
        x.thing = thing = Thing()
        ref = weakref.ref(thing)
        del thing, x
        assert ref() is None


def test_values_go_with_the_thread():
    x = local()
    refs = []

    def body():
        x.thing = thing = Thing()
        refs.append(weakref.ref(thing))

    t = threading.Thread(target=body)
    t.start()
    t.join()
    del t
    assert refs[0]() is None


def test_values_of_a_killed_greenlet_go():
    x = local()

    def other():
        x.thing = thing = Thing()
        refs.append(weakref.ref(thing))
        del thing
        getcurrent().parent.switch()

    refs = []
    g = greenlet(other)
    g.switch()
    assert refs[0]() is not None
    del g
    assert refs[0]() is None


def test_a_cycle_through_a_local_is_found():
    x = local()
    x.me = x
    x.thing = Thing()
    ref = weakref.ref(x.thing)
    del x
    gc.collect()
    assert ref() is None


def test_destructor_uses_the_local_that_is_going():
    class Late:
        def __del__(self):
            x.late = Late2()
            names.append(sorted(x.__dict__))

    class Late2:
        def __del__(self):
            names.append("late")

    names = []
    x = local()

    def other():
        x.thing = Late()

    g = greenlet(other)
    g.switch()
    assert names == [["late"]]
    del g
    assert names == [["late"], "late"]
    assert x.__dict__ == {}


def test_many_greenlets_and_many_locals():
    x = local()
    greenlets = []

    def body(n):
        x.n = n
        mine = [local() for _ in range(3)]
        for i, one in enumerate(mine):
            one.n = n + i
        getcurrent().parent.switch()
        assert x.n == n
        assert [one.n for one in mine] == [n, n + 1, n + 2]

    for n in range(2000):
        g = greenlet(body)
        g.switch(n)
        greenlets.append(g)
    for g in greenlets[::2]:
        g.switch()
        assert g.dead
    for g in greenlets[1::2]:
        g.switch()
        assert g.dead
    assert x.__dict__ == {}


def test_getattr_and_property_and_bases():
    class Base:
        tag = "base"

    class Sub(Base, local):
        def __getattr__(self, name):
            if name == "missing":
                return 42
            raise AttributeError(name)

        @property
        def me(self):
            return self

    x = Sub()
    assert x.missing == 42
    assert x.me is x
    assert x.tag == "base"
    x.tag = "mine"
    assert x.tag == "mine"
    assert run(lambda: x.tag) == "base"
    with pytest.raises(AttributeError):
        _ = x.other


def test_weak_references_and_repr():
    x = local()
    ref = weakref.ref(x)
    assert repr(x).startswith("<coir.gevent.local.local object at ")
    del x
    assert ref() is None
