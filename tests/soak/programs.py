"""Random greenlet programs: made, run on an implementation, logged.

A program is plain data, so that it can be printed, cut down and run again:

    {"threads": [{"scripts": [[STEP, ...], ...]}, ...]}

Each thread's main greenlet runs script 0; a new greenlet runs the script
that its step names. A step is a list: the operation's name, then numbers and
lists of steps. Every list of steps may lose any of its members and the
program stays valid, which is what cutting down needs.

Programs end: a greenlet runs its script once, scripts have no loops, and
the number of greenlets is limited.

What is compared is a log of all that a program can see. Abandoned reference
cycles of suspended greenlets are avoided (see Thread.op_drop), as when these
are collected is not part of the semantics.
"""

import contextvars
import gc
import random
import sys
import threading
import traceback
import weakref

SLOTS = 6
GREENLETS = 14  # per thread
SCRIPTS = 7

variable = contextvars.ContextVar("variable", default="unset")


class ProgramError(Exception):
    """What programs raise."""


# Making programs


def _value(rng):
    return rng.choice((
        ["one", rng.randrange(100)], ["one", rng.randrange(100)],
        ["none"], ["many", rng.randrange(100), rng.randrange(100)],
        ["named", rng.randrange(100)],
        ["both", rng.randrange(100), rng.randrange(100)],
        ["tuple", rng.randrange(100)],
    ))


def _slot(rng):
    return rng.randrange(SLOTS)


# name: (weight, maker of the arguments, from rng and depth of nesting)
_STEPS = {
    "new": (12, lambda r, d: [_slot(r), r.randrange(1, SCRIPTS),
                              r.choice((-1, -1, _slot(r)))]),
    "switch": (24, lambda r, d: [_slot(r), _value(r)]),
    "throw": (5, lambda r, d: [_slot(r), r.randrange(4), r.randrange(100)]),
    "up": (4, lambda r, d: [_value(r)]),
    "main": (3, lambda r, d: [_value(r)]),
    "self": (1, lambda r, d: [_value(r)]),
    "reparent": (3, lambda r, d: [_slot(r), _slot(r)]),
    "drop": (6, lambda r, d: [_slot(r)]),
    "look": (4, lambda r, d: [_slot(r)]),
    "weak": (2, lambda r, d: [r.randrange(GREENLETS)]),
    "foreign": (1, lambda r, d: [_slot(r), r.randrange(2)]),
    "raise": (2, lambda r, d: [r.randrange(100)]),
    "return": (1, lambda r, d: [_value(r)]),
    "setvar": (2, lambda r, d: [r.randrange(100)]),
    "getvar": (2, lambda r, d: []),
    "givecontext": (1, lambda r, d: [_slot(r), r.randrange(100)]),
    "gc": (1, lambda r, d: []),
    "trace": (1, lambda r, d: [r.randrange(2)]),
    "systrace": (1, lambda r, d: [r.randrange(3)]),
    "recurse": (0.3, lambda r, d: []),
    "next": (3, lambda r, d: [r.randrange(3)]),
    "try": (5, lambda r, d: [r.randrange(3), _steps(r, d), _steps(r, d)]),
    "finally": (2, lambda r, d: [_steps(r, d), _steps(r, d)]),
    "handling": (3, lambda r, d: [r.randrange(100), _steps(r, d)]),
    "context": (2, lambda r, d: [_steps(r, d)]),
    "generator": (2, lambda r, d: [_steps(r, d), _steps(r, d)]),
    "shared": (2, lambda r, d: [r.randrange(3), _steps(r, d), _steps(r, d)]),
    "deep": (2, lambda r, d: [r.randrange(40), _steps(r, d)]),
    "sorted": (2, lambda r, d: [r.randrange(8), _steps(r, d)]),
    "destroy": (2, lambda r, d: [_steps(r, d)]),
}
_FLAT = [name for name, (_, make) in _STEPS.items()
         if name not in ("try", "finally", "handling", "context", "generator",
                         "shared", "deep", "sorted", "destroy")]


def _steps(rng, depth, count=None):
    names = _FLAT if depth >= 2 else list(_STEPS)
    weights = [_STEPS[name][0] for name in names]
    if count is None:
        count = rng.randrange(1, 4)
    return [[name, *_STEPS[name][1](rng, depth + 1)]
            for name in rng.choices(names, weights, k=count)]


