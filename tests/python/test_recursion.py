"""Deep recursion of every kind, inside a greenlet.

Coir must not crash where CPython itself does not: what raises RecursionError
or works in the main thread does so in a greenlet. Each case runs in a child
process, in the main thread and in an ordinary one, then in greenlets.
"""

import subprocess
import sys
import textwrap

import pytest

NESTED = """
def nest(wrap, value, depth=100_000):
    for _ in range(depth):
        value = wrap(value)
    return value
"""

#: CPython checks the depth of these. The code defines act().
CHECKED = {
    "python": """
        def act():
            act()
        """,
    "sorted": """
        def act(_=None):
            sorted([1], key=act)
        """,
    "map": """
        def act(_=None):
            list(map(act, [1]))
        """,
    "min": """
        def act(_=None):
            min([1, 2], key=act)
        """,
    "sub": """
        import re
        def act(_=None):
            return re.sub("a", act, "a")
        """,
    "parser_unary": """
        def act():
            compile("-" * 100_000 + "1", "<deep>", "eval")
        """,
    "parser_parentheses": """
        def act():
            compile("(" * 190 + "1" + ")" * 190, "<deep>", "eval")
            compile("(" * 5000 + "1" + ")" * 5000, "<deep>", "eval")
        """,
    "parser_power": """
        def act():
            compile("1**" * 20_000 + "1", "<deep>", "eval")
        """,
    "parser_attributes": """
        def act():
            compile("a" + ".b" * 100_000, "<deep>", "eval")
        """,
    "parser_calls": """
        def act():
            compile("f" + "()" * 100_000, "<deep>", "eval")
        """,
    "parser_lambdas": """
        def act():
            compile("lambda:" * 20_000 + "1", "<deep>", "eval")
        """,
    "parser_if": """
        def act():
            source = "".join("  " * i + "if 1:\\n" for i in range(99))
            compile(source + "  " * 99 + "pass", "<deep>", "exec")
            compile("if 1:\\n pass\\n" + "elif 1:\\n pass\\n" * 20_000,
                    "<deep>", "exec")
        """,
    "ast_compile": """
        import ast
        def act():
            place = {"lineno": 1, "col_offset": 0}
            node = ast.Constant(1, **place)
            for _ in range(100_000):
                node = ast.UnaryOp(ast.USub(), node, **place)
            compile(ast.Expression(node), "<deep>", "eval")
        """,
    "ast_literal_eval": """
        import ast
        def act():
            ast.literal_eval("[" * 190 + "]" * 190)
            ast.literal_eval("-" * 50_000 + "1")
        """,
    "json_loads": """
        import json
        def act():
            json.loads("[" * 100_000 + "]" * 100_000)
        """,
    "json_loads_objects": """
        import json
        def act():
            json.loads('{"a":' * 100_000 + "1" + "}" * 100_000)
        """,
    "json_dumps": """
        import json
        def act():
            json.dumps(nest(lambda x: [x], []))
        """,
    "json_dumps_dict": """
        import json
        def act():
            json.dumps(nest(lambda x: {"a": x}, {}))
        """,
    "repr_list": """
        def act():
            repr(nest(lambda x: [x], []))
        """,
    "repr_dict": """
        def act():
            str(nest(lambda x: {1: x}, {}))
        """,
    "repr_tuple": """
        def act():
            repr(nest(lambda x: (x,), ()))
        """,
    "repr_partial": """
        import functools
        def act():
            repr(nest(lambda x: functools.partial(print, x), print))
        """,
    "equal_lists": """
        def act():
            nest(lambda x: [x], []) == nest(lambda x: [x], [])
        """,
    "equal_dicts": """
        def act():
            nest(lambda x: {1: x}, {}) == nest(lambda x: {1: x}, {})
        """,
    "less_tuples": """
        def act():
            nest(lambda x: (x,), ()) < nest(lambda x: (x,), ())
        """,
    "deepcopy": """
        import copy
        def act():
            copy.deepcopy(nest(lambda x: [x], []))
        """,
    "pickle_c": """
        import pickle
        def act():
            pickle.dumps(nest(lambda x: [x], []))
        """,
    "pickle_reduce": """
        import pickle
        class Node:
            def __init__(self, value): self.value = value
            def __reduce__(self): return Node, (self.value,)
        def act():
            pickle.dumps(nest(Node, None))
        """,
    "marshal": """
        import marshal
        def act():
            marshal.dumps(nest(lambda x: (x,), ()))
        """,
    "re_compile": """
        import re
        def act():
            re.compile("(?:" * 5000 + "a" + ")" * 5000)
        """,
    "getattr": """
        class Loop:
            def __getattr__(self, name):
                return getattr(self, name + "x")
        def act():
            Loop().a
        """,
    "getattribute": """
        class Loop:
            def __getattribute__(self, name):
                return self.a
        def act():
            Loop().a
        """,
    "setattr": """
        class Loop:
            def __setattr__(self, name, value):
                setattr(self, name, value)
        def act():
            Loop().a = 1
        """,
    "property": """
        class Loop:
            @property
            def a(self):
                return self.a
        def act():
            Loop().a
        """,
    "add": """
        class Loop:
            def __add__(self, other):
                return self + other
        def act():
            Loop() + 1
        """,
    "str_method": """
        class Loop:
            def __str__(self):
                return str(self)
        def act():
            str(Loop())
        """,
    "format": """
        class Loop:
            def __format__(self, spec):
                return f"{self}"
        def act():
            f"{Loop()}"
        """,
    "hash_method": """
        class Loop:
            def __hash__(self):
                return hash(self)
        def act():
            {Loop(): 1}
        """,
    "eq_method": """
        class Loop:
            def __eq__(self, other):
                return self == other
        def act():
            Loop() == 1
        """,
    "getitem": """
        class Loop:
            def __getitem__(self, key):
                return self[key]
        def act():
            Loop()[0]
        """,
    "iter": """
        class Loop:
            def __iter__(self):
                return iter(self)
        def act():
            list(Loop())
        """,
    "bool_method": """
        class Loop:
            def __len__(self):
                return bool(self)
        def act():
            bool(Loop())
        """,
    "call": """
        class Loop:
            def __call__(self):
                return self()
        def act():
            Loop()()
        """,
    "call_chain": """
        class Loop:
            pass
        Loop.__call__ = Loop()
        def act():
            Loop()()
        """,
    "new": """
        class Loop:
            def __new__(cls):
                return Loop()
        def act():
            Loop()
        """,
    "metaclass": """
        class Meta(type):
            def __call__(cls):
                return cls()
        class Loop(metaclass=Meta):
            pass
        def act():
            Loop()
        """,
    "instancecheck": """
        class Meta(type):
            def __instancecheck__(cls, other):
                return isinstance(other, cls)
        class Loop(metaclass=Meta):
            pass
        def act():
            isinstance(1, Loop)
        """,
    "isinstance_tuples": """
        def act():
            isinstance(1, nest(lambda x: (x,), str))
        """,
    "generators": """
        def loop():
            yield from loop()
        def act():
            next(loop())
        """,
    "exec": """
        def act():
            exec("act()", globals())
        """,
    "import_hook": """
        import builtins
        old = builtins.__import__
        def act():
            def hook(*args):
                import nothing
            builtins.__import__ = hook
            try:
                import nothing
            finally:
                builtins.__import__ = old
        """,
    "contextvars": """
        import contextvars
        def act():
            contextvars.copy_context().run(act)
        """,
    "partial_calls": """
        import functools
        def act():
            functools.partial(act)()
        """,
    "descriptor_get": """
        class Descriptor:
            def __get__(self, obj, kind):
                return obj.a
        class Loop:
            a = Descriptor()
        def act():
            Loop().a
        """,
    "greenlets": """
        import coir.greenlet
        def act():
            coir.greenlet.greenlet(act).switch()
        """,
    # Deallocation never raises: CPython limits its depth on the way.
    "free_lists": """
        def act():
            nest(lambda x: [x], [], 1_000_000)
        """,
    "free_tuples": """
        def act():
            nest(lambda x: (x,), (), 1_000_000)
        """,
    "free_dicts": """
        def act():
            nest(lambda x: {1: x}, {}, 300_000)
        """,
    "free_instances": """
        class Node:
            def __init__(self, value): self.value = value
        def act():
            nest(Node, None, 300_000)
        """,
    "free_exceptions": """
        def act():
            def wrap(cause):
                exc = ValueError()
                exc.__cause__ = cause
                return exc
            nest(wrap, None, 300_000)
        """,
    "free_methods": """
        class Node:
            def __init__(self, value): self.value = value
            def method(self): pass
        def act():
            nest(lambda x: Node(x).method, None, 300_000)
        """,
}

