"""What is running: threads, greenlets, and who has spawned whom.

For people who look for what hangs: the text is made to be read, not parsed.
"""

from __future__ import annotations

import functools
import pprint
import sys
import traceback
from _thread import get_ident
from collections.abc import Callable
from time import perf_counter
from types import FrameType
from typing import Any

from coir._core import getcurrent

from ._report import format_calls
from ._util import _NONE

__all__ = [
    "format_run_info",
    "print_run_info",
    "GreenletTree",
    "wrap_errors",
    "assert_switches",
]


class wrap_errors:
    """A function that returns errors in place of raising them.

    ``wrap_errors(errors, func)`` calls `func`; an exception of `errors`, a
    class or a tuple of classes, is what it returns. For the function of a
    greenlet, whose errors would be reported otherwise. In all else it passes
    for `func`.
    """

    def __init__(self, errors: Any, func: Callable[..., Any]) -> None:
        self.__errors = errors
        self.__func = func
        functools.update_wrapper(self, func)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self.__func(*args, **kwargs)
        except self.__errors as exc:
            return exc

    def __str__(self) -> str:
        return str(self.__func)

    def __repr__(self) -> str:
        return repr(self.__func)

    def __getattr__(self, name: str) -> Any:
        if name == "_wrap_errors__func":  # before __init__(): in copies
            raise AttributeError(name)
        return getattr(self.__func, name)


# --- reports -----------------------------------------------------------------


def print_run_info(
    thread_stacks: bool = True,
    greenlet_stacks: bool = True,
    limit: Any = _NONE,
    file: Any = None,
) -> None:
    """Print what `format_run_info` returns to `file`, or to stderr."""
    lines = format_run_info(
        thread_stacks=thread_stacks,
        greenlet_stacks=greenlet_stacks,
        limit=limit,
    )
    for line in lines:
        print(line, file=sys.stderr if file is None else file)


def format_run_info(
    thread_stacks: bool = True,
    greenlet_stacks: bool = True,
    limit: Any = _NONE,
    current_thread_ident: int | None = None,
) -> list[str]:
    """Lines that tell of all threads and greenlets of the process.

    :param thread_stacks: tell where the threads are.
    :param greenlet_stacks: tell where the greenlets of this thread are. Where
        they were spawned is told in any case.
    :param limit: frames of a stack at most; None for all.
    :param current_thread_ident: which thread is to be called the current one.

    Of greenlets that run in other threads the stack cannot be had; those of
    the threads show them.
    """
    if current_thread_ident is None:
        current_thread_ident = get_ident()
    if limit is _NONE:
        limit = None
    lines: list[str] = []
    _format_threads(lines, thread_stacks, limit, current_thread_ident)
    _format_greenlets(lines, greenlet_stacks, limit)
    return lines


dump_stacks = format_run_info  # its old name


def is_idle_threadpool_worker(frame: FrameType) -> Any:
    """Is it the frame of a thread that waits for work?"""
    names = frame.f_locals
    return names and names.get("gevent_threadpool_worker_idle")


def _format_threads(
    lines: list[str], stacks: bool, limit: int | None, current: int
) -> None:
    import threading

    rule = "*" * 80
    known: dict[Any, Any] = {t.ident: t for t in threading.enumerate()}
    lines += [rule, "* Threads"]
    for ident, frame in sys._current_frames().items():
        thread = known.get(ident)
        show = stacks
        name = thread.name if thread is not None else None
        if thread is None and is_idle_threadpool_worker(frame):
            name = "idle threadpool worker"
            show = False
        monitor = getattr(thread, "gevent_monitoring_thread", None)
        if monitor is not None:
            name = repr(monitor())
        mark = ") (CURRENT" if ident == current else ""
        lines += [rule, f"Thread {ident:#x} ({name}{mark})\n"]
        if show:
            lines.append("".join(traceback.format_stack(frame, limit)))
        elif not stacks:
            lines.append("\t...stack elided...")
        del frame  # ours may be among them: a cycle


def _format_greenlets(
    lines: list[str], stacks: bool, limit: int | None
) -> None:
    rule = "*" * 80
    lines += [rule, "* Greenlets", rule]
    trees = GreenletTree.forest()
    trees.sort(key=lambda t: "" if t.is_current_tree else repr(t.greenlet))
    for tree in trees:
        lines.append("---- Thread boundary")
        details = {
            "running_stacks": stacks and tree.is_current_tree,
            "running_stack_limit": limit,
        }
        lines += tree.format_lines(details)


