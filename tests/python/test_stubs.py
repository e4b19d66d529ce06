"""The type stubs say what is there."""

import ast
import inspect
import os
import pathlib
import subprocess
import sys

import coir
import pytest
from coir import _core

PACKAGE = pathlib.Path(coir.__file__).parent
STUB = ast.parse((PACKAGE / "_core.pyi").read_text())

# Of types, for the stub itself.
ALIASES = {
    node.target.id
    for node in STUB.body
    if isinstance(node, ast.AnnAssign)
    and ast.unparse(node.annotation) == "TypeAlias"
}

# Takes no arguments, which the runtime does not tell; is no name in a stub.
NOT_COMPARED = r"""
coir(\._core|\._native)?\.(AsyncResult|Event|EvEvent|Lock|LockType)\.__init__
coir\._core\.Loop\.async
coir\.gevent(\..*)?
coir\.eventlet(\..*)?
"""


def names_in(body):
    """Names that these statements of a stub define."""
    names = set()
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign):
            names.add(node.target.id)
        elif isinstance(node, ast.If):  # on the version
            met = eval(ast.unparse(node.test), {"sys": sys})
            names |= names_in(node.body if met else node.orelse)
    return names


def public(namespace):
    return {name for name in namespace if not name.startswith("_")}


def test_module_has_the_names_of_the_stub():
    names = names_in(STUB.body)
    if not hasattr(_core, "AresChannel"):
        names.remove("AresChannel")  # built without c-ares
    assert public(names) == public(vars(_core))
    private = names - public(names)
    assert private - ALIASES <= set(vars(_core))


@pytest.mark.parametrize(
    "name", ["greenlet", "UnswitchableGreenlet", "error", "GreenletExit"]
)
def test_classes_have_the_members_of_the_stub(name):
    (node,) = (n for n in STUB.body if getattr(n, "name", "") == name)
    cls = getattr(_core, name)
    assert public(names_in(node.body)) == public(vars(cls))
    assert names_in(node.body) <= set(dir(cls))
    assert [ast.unparse(base) for base in node.bases] == [
        base.__name__ for base in cls.__bases__ if base is not object
    ]


def test_the_package_is_marked_as_typed():
    assert (PACKAGE / "py.typed").exists()


def test_stubtest(tmp_path):
    pytest.importorskip("mypy.stubtest")
    allowed = tmp_path / "allowed"
    # gevent's modules fill their namespaces as those do that they stand for.
    text = NOT_COMPARED
    if not hasattr(_core, "AresChannel"):
        text += "coir\\._core\\.AresChannel\n"
    allowed.write_text(text)
    config = tmp_path / "mypy.ini"
    config.write_text(
        "[mypy]\nignore_missing_imports = true\n"
        # Checked by mypy with what pyproject.toml says of it.
        "[mypy-coir.eventlet.*]\nignore_errors = true\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "coir"]
        + ["--allowlist", str(allowed), "--ignore-unused-allowlist"]
        + ["--mypy-config-file", str(config)],
        cwd=tmp_path,
        env={**os.environ, "MYPY_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# What inspect can't express: arguments in the midst that may be missing, or
# defaults that are no constants.
NO_SIGNATURE = {
    "HTTPStream.gettimeout",
    "get_loop",
    "greenlet.getcurrent",
    "greenlet.gettrace",
    "greenlet.settrace",
    "http_date",
    "set_loop",
    "set_socket_hooks",
    "socket_type",
}


def _callables():
    for node in STUB.body:
        if isinstance(node, ast.FunctionDef) and hasattr(_core, node.name):
            yield node.name, getattr(_core, node.name)
        if not isinstance(node, ast.ClassDef) or not hasattr(_core, node.name):
            continue
        cls = getattr(_core, node.name)
        for part in node.body:
            if isinstance(part, ast.FunctionDef) and part.name in vars(cls):
                if not part.name.startswith("_"):
                    yield f"{node.name}.{part.name}", getattr(cls, part.name)


def test_functions_and_methods_have_signatures():
    missing = set()
    for name, func in _callables():
        try:
            callable(func) and inspect.signature(func)
        except ValueError:
            missing.add(name)
    assert missing <= NO_SIGNATURE


def test_signatures_have_the_names_of_the_stubs():
    for cls, name, expected in (
        (_core.Greenlet, "join", "(self, /, timeout=None)"),
        (_core.Greenlet, "get", "(self, /, block=True, timeout=None)"),
        (_core.Event, "wait", "(self, /, timeout=None)"),
        (_core.AsyncResult, "set", "(self, /, value=None)"),
        (_core.Queue, "put", "(self, /, item, block=True, timeout=None)"),
        (_core.EvEvent, "send", "(self, /, result=None, exc=None)"),
    ):
        assert str(inspect.signature(getattr(cls, name))) == expected
    assert str(inspect.signature(_core.sleep)) == "(seconds=0, ref=True)"
    assert str(inspect.signature(_core.Greenlet.spawn)) == "(*args, **kwargs)"
