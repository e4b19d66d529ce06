"""Methods of classes can be replaced for a while, as tests of programs do it,
where gevent's and eventlet's are classes of Python's own."""

from unittest import mock

import pytest
from coir import eventlet, gevent
from coir.eventlet import event, greenthread, lock, queue, semaphore, timeout
from coir.gevent import pywsgi, thread

CLASSES = [
    (event.Event, "wait"),
    (greenthread.GreenThread, "wait"),
    (lock.Lock, "acquire"),
    (queue.LifoQueue, "get"),
    (queue.LightQueue, "put"),
    (queue.PriorityQueue, "get"),
    (queue.Queue, "qsize"),
    (semaphore.BoundedSemaphore, "release"),
    (semaphore.Semaphore, "acquire"),
    (timeout.Timeout, "cancel"),
    (gevent.Timeout, "start"),
    (pywsgi.Input, "read"),
    (thread.LockType, "acquire"),
]


def made(cls):
    if cls is greenthread.GreenThread:
        return eventlet.spawn(int)
    if cls is pywsgi.Input:
        return cls(mock.Mock(), 0)
    return cls()


@pytest.mark.parametrize(("cls", "name"), CLASSES)
def test_a_method_is_replaced_for_a_while(cls, name):
    own = vars(cls).get(name)
    with mock.patch.object(cls, name, return_value="other") as replaced:
        assert getattr(made(cls), name)() == "other"
    with mock.patch.object(cls, name, autospec=True):
        getattr(made(cls), name)
    assert replaced.call_count == 1
    assert vars(cls).get(name) is own


@pytest.mark.parametrize(("cls", "name"), CLASSES[:-1])
def test_derived_classes_have_it_too(cls, name):
    sub = type("Sub", (cls,), {})
    with mock.patch.object(cls, name, side_effect=KeyError):
        with pytest.raises(KeyError):
            getattr(sub, name)()
    assert getattr(sub, name) == getattr(cls, name)


@pytest.mark.parametrize("cls", [cls for cls, _ in CLASSES])
def test_what_python_calls_is_replaced_for_a_while(cls):
    obj = made(cls)
    with mock.patch.object(cls, "__repr__", lambda self: "other"):
        assert repr(obj) == "other"
    assert repr(obj) != "other"
    with mock.patch.object(cls, "__call__", lambda self: 7, create=True):
        assert callable(obj) and obj() == 7
    assert not callable(obj)


@pytest.mark.parametrize(("cls", "name"), CLASSES)
def test_a_class_gets_attributes(cls, name):
    cls.added = 1
    try:
        assert made(cls).added == 1
    finally:
        del cls.added
    assert not hasattr(cls, "added")


def test_a_lock_is_taken_by_the_method_that_was_put_there():
    with mock.patch.object(
        semaphore.Semaphore, "__enter__", return_value=3
    ), semaphore.Semaphore(0) as what:
        assert what == 3
    assert isinstance(semaphore.Semaphore(), semaphore.Semaphore)