# --- trees -------------------------------------------------------------------


class GreenletTree:
    """A greenlet and, as trees, those that it has spawned.

    Not a tree of parents: the parent of nearly all is the hub. Those whose
    spawner is not known are in the tree of their thread's main greenlet.

    ``str()`` shows the tree, :meth:`format` with more about each greenlet.
    """

    #: The one at the root.
    greenlet: Any = None

    #: Is it the main greenlet of this thread?
    is_current_tree = False

    DEFAULT_DETAILS: dict[str, Any] = {
        "running_stacks": True,
        "running_stack_limit": None,
        "spawning_stacks": True,
        "locals": True,
    }

    def __init__(self, greenlet: Any) -> None:
        self.greenlet = greenlet
        self.child_trees: list[GreenletTree] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.greenlet, name)

    def __str__(self) -> str:
        return self.format(False)

    @property
    def root(self) -> bool:
        """Has it no parent?"""
        return self.greenlet.parent is None

    def add_child(self, tree: GreenletTree) -> None:
        """Make a tree, not this one, one of those below it."""
        if tree is not self:
            self.child_trees.append(tree)

    def format(self, details: Any = True) -> str:
        """The lines of `format_lines` as one string."""
        return "\n".join(self.format_lines(details))

    def format_lines(self, details: Any = True) -> list[str]:
        """Show the tree, a line or more for each greenlet.

        :param details: False for no more than that; or a dict of what differs
            from ``DEFAULT_DETAILS``.
        """
        if isinstance(details, dict):
            details = {**self.DEFAULT_DETAILS, **details}
        elif details:
            details = self.DEFAULT_DETAILS
        else:
            details = {}
        if details:
            details = {**details, "waits": format_calls()}
        return [text for text, _ in self._lines(details, 0)]

    # A line is (text, is_detail). A tree is its label, its details and the
    # lines of those below it, drawn beside a bar that ends at the last one.

    def _lines(
        self, details: dict[str, Any], depth: int
    ) -> list[tuple[str, bool]]:
        lines = [(self._label(), False)]
        if details:
            mark = " " if depth else ":"
            lines += [
                (f" {mark}    {text}", True) for text in self._facts(details)
            ]
        children = sorted(self.child_trees, key=_order)
        for child in children:
            last = child is children[-1]
            try:
                below = child._lines(details, depth + 1)
            except RecursionError:  # spawned by one another, very often
                below = [(f"{child.greenlet!r}; and more", False)]
            lines.append((f" +--- {below[0][0]}", False))
            for text, is_detail in below[1:]:
                if is_detail:
                    bar = " " if last else ":"
                    lines.append((f" {bar}    {text}", True))
                else:
                    bar = " " if last else "|"
                    lines.append((f" {bar}   {text}", False))
        return lines

    def _label(self) -> str:
        g = self.greenlet
        label = repr(g)
        if g:
            return label
        if not getattr(g, "ready", bool)():
            return label + "; not running"
        label += "; finished"
        if g.value is not None:
            label += " with value " + repr(g.value)[:30]
        elif getattr(g, "exception", None) is not None:
            label += " with exception " + repr(g.exception)
        return label

    def _facts(self, details: dict[str, Any]) -> list[str]:
        g = self.greenlet
        facts = [f"Parent: {g.parent!r}"]
        monitor = getattr(g, "gevent_monitoring_thread", None)
        if monitor is not None:
            facts.append(f"Monitoring Thread:{monitor()!r}")
        if g and details["running_stacks"]:
            if g in details["waits"]:
                facts.append(f"Waits {details['waits'][g]}")
            limit = details["running_stack_limit"]
            facts += ["Running:", *_stack_lines(g.gr_frame, limit)]
        stack = getattr(g, "spawning_stack", None)
        if stack and details["spawning_stacks"]:
            facts += ["Spawned at:", *_stack_lines(stack, None)]
        facts += self._tree_locals_facts()
        if details["locals"]:
            facts += self._locals_facts()
        return facts

    def _tree_locals_facts(self) -> list[str]:
        tree_locals = getattr(self.greenlet, "spawn_tree_locals", None)
        above = getattr(_spawner(self.greenlet), "spawn_tree_locals", None)
        if not tree_locals or tree_locals is above:
            return []
        return ["Spawn Tree Locals", *pprint.pformat(tree_locals).splitlines()]

    def _locals_facts(self) -> list[str]:
        from coir._core import all_local_dicts_for_greenlet

        found = all_local_dicts_for_greenlet(self.greenlet)
        if not found:
            return []
        facts = ["Greenlet Locals:"]
        for (kind, ident), values in found:
            if values:
                facts.append(f"  Local {kind} at {ident:#x}")
                facts += ("    " + pprint.pformat(values)).splitlines()
        return facts

    @classmethod
    def forest(cls) -> list[GreenletTree]:
        """The trees of all threads, with the main greenlets at the root."""
        return list(cls._forest()[0].values())

    @classmethod
    def current_tree(cls) -> GreenletTree:
        """This thread's tree."""
        return cls._forest()[1]

    @classmethod
    def _forest(cls) -> tuple[dict[Any, GreenletTree], GreenletTree]:
        from ._greenlet_primitives import get_reachable_greenlets

        main = _root(getcurrent())
        trees = {main: cls(main)}
        roots = dict(trees)
        trees[main].is_current_tree = True
        for g in get_reachable_greenlets():
            above = _spawner(g)
            if above is None:
                above = _root(g)
            for member in (above, g):
                if member not in trees:
                    trees[member] = cls(member)
            if _root(above) is above:
                roots[above] = trees[above]
            trees[above].add_child(trees[g])
        return roots, trees[main]


