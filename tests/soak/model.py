"""A plain model of greenlet's semantics: the oracle.

Each greenlet is an operating-system thread, and a baton makes sure that only
one of a family runs. Nothing here is fast or clever; what matters is that
stacks, exception states and contexts are simply the threads' own, so that
nothing has to be saved and restored.

References are kept as the real thing keeps them, as programs can tell from
the moment a greenlet is unwound: a suspended greenlet is alive only through
references from outside, its thread holds none to it.
"""

import _thread
import contextvars
import sys
import threading
import types


class error(Exception):
    pass


class GreenletExit(BaseException):
    pass


class _Family:
    """The greenlets of one program thread."""

    def __init__(self):
        self.main = None
        self.current = None  # strong: the running one lives
        self.origin = None  # who switched; until the target has arrived
        self.message = None  # what it sent
        self.trace = None


class _Fiber:
    """What a greenlet and its thread share."""

    def __init__(self, family):
        self.family = family
        self.baton = _thread.allocate_lock()
        self.baton.acquire()
        self.parent = None
        self.pending = None  # whom it called switch() of: holds it
        self.run = None
        self.context = None
        self.started = False
        self.dead = False


_local = threading.local()
threads = set()  # of the greenlets that have not finished
_threads_lock = _thread.allocate_lock()


def _family():
    """The family of the running thread, made when it is first asked for."""
    try:
        return _local.family
    except AttributeError:
        family = _local.family = _Family()
        main = greenlet.__new__(greenlet)
        main._fiber = _Fiber(family)
        main._fiber.started = True
        family.main = family.current = main
        return family


def getcurrent():
    return _family().current


def gettrace():
    return _family().trace


def settrace(callback):
    family = _family()
    old, family.trace = family.trace, callback
    return old


def _single(args, kwargs):
    """What a switch with these arguments returns."""
    if not kwargs:
        return args[0] if len(args) == 1 else args
    return (args, kwargs) if args else kwargs


def _arrive(family):
    """In the target: take the message and let go of who sent it."""
    origin, family.origin = family.origin, None
    message, family.message = family.message, None
    if family.trace is not None:
        kind = "throw" if message[0] is None else "switch"
        family.trace(kind, (origin, family.current))
    del origin
    return message


def _hand_over(family, target):
    """Make `target` run; the caller then waits, or ends.

    Once the baton is passed, nothing here may hold a reference any more
    that others could see go.
    """
    fiber = target._fiber
    family.current = target
    del target, family
    baton, box = fiber.baton, [fiber]
    if fiber.started:
        del fiber, box
        baton.release()
    else:
        fiber.started = True
        del fiber
        with _threads_lock:
            threads.add(baton)
        _thread.start_new_thread(_thread_main, (box,))


def _living(target):
    """The greenlet that a switch to `target` goes to."""
    while target._fiber.dead:
        target = target._fiber.parent
    return target


def _switch(box, message):
    """Bring `message` to the greenlet in `box`; returns what comes back.

    The target comes in a list that is emptied here: a traceback keeps this
    frame, and must not keep the greenlet.
    """
    family = _family()
    if box[0]._fiber.family is not family:
        box.clear()
        raise error("cannot switch to a different thread")
    family.message = message
    del message
    me = family.current._fiber
    me.pending = box[0]
    family.origin = family.current
    _hand_over(family, _living(box.pop()))
    me.baton.acquire()
    args, value = _arrive(family)
    me.pending = None
    del me
    if args is None:
        raise value
    return _single(args, value)


def _thread_main(box):
    fiber = box.pop()
    family = _local.family = fiber.family
    (fiber.context or contextvars.Context()).run(_body, [fiber])
    fiber.dead = True
    with _threads_lock:
        threads.discard(fiber.baton)
    box.append(_living(fiber.parent))
    del fiber
    family.origin = family.current
    _hand_over(family, box.pop())


def _body(box):
    fiber = box.pop()
    family = fiber.family
    run, fiber.run = fiber.run, None
    del fiber
    try:
        args, value = _arrive(family)
        if args is None:
            raise value
        result = run(*args, **value)
        family.message = (result,), {}
    except GreenletExit as exc:
        family.message = (exc.with_traceback(None),), {}
    except BaseException as exc:
        family.message = None, exc.with_traceback(None)


class greenlet:
    """The handle that programs have."""

    def __init__(self, run=None, parent=None):
        family = _family()
        self._fiber = _Fiber(family)
        self._fiber.run = run
        self._fiber.parent = family.current
        if parent is not None:
            self.parent = parent

    def switch(self, *args, **kwargs):
        box = [self]
        del self
        return _switch(box, (args, kwargs))

    def throw(self, kind=GreenletExit, value=None):
        if isinstance(kind, BaseException):
            exc = kind
        elif isinstance(value, BaseException):
            exc = value
        else:
            exc = kind() if value is None else kind(value)
        box = [self]
        dead = self.dead
        del self
        if dead and isinstance(exc, GreenletExit):
            return _switch(box, ((exc,), {}))
        return _switch(box, (None, exc))

    @property
    def dead(self):
        return self._fiber.dead

    def __bool__(self):
        return self._fiber.started and not self._fiber.dead

    @property
    def parent(self):
        return self._fiber.parent

    @parent.setter
    def parent(self, parent):
        if self._fiber.parent is None:
            raise AttributeError("a main greenlet has no parent")
        if not isinstance(parent, greenlet):
            raise TypeError("not a greenlet")
        if parent._fiber.family is not self._fiber.family:
            raise ValueError("parent is of another thread")
        above = parent
        while above is not None:
            if above is self:
                raise ValueError("cyclic parents")
            above = above._fiber.parent
        self._fiber.parent = parent

    @property
    def gr_context(self):
        raise NotImplementedError

    @gr_context.setter
    def gr_context(self, context):
        if self._fiber.started:
            raise NotImplementedError
        self._fiber.context = context

    def __del__(self):
        fiber = self._fiber
        if fiber.started and not fiber.dead and fiber.parent is not None:
            old, fiber.parent = fiber.parent, getcurrent()
            try:
                _switch([self], (None, GreenletExit()))
            except BaseException as exc:
                # Its traceback would keep us.
                sys.unraisablehook(types.SimpleNamespace(
                    exc_type=type(exc), exc_value=exc.with_traceback(None)))
            finally:
                above = old
                while above is not None and above is not self:
                    above = above._fiber.parent
                if above is None:  # else it was put below us meanwhile
                    fiber.parent = old
