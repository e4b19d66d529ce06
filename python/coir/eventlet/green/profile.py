"""The standard library's :mod:`profile`, which tells green threads apart.

What others do while a function waits is not counted as its time.
"""

from __future__ import annotations

import profile as profile_orig
import sys
from collections.abc import Callable
from typing import Any

from coir._core import getcurrent

from ..patcher import original, slurp_properties

__all__ = profile_orig.__all__

slurp_properties(profile_orig, globals(), srckeys=dir(profile_orig))

thread = original("_thread")

#: A call: what it has taken so far, its function, and who called it.
_Call = Any


class Profile(profile_orig.Profile):
    """A profiler; `start` and `stop` may be called as well as `runcall`."""

    base = profile_orig.Profile

    def __init__(self, timer: Any = None, bias: Any = None) -> None:
        self._reset()
        super().__init__(timer, bias)

    def __call__(self, *args: Any) -> None:
        self.dispatcher(*args)

    def _reset(self) -> None:
        self.current_tasklet = getcurrent()
        self.thread_id = thread.get_ident()
        #: By green thread: the call it is in, and its timings.
        self.sleeping: dict[Any, tuple[_Call, dict[Any, Any]]] = {}
        self._has_setup = True

    def _setup(self) -> None:
        self._reset()
        self.cur = None
        self.timings = {}
        self.simulate_call("profiler")

    def start(self, name: str = "start") -> None:
        """Begin to count in this native thread."""
        if getattr(self, "running", False):
            return
        self._setup()
        self.simulate_call("start")
        self.running = True
        sys.setprofile(self.dispatcher)

    def stop(self) -> None:
        """End that; the result is in `timings`."""
        sys.setprofile(None)
        self.running = False
        self.TallyTimings()

    def runctx(self, cmd: Any, globals: Any, locals: Any) -> Any:
        """Count what a statement does."""
        try:
            return super().runctx(cmd, globals, locals)
        finally:
            self.TallyTimings()

    def runcall(self, func: Any, /, *args: Any, **kw: Any) -> Any:
        """Count what a call does."""
        try:
            return super().runcall(func, *args, **kw)
        finally:
            self.TallyTimings()

    def _return(self, leave: Any, frame: Any, t: float) -> Any:
        """Leave a frame, if it was seen being entered.

        Green threads that ran before return from some that were not.
        """
        caller = self.cur[-2]
        if isinstance(caller, profile_orig.Profile.fake_frame):
            return False
        return leave(frame, t)

    def trace_dispatch_return_extend_back(self, frame: Any, t: float) -> Any:
        """A function returns."""
        return self._return(self.trace_dispatch_return, frame, t)

    def trace_dispatch_c_return_extend_back(self, frame: Any, t: float) -> Any:
        """A built-in function returns."""
        return self._return(self.trace_dispatch_return, frame, t)

    def SwitchTasklet(self, t0: Any, t1: Any, t: float) -> None:
        """Green thread `t1` runs instead of `t0`, which had `t` more."""
        taken, *rest = self.cur[1:]
        self.sleeping[t0] = (
            (self.cur[0], taken + t, *rest),
            self.timings,
        )
        self.current_tasklet = t1
        if t1 in self.sleeping:
            self.cur, self.timings = self.sleeping.pop(t1)
            return
        self.cur, self.timings = None, {}
        self.simulate_call("profiler")
        self.simulate_call("new_tasklet")

    def TallyTimings(self) -> None:
        """Add up what all green threads have taken, in `timings`."""
        others, self.sleeping = self.sleeping, {}
        self.cur = self.Unwind(self.cur, self.timings)
        for call, timings in others.values():
            self.Unwind(call, timings)
            for name, counted in timings.items():
                self.timings[name] = _sum(self.timings.get(name), counted)

    def Unwind(self, cur: _Call, timings: dict[Any, Any]) -> _Call:
        """Count the calls that have not returned; gives the outermost."""
        while cur[-1]:
            outer_t, own, inner, func, _, caller = cur
            total = own + inner
            calls, depth, t, cumulative, callers = timings.get(
                func, (0, 0, 0, 0, {})
            )
            if not depth:
                cumulative += total
                calls += 1
            by = caller[3]
            callers[by] = callers.get(by, 0) + 1
            timings[func] = calls, depth - 1, t + own, cumulative, callers
            before, own, inner, *rest = caller
            cur = (before, own + outer_t, inner + total, *rest)
        return cur


def _sum(one: Any, other: Any) -> Any:
    if one is None:
        return other
    callers = dict(one[4])
    for name, count in other[4].items():
        callers[name] = callers.get(name, 0) + count
    return (
        one[0] + other[0],
        one[1],
        one[2] + other[2],
        one[3] + other[3],
        callers,
    )


def ContextWrap(f: Callable[..., Any]) -> Callable[..., Any]:
    """Have a method of dispatch look first which green thread this is."""

    def wrapper(self: Any, arg: Any, t: float) -> Any:
        current = getcurrent()
        if current is not self.current_tasklet:
            self.SwitchTasklet(self.current_tasklet, current, t)
            t = 0.0  # that was the other's
        return f(self, arg, t)

    return wrapper


Profile.dispatch = {
    name: ContextWrap(func)
    for name, func in {
        **profile_orig.Profile.dispatch,
        "return": Profile.trace_dispatch_return_extend_back,
        "c_return": Profile.trace_dispatch_c_return_extend_back,
    }.items()
}


def run(statement: str, filename: Any = None, sort: Any = -1) -> Any:
    """Count what a statement does; print it, or write it to a file."""
    import __main__

    return runctx(statement, vars(__main__), vars(__main__), filename, sort)


def runctx(
    statement: str,
    globals: Any,
    locals: Any,
    filename: Any = None,
    sort: Any = -1,
) -> Any:
    """The same, with names of one's own."""
    profiler = Profile()
    try:
        profiler = profiler.runctx(statement, globals, locals)
    except SystemExit:
        pass
    if filename is not None:
        profiler.dump_stats(filename)
        return None
    return profiler.print_stats(sort)