def _spawner(g: Any) -> Any:
    """Who has spawned a greenlet, if that is known and alive."""
    ref = getattr(g, "spawning_greenlet", None)
    return ref() if ref is not None else None


def _root(g: Any) -> Any:
    while g.parent is not None and not getattr(
        g, "greenlet_tree_is_root", False
    ):
        g = g.parent
    return g


def _order(tree: GreenletTree) -> Any:
    """Plain greenlets first; those that run before those that do not."""
    return (
        getattr(tree, "minimal_ident", -1),
        bool(getattr(tree, "ready", bool)()),
        id(tree.parent),
    )


def _stack_lines(frame: Any, limit: int | None) -> list[str]:
    return "".join(traceback.format_stack(frame, limit)).splitlines()


# --- blocking ----------------------------------------------------------------


class _FailedToSwitch(AssertionError):
    pass


class assert_switches:
    """A ``with`` block that must let other greenlets run, or fails.

    :param max_blocking_time: seconds for which the block may do without; if
        None, it has to switch at least once.
    :param hub_only: what counts is not any switch, but one to the hub.

    AssertionError is raised at the end of the block, unless that raises
    something itself; it tells where the greenlets are.
    """

    hub: Any = None
    tracer: Any = None
    _entered: float = 0

    def __init__(
        self,
        max_blocking_time: float | None = None,
        hub_only: bool = False,
    ) -> None:
        self.max_blocking_time = max_blocking_time
        self.hub_only = hub_only

    def __enter__(self) -> assert_switches:
        from . import _tracer
        from ._hub_local import get_hub

        self.hub = get_hub()
        if not self.max_blocking_time:
            self.tracer = _tracer.GreenletTracer()
        elif self.hub_only:
            self.tracer = _tracer.HubSwitchTracer(
                self.hub, self.max_blocking_time
            )
        else:
            self.tracer = _tracer.MaxSwitchTracer(
                self.hub, self.max_blocking_time
            )
        self._entered = perf_counter()
        self.tracer.monitor_current_greenlet_blocking()
        return self

    def __exit__(self, t: Any, v: Any, tb: Any) -> None:
        hub, tracer = self.hub, self.tracer
        self.hub = self.tracer = None
        tracer.kill()
        blocked: Any = tracer.did_block_hub(hub) if t is None else False
        if not blocked:
            return
        seconds = perf_counter() - self._entered
        message = "To the hub" if self.hub_only else "To any greenlet"
        message += f" in {seconds:.4f} seconds"
        if self.max_blocking_time:
            message += f" (max allowed {self.max_blocking_time:.4f} seconds)"
        report = tracer.did_block_hub_report(hub, blocked[1], {})
        raise _FailedToSwitch("\n".join([message, *report]))


def clear_stack_frames(frame: Any) -> None:
    """Forget the local variables of a frame and of those that called it.

    As far as they do not run any more.
    """
    while frame is not None:
        try:
            frame.clear()
        except (RuntimeError, AttributeError):
            pass  # it runs
        try:
            frame.f_locals.clear()
        except (AttributeError, TypeError, ValueError):
            pass  # from 3.13 on it is not a dict
        frame = frame.f_back