def generate(seed):
    """The program of a seed."""
    rng = random.Random(seed)
    threads = 1 if rng.random() < 0.8 else 2
    return {"threads": [
        {"scripts": [_steps(rng, 0, rng.randrange(10, 40))]
         + [_steps(rng, 0, rng.randrange(1, 10))
            for _ in range(SCRIPTS - 1)]}
        for _ in range(threads)]}


# Running them


class _Return(Exception):
    """Ends a script with a value."""


class Thread:
    """One thread of a program, run on an implementation of greenlet."""

    def __init__(self, api, scripts):
        self.api = api
        self.scripts = scripts
        self.log = []
        self.end = None  # how much of it is to be compared
        self.slots = [None] * SLOTS
        self.count = 0
        self.alive = {}  # number: weak reference
        # What the check for cycles knows of each greenlet, by number.
        self.parent = {}
        self.pending = {}  # number: numbers that its stack holds
        self.dying = set()
        self.shared = {}

    # Names and values

    def name(self, greenlet):
        if greenlet is None:
            return None
        return getattr(greenlet, "number", "?")

    def me(self):
        return self.api.getcurrent().number

    def note(self, *what):
        self.log.append((self.me(), *what))

    def show(self, value):
        if isinstance(value, BaseException):
            kind = type(value).__name__
            if isinstance(value, self.api.error):
                kind = "greenlet.error"  # the wording is their own affair
            elif isinstance(value, ProgramError):
                kind += str(value.args)
            elif isinstance(value, self.api.GreenletExit):
                kind += " thrown" if value.args == ("thrown",) else ""
            return kind
        return repr(value)

    # Steps

    def run_main(self):
        main = self.api.getcurrent()
        main.number = 0
        main.owner = self
        del main
        self.parent[0] = None
        self.pending[0] = []
        try:
            for step in self.scripts[0]:
                self.guarded([step])
            self.finish()
        except BaseException as exc:  # a mistake in this file
            self.log.append(("harness", repr(exc)))
            traceback.print_exc()
        finally:
            del self.api.getcurrent().owner
            self.api.settrace(None)
            sys.settrace(None)
            sys.setprofile(None)

    def guarded(self, steps):
        try:
            self.run(steps)
        except BaseException as exc:
            self.note("main caught", self.show(exc))

    def finish(self):
        """Unwind what is left, then see that nothing is alive."""
        self.note("finish")
        for _ in range(3 * GREENLETS):
            left = [slot for slot in range(SLOTS)
                    if self.slots[slot] is not None]
            if not left:
                break
            for slot in left:
                if self.slots[slot]:
                    self.guarded([["throw", slot, 3, 0]])
                if not self.slots[slot]:
                    self.guarded([["drop", slot]])
        self.shared.clear()
        if any(greenlet is not None for greenlet in self.slots):
            # Some hold each other in a cycle and will not die. Coir's
            # collector unwinds them, greenlet never does: nothing to compare.
            self.note("kept")
            self.end = len(self.log)
        self.slots = [None] * SLOTS
        gc.collect()
        self.note("alive", [number for number, ref in self.alive.items()
                            if ref() is not None])

    def body(self, number, script):
        def run(*args, **kwargs):
            if args and isinstance(args[0], self.api.GreenletExit):
                # The exit of a child starts us. greenlet then passes
                # nothing, without saying so anywhere.
                args = ()
            self.note("start", args, kwargs, variable.get())
            try:
                self.run(self.scripts[script])
            except _Return as exc:
                return exc.args[0]
            finally:
                self.note("end", variable.get())
            return number

        return run

    def run(self, steps):
        for step in steps:
            getattr(self, "op_" + step[0])(*step[1:])

    def call(self, target, function, *args, **kwargs):
        """Note the outcome of a call that may switch."""
        if self.me() in self.dying:
            return
        # `function` is a name, so that no bound method is held by a frame:
        # the pending call alone is to keep its target.
        held = self.pending[self.me()]
        held.append(target)
        try:
            if function == "up":
                result = self.api.getcurrent().parent.switch(*args, **kwargs)
            elif function == "main":
                result = self.main().switch(*args, **kwargs)
            elif function == "self":
                result = self.api.getcurrent().switch(*args, **kwargs)
            else:
                slot, method = function
                if method == "switch":
                    result = self.slots[slot].switch(*args, **kwargs)
                else:
                    result = self.slots[slot].throw(*args, **kwargs)
        except BaseException as exc:
            self.note("raised", self.show(exc))
            if self.show(exc) == "GreenletExit":
                # Nobody refers to us any more. What follows if we switch
                # away now is not defined.
                self.dying.add(self.me())
            raise
        finally:
            held.pop()
        self.note("got", self.show(result))

    def main(self):
        greenlet = self.api.getcurrent()
        while greenlet.parent is not None:
            greenlet = greenlet.parent
        return greenlet

    def value(self, spec):
        """Arguments of a switch."""
        kind, *numbers = spec
        if kind == "named":
            return (), {"n": numbers[0]}
        if kind == "both":
            return (numbers[0],), {"n": numbers[1]}
        if kind == "tuple":
            return ((numbers[0],),), {}
        return tuple(numbers), {}

    def op_new(self, slot, script, parent):
        if self.slots[slot] is not None or self.count >= GREENLETS:
            return
        self.count += 1
        number = self.count
        if parent >= 0 and self.slots[parent] is not None:
            greenlet = self.api.greenlet(self.body(number, script),
                                         self.slots[parent])
            self.parent[number] = self.slots[parent].number
        else:
            greenlet = self.api.greenlet(self.body(number, script))
            self.parent[number] = self.me()
        greenlet.number = number
        self.pending[number] = []
        self.alive[number] = weakref.ref(greenlet)
        self.slots[slot] = greenlet
        self.note("new", number, self.name(greenlet.parent))

    def op_switch(self, slot, spec):
        if self.slots[slot] is not None:
            args, kwargs = self.value(spec)
            self.call(self.slots[slot].number, (slot, "switch"),
                      *args, **kwargs)

    def op_throw(self, slot, kind, number):
        if self.slots[slot] is None:
            return
        args = ((ProgramError, number), (ProgramError(number),),
                (ProgramError, ProgramError(number)),
                (self.api.GreenletExit, "thrown"))[kind]
        self.call(self.slots[slot].number, (slot, "throw"), *args)

    def op_up(self, spec):
        if self.api.getcurrent().parent is not None:
            args, kwargs = self.value(spec)
            self.call(self.parent[self.me()], "up", *args, **kwargs)

    def op_main(self, spec):
        args, kwargs = self.value(spec)
        self.call(0, "main", *args, **kwargs)

    def op_self(self, spec):
        args, kwargs = self.value(spec)
        self.call(self.me(), "self", *args, **kwargs)

    def op_reparent(self, slot, other):
        if self.slots[slot] is None or self.slots[other] is None:
            return
        try:
            self.slots[slot].parent = self.slots[other]
        except (ValueError, TypeError, AttributeError) as exc:
            self.note("reparent", type(exc).__name__)
        else:
            self.parent[self.slots[slot].number] = self.slots[other].number
            self.note("reparent", self.name(self.slots[slot].parent))

    def in_cycle(self, number):
        """True if a cycle of references can be reached from a greenlet."""
        path, done = [], set()

        def visit(n):
            if n in path:
                return True
            if n is None or n in done or n == 0 or self.alive[n]() is None:
                return False
            path.append(n)
            found = any(visit(x) for x in (self.parent[n], *self.pending[n]))
            path.pop()
            done.add(n)
            return found

        return visit(number)

    def op_drop(self, slot):
        """Let go of a greenlet, unless that could leave a cycle behind."""
        if self.slots[slot] is None:
            return
        if self.in_cycle(self.slots[slot].number):
            self.note("keep", self.slots[slot].number)
            return
        self.note("drop", self.slots[slot].number)
        self.slots[slot] = None
        self.note("dropped")

    def op_look(self, slot):
        greenlet = self.slots[slot]
        if greenlet is None:
            return
        self.note("look", greenlet.number, bool(greenlet), greenlet.dead,
                  self.name(greenlet.parent))

    def op_weak(self, number):
        if number in self.alive:
            self.note("weak", number, self.alive[number]() is not None)

    def op_foreign(self, slot, how):
        """Another thread may not switch to ours."""
        if self.slots[slot] is None or self.slots[slot].dead:
            return
        seen = []

        def run():
            try:
                if how == 0:
                    self.slots[slot].switch()
                else:
                    self.slots[slot].throw(ProgramError(1))
            except self.api.error as exc:
                seen.append(self.show(exc))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        self.note("foreign", seen)

    def op_raise(self, number):
        raise ProgramError(number)

    def op_return(self, spec):
        args, kwargs = self.value(spec)
        raise _Return((args, kwargs))

    def op_setvar(self, number):
        variable.set(number)

    def op_getvar(self):
        self.note("variable", variable.get())

    def op_givecontext(self, slot, number):
        greenlet = self.slots[slot]
        if greenlet is not None and not greenlet and not greenlet.dead:
            context = contextvars.Context()
            context.run(variable.set, number)
            greenlet.gr_context = context

    def op_gc(self):
        gc.collect()

    def op_trace(self, on):
        def callback(event, greenlets):
            origin, target = greenlets
            self.log.append(("trace", event, self.name(origin),
                             self.name(target)))

        self.api.settrace(callback if on else None)

    def op_systrace(self, how):
        # Noise: what it sees is its own affair, but it must do no harm.
        def trace(frame, event, arg):
            return trace

        sys.settrace(trace if how == 1 else None)
        sys.setprofile(trace if how == 2 else None)

    def op_recurse(self):
        def recurse():
            return recurse()

        try:
            recurse()
        except RecursionError:
            self.note("recursion error")

    def op_try(self, kind, steps, handler):
        caught = (ProgramError, self.api.GreenletExit,
                  (ProgramError, self.api.GreenletExit))[kind]
        try:
            self.run(steps)
        except caught as exc:
            self.note("caught", self.show(exc))
            self.run(handler)
            self.note("handled", self.show(sys.exc_info()[1]))

    def op_finally(self, steps, final):
        try:
            self.run(steps)
        finally:
            self.note("finally", self.show(sys.exc_info()[1]))
            self.run(final)

    def op_handling(self, number, steps):
        """Run steps while an exception is being handled."""
        try:
            raise ProgramError(number)
        except ProgramError:
            self.run(steps)
            self.note("handling", self.show(sys.exc_info()[1]))
        self.note("handled", self.show(sys.exc_info()[1]))

    def op_context(self, steps):
        contextvars.copy_context().run(self.run, steps)

    def generator(self, first, second):
        self.run(first)
        yield 1
        self.run(second)
        yield 2

    def op_generator(self, first, second):
        for number in self.generator(first, second):
            self.note("generated", number)

    def op_shared(self, index, first, second):
        if index not in self.shared:
            self.shared[index] = self.generator(first, second)

    def op_next(self, index):
        if index not in self.shared:
            return
        try:
            self.note("next", next(self.shared[index], None))
        except ValueError as exc:  # it is being run already
            self.note("next", str(exc))

    def op_deep(self, depth, steps):
        if depth:
            self.op_deep(depth - 1, steps)
        else:
            self.run(steps)

    def op_sorted(self, depth, steps):
        """Run steps below nested calls from C."""
        def key(_):
            self.op_sorted(depth - 1, steps)
            return 0

        if depth:
            sorted([1], key=key)
        else:
            self.run(steps)

    def op_destroy(self, steps):
        """Run steps in a destructor."""
        thread = self

        class Victim:
            def __del__(self):
                thread.run(steps)

        victim = Victim()
        del victim
        self.note("destroyed")


def run(program, api):
    """Run a program; returns the logs of its threads."""
    threads = [Thread(api, spec["scripts"]) for spec in program["threads"]]

    def hook(unraisable):
        main = threads[0].main()
        main.owner.note("unraisable", unraisable.exc_type.__name__)

    old_hook, sys.unraisablehook = sys.unraisablehook, hook
    old_limit = sys.getrecursionlimit()
    sys.setrecursionlimit(4000)
    try:
        systems = [threading.Thread(target=thread.run_main)
                   for thread in threads]
        for system in systems:
            system.start()
        for system in systems:
            system.join()
    finally:
        sys.unraisablehook = old_hook
        sys.setrecursionlimit(old_limit)
    return [thread.log[:thread.end] for thread in threads]