#: CPython does not check these at all: whether they work depends on the
#: room. Where the main thread has enough, so has a slice, which runs on the
#: same stack, and a greenlet with a stack of that size.
UNCHECKED = {
    "chain": """
        import itertools
        def act():
            list(nest(itertools.chain, iter([1]), 15_000))
        """,
    "hash_tuples": """
        def act():
            hash(nest(lambda x: (x,), (), 20_000))
        """,
    "free_generators": """
        def generator(other):
            yield other
        def start(other):
            made = generator(other)
            next(made)
            return made
        def act():
            nest(start, None, 5_000)
        """,
}

DRIVER = """
import sys, threading

def outcome():
    try:
        act()
    except Exception as exc:
        return type(exc).__name__
    return "works"

def in_greenlet(**attributes):
    from coir.greenlet import greenlet
    kind = type("Kind", (greenlet,), attributes)
    return kind(outcome).switch()

def in_thread(function):
    seen = []
    thread = threading.Thread(target=lambda: seen.append(function()))
    thread.start()
    thread.join()
    return seen[0]

def deeper(function):
    # A stack that was used up to its limit must be as good as new.
    return [function() for _ in range(3)][-1]

print({
    "main": outcome,
    "thread": lambda: in_thread(outcome),
    "greenlet": lambda: deeper(in_greenlet),
    "greenlet in a thread": lambda: in_thread(in_greenlet),
    "slice": lambda: deeper(lambda: in_greenlet(stack_policy="slice")),
    "large": lambda: in_greenlet(stack_size=64 << 20),
}[sys.argv[1]]())
"""

GOOD = {"works", "RecursionError", "MemoryError", "SyntaxError",
        "OverflowError", "ValueError", "PicklingError"}


def run(code, where):
    """How the code ended there: a word, or how its process died."""
    program = NESTED + textwrap.dedent(code) + DRIVER
    done = subprocess.run([sys.executable, "-c", program, where],
                          capture_output=True, text=True, timeout=120)
    if done.returncode:
        return f"status {done.returncode}: {done.stderr[-1500:]}"
    return done.stdout.strip()


def check(code, places):
    plain = {where: run(code, where) for where in ("main", "thread")}
    seen = {where: run(code, where) for where in places}
    print(plain, seen)
    if any(outcome.startswith("status") for outcome in plain.values()):
        pytest.skip(f"CPython itself does not survive this: {plain}")
    bad = {where: outcome for where, outcome in seen.items()
           if outcome not in GOOD}
    assert not bad


@pytest.mark.parametrize("kind", CHECKED)
def test_checked_recursion(kind):
    check(CHECKED[kind], ("greenlet", "greenlet in a thread", "slice"))


@pytest.mark.parametrize("kind", UNCHECKED)
def test_unchecked_recursion_with_room(kind):
    check(UNCHECKED[kind], ("slice", "large"))
