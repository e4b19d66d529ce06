"""coir.install_as() and COIR_AS: other packages' names for ours.

Each case is a Python of its own. The original that is stood in for is a small
made-up package, so that it does not matter what else is installed.
"""

import ast
import os
import pathlib
import subprocess
import sys
import textwrap

import pytest

FAKE = {
    "greenlet/__init__.py": "from . import _greenlet\nIS_ORIGINAL = True\n",
    "greenlet/_greenlet.py": "IS_ORIGINAL = True\n",
    "greenlet/tests/__init__.py": "",
    "greenlet/tests/test_it.py": """\
        import sys
        from greenlet import greenlet
        from .. import _greenlet
        from . import helper
        print(greenlet.__name__, helper.NAME, sys.argv[1:])
    """,
    "greenlet/tests/helper.py": "NAME = __name__\n",
    "greenlet-0.4.dist-info/METADATA": """\
        Metadata-Version: 2.1
        Name: greenlet
        Version: 0.4
    """,
    "gevent/__init__.py": "IS_ORIGINAL = True\n",
    "gevent/_of_the_original.py": "IS_ORIGINAL = True\n",
    "gevent/event.py": "IS_ORIGINAL = True\n",
    "gevent/tests/__init__.py": "",
    "gevent/tests/test_it.py": """\
        import gevent.event
        print(__name__, gevent.event.Event.__name__)
    """,
    "gevent-1.0.dist-info/METADATA": """\
        Metadata-Version: 2.1
        Name: gevent
        Version: 1.0
        Provides-Extra: test
    """,
}


@pytest.fixture
def original(tmp_path):
    """Directory that holds an old, installed greenlet."""
    for name, text in FAKE.items():
        path = tmp_path / "original" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return str(tmp_path / "original")


def python(*args, coir_as=None, path=None, status=0):
    """Run Python; return what it wrote, stripped."""
    env = {k: v for k, v in os.environ.items() if k != "COIR_AS"}
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    if coir_as is not None:
        env["COIR_AS"] = coir_as
    if path is not None:
        env["PYTHONPATH"] = path
    done = subprocess.run(
        [sys.executable, *args],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == status, done.stderr
    return (done.stdout + done.stderr).strip()


def code(text, **options):
    return python("-c", textwrap.dedent(text), **options)


#: The two ways to ask, as a line of code and the environment to run it in.
WAYS = pytest.mark.parametrize(
    ("ask", "coir_as"),
    [("import coir; coir.install_as('greenlet')", None), ("pass", "greenlet")],
    ids=["install_as", "COIR_AS"],
)


@WAYS
def test_name_gives_ours(ask, coir_as, original):
    text = f"""
        {ask}
        import greenlet, greenlet._greenlet, coir.greenlet
        from greenlet import greenlet as a
        from greenlet import _greenlet as b
        from greenlet._greenlet import getcurrent
        assert a is coir.greenlet.greenlet is b.greenlet
        assert b is greenlet._greenlet
        assert getcurrent is coir.greenlet.getcurrent
        assert greenlet.__name__ == greenlet.__spec__.name == "greenlet"
        assert coir.greenlet.__name__ == "coir.greenlet"
        assert not hasattr(greenlet, "IS_ORIGINAL")
        assert not hasattr(b, "IS_ORIGINAL")
        print(a(lambda: 42).switch())
    """
    assert code(text, coir_as=coir_as) == "42"
    assert code(text, coir_as=coir_as, path=original) == "42"


def test_nothing_is_shadowed_unless_asked(original):
    out = code(
        """
        import coir, coir.greenlet, importlib.metadata, greenlet
        assert greenlet.IS_ORIGINAL
        print(importlib.metadata.version("greenlet"))
        """,
        path=original,
    )
    assert out == "0.4"


def test_environment_without_variable_imports_nothing_of_ours():
    text = "import sys; print([m for m in sys.modules if 'coir' in m])"
    assert code(text) == "[]"
    assert code(text, coir_as="") == "[]"


@WAYS
def test_c_api_is_found(ask, coir_as):
    out = code(
        f"""
        {ask}
        import ctypes
        load = ctypes.pythonapi.PyCapsule_Import
        load.argtypes = [ctypes.c_char_p, ctypes.c_int]
        load.restype = ctypes.c_void_p
        table = load(b"greenlet._C_API", 0)
        first = ctypes.cast(table, ctypes.POINTER(ctypes.c_void_p))[0]
        import greenlet
        print(first == id(greenlet.greenlet))
        """,
        coir_as=coir_as,
    )
    assert out == "True"


@WAYS
def test_metadata(ask, coir_as, original):
    text = f"""
        {ask}
        import importlib.metadata as metadata
        import coir.greenlet
        dist = metadata.distribution("greenlet")
        assert dist.version == coir.greenlet.__version__, dist.version
        assert dist.metadata["Name"] == dist.name == "greenlet"
        assert metadata.version("Greenlet") == dist.version
        assert dist.requires is None and list(dist.entry_points) == []
        assert "greenlet" in metadata.packages_distributions()["greenlet"]
        assert metadata.version("coir") == coir.__version__
        found = metadata.distributions()
        versions = [d.version for d in found if d.name == "greenlet"]
        assert versions[0] == dist.version
        try:
            metadata.distribution("no-such-thing")
        except metadata.PackageNotFoundError:
            print("ok")
    """
    assert code(text, coir_as=coir_as) == "ok"
    assert code(text, coir_as=coir_as, path=original) == "ok"


def test_metadata_of_a_given_path_is_what_lies_there(original):
    out = code(
        f"""
        import importlib.metadata as metadata, sys
        found = metadata.distributions(path=[{original!r}])
        print(sorted(d.version for d in found))
        print([d for d in metadata.distributions(path=["/nonexistent"])])
        """,
        coir_as="greenlet",
    )
    assert out.split("\n") == ["['0.4', '1.0']", "[]"]


def test_metadata_satisfies_a_requirement(original):
    packaging = pytest.importorskip("packaging.requirements")
    version = code(
        "import importlib.metadata as m; print(m.version('greenlet'))",
        coir_as="greenlet",
        path=original,
    )
    assert packaging.Requirement("greenlet>=3.1,<4").specifier.contains(
        version
    )


@WAYS
def test_find_spec(ask, coir_as):
    out = code(
        f"""
        {ask}
        import importlib.util, inspect, sys
        spec = importlib.util.find_spec("greenlet")
        assert "greenlet" not in sys.modules
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        import greenlet
        assert module is not greenlet and module.greenlet is greenlet.greenlet
        assert spec.name == "greenlet" and spec.origin == greenlet.__file__
        source = spec.loader.get_source("greenlet")
        assert source == inspect.getsource(greenlet)
        assert importlib.util.find_spec("greenlet") is greenlet.__spec__
        assert importlib.util.find_spec("greenlet._greenlet").origin
        print(importlib.util.find_spec("greenlet.no_such_thing"))
        """,
        coir_as=coir_as,
    )
    assert out == "None"


@WAYS
def test_reload_and_import_again(ask, coir_as, original):
    out = code(
        f"""
        {ask}
        import importlib, sys
        import greenlet
        kept = greenlet.greenlet
        assert importlib.reload(greenlet) is greenlet
        assert greenlet.greenlet is kept
        del sys.modules["greenlet"], sys.modules["greenlet._greenlet"]
        importlib.invalidate_caches()
        import greenlet as again
        assert again is not greenlet and again.greenlet is kept
        print("ok")
        """,
        coir_as=coir_as,
        path=original,
    )
    assert out == "ok"


@WAYS
def test_submodules_of_the_original(ask, coir_as, original):
    out = code(
        f"""
        {ask}
        from greenlet import tests
        from greenlet.tests import test_it
        import greenlet.tests.helper
        """,
        coir_as=coir_as,
        path=original,
    )
    assert out == "greenlet greenlet.tests.helper []"


def test_submodule_as_program(original):
    args = ["-m", "greenlet.tests.test_it", "x"]
    out = python(*args, coir_as="greenlet", path=original)
    assert out == "greenlet greenlet.tests.helper ['x']"
    out = python("-m", "greenlet", coir_as="greenlet", status=1)
    assert "cannot be directly executed" in out


@WAYS
def test_pickled_names(ask, coir_as):
    out = code(
        f"""
        {ask}
        import pickle
        import coir.greenlet, greenlet
        for cls in greenlet.GreenletExit, greenlet.error:
            # As written by a process with the original ...
            theirs = b"cgreenlet\\n" + cls.__name__.encode() + b"\\n."
            assert pickle.loads(theirs) is cls
            # ... and for one.
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
                ours = pickle.dumps(cls("why"), protocol)
                assert b"coir" not in ours, ours
                back = pickle.loads(ours)
                assert type(back) is cls and back.args == ("why",)
        cls = greenlet.greenlet
        assert pickle.loads(pickle.dumps(cls)) is cls
        print("ok")
        """,
        coir_as=coir_as,
    )
    assert out == "ok"


def test_pickled_names_without_alias(original):
    out = code(
        """
        import pickle
        import coir.greenlet as g
        for cls in g.GreenletExit, g.error:
            assert pickle.loads(pickle.dumps(cls)) is cls
        print("ok")
        """,
        path=original,
    )
    assert out == "ok"


@pytest.mark.parametrize("module", ["greenlet", "greenlet._greenlet"])
def test_original_was_imported_before(module, original):
    out = code(
        f"""
        import {module}, coir, sys
        before = sys.meta_path[:]
        for attempt in 1, 2:
            try:
                coir.install_as("greenlet")
            except RuntimeError as exc:
                message = str(exc)
        import greenlet
        assert greenlet.IS_ORIGINAL
        for finder in sys.meta_path:
            if finder not in before:
                assert finder.find_spec("greenlet") is None
        print(message)
        """,
        path=original,
    )
    assert out.startswith("greenlet was imported before")
    for hint in ("import", "COIR_AS=greenlet", "coir run --as greenlet"):
        assert hint in out


def test_a_leftover_of_the_original_counts_as_imported(original):
    out = code(
        """
        import greenlet, coir, sys
        del sys.modules["greenlet"]
        try:
            coir.install_as("greenlet")
        except RuntimeError:
            print("ok")
        """,
        path=original,
    )
    assert out == "ok"


def test_asking_twice(original):
    out = code(
        """
        import coir, sys
        coir.install_as("greenlet")
        finders = sys.meta_path[:]
        import greenlet
        coir.install_as("greenlet", "greenlet")
        print(sys.meta_path == finders)
        """,
        coir_as="greenlet , greenlet",
        path=original,
    )
    assert out == "True"


def test_set_by_hand():
    out = code(
        """
        import sys, coir.greenlet
        sys.modules["greenlet"] = coir.greenlet
        coir.install_as("greenlet")
        import greenlet
        print(greenlet is coir.greenlet)
        """
    )
    assert out == "True"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("'no_such'", "ValueError: Coir does not stand in for 'no_such'"),
        ("'greenlet', 'curio'", "ValueError: Coir does not stand in for"),
        ("['greenlet']", "TypeError: names must be str"),
        ("", "TypeError: install_as() needs at least one name"),
    ],
)
def test_bad_names(call, message, original):
    out = code(
        f"""
        import coir
        try:
            coir.install_as({call})
        except Exception as exc:
            print(f"{{type(exc).__name__}}: {{exc}}")
        import greenlet
        assert greenlet.IS_ORIGINAL
        """,
        path=original,
    )
    assert out.startswith(message)


def test_bad_names_in_the_environment():
    out = code(
        "import greenlet; print(greenlet.__file__)",
        coir_as="no_such,greenlet,curio",
    )
    file, *messages = out.split("\n")
    assert "coir" in file
    assert len(messages) == 2
    assert "COIR_AS" in messages[0] and "'no_such'" in messages[0]
    assert "COIR_AS" in messages[1] and "'curio'" in messages[1]


def test_threads_that_install_and_import(original):
    out = code(
        """
        import sys, threading
        sys.setswitchinterval(1e-6)
        import coir
        seen, start = [], threading.Barrier(16)
        def work():
            start.wait()
            coir.install_as("greenlet")
            import greenlet
            seen.append(greenlet)
        threads = [threading.Thread(target=work) for _ in range(16)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert len(seen) == 16 and len(set(seen)) == 1, seen
        kinds = [type(finder).__module__ for finder in sys.meta_path]
        assert kinds.count("coir._alias") == 1
        print("coir" in seen[0].__file__)
        """,
        path=original,
    )
    assert out == "True"


def test_multiprocessing_spawn(tmp_path, original):
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """
            import multiprocessing
            from greenlet import getcurrent, greenlet, GreenletExit

            def work(x):
                import greenlet
                assert "coir" in greenlet.__file__
                return GreenletExit(greenlet.greenlet(lambda: x + 1).switch())

            if __name__ == "__main__":
                with multiprocessing.get_context("spawn").Pool(2) as pool:
                    print([e.args for e in pool.map(work, range(3))])
            """
        )
    )
    out = python(str(program), coir_as="greenlet", path=original)
    assert out == "[(1,), (2,), (3,)]"


#: Ways to have gevent, and what its modules are called then.
GEVENT = pytest.mark.parametrize(
    ("ask", "coir_as", "name"),
    [
        ("import coir; coir.install_as('gevent')", None, "gevent"),
        ("pass", "gevent", "gevent"),
        ("import coir.gevent", "gevent", "gevent"),
        (
            "import coir.gevent; coir.install_as('gevent')",
            None,
            "coir.gevent",
        ),
    ],
    ids=["install_as", "COIR_AS", "both names", "imported before"],
)


@GEVENT
def test_gevent_is_one_package_under_two_names(ask, coir_as, name, original):
    text = f"""
        {ask}
        import sys
        import gevent.event, coir.gevent.hub
        import gevent.hub, coir.gevent.event
        import coir.gevent.monkey as a
        import gevent.monkey as b
        import coir.gevent as c
        import gevent.resolver.thread, coir.gevent.resolver.thread
        assert gevent is coir.gevent is c and a is b
        assert gevent.event is coir.gevent.event
        pairs = [
            (module, sys.modules[key.removeprefix("coir.")])
            for key, module in list(sys.modules.items())
            if key.startswith("coir.gevent.")
            and key.removeprefix("coir.") in sys.modules
        ]
        assert len(pairs) > 4 and all(x is y for x, y in pairs)
        for module in gevent, gevent.event, a:
            assert module.__name__ == module.__spec__.name
            assert module.__name__.startswith({name!r})
            assert module.__package__ == module.__spec__.parent
        assert not hasattr(gevent, "IS_ORIGINAL")
        assert gevent.hub.Hub.__module__ == {name!r} + ".hub"
        print(gevent.spawn(lambda: 42).get())
    """
    assert code(text, coir_as=coir_as) == "42"
    assert code(text, coir_as=coir_as, path=original) == "42"


@GEVENT
def test_gevent_brings_greenlet(ask, coir_as, name, original):
    out = code(
        f"""
        {ask}
        import gevent, greenlet, coir.greenlet
        assert isinstance(gevent.getcurrent(), greenlet.greenlet)
        print(greenlet.greenlet is coir.greenlet.greenlet)
        """,
        coir_as=coir_as,
        path=original,
    )
    assert out == "True"


@GEVENT
def test_only_what_is_listed_comes_from_the_original_gevent(
    ask, coir_as, name, original
):
    out = code(
        f"""
        {ask}
        import importlib
        import gevent.tests.test_it
        for module in "_of_the_original", "no_such", "tests.no_such":
            for package in "gevent", "coir.gevent":
                try:
                    importlib.import_module(f"{{package}}.{{module}}")
                except ModuleNotFoundError:
                    pass
                else:
                    print("found", package, module)
        """,
        coir_as=coir_as,
        path=original,
    )
    assert out == "gevent.tests.test_it Event"


@GEVENT
def test_gevent_without_the_original(ask, coir_as, name):
    out = code(
        f"""
        {ask}
        import sys
        import gevent
        from importlib.machinery import PathFinder
        assert gevent.config is coir.gevent.config
        if PathFinder.find_spec("gevent") is None:
            try:
                import gevent.tests
            except ModuleNotFoundError as exc:
                assert exc.name == "gevent.tests"
        print("ok")
        """.replace("import sys", "import sys, coir.gevent"),
        coir_as=coir_as,
    )
    assert out == "ok"


@GEVENT
def test_metadata_of_gevent(ask, coir_as, name, original):
    out = code(
        f"""
        {ask}
        import importlib.metadata as metadata
        import coir.gevent
        assert metadata.version("gevent") == coir.gevent.__version__
        assert metadata.metadata("gevent")["Name"] == "gevent"
        print(metadata.requires("gevent"))
        """,
        coir_as=coir_as,
        path=original,
    )
    assert out == "None"


@GEVENT
def test_import_gevent_again(ask, coir_as, name, original):
    out = code(
        f"""
        {ask}
        import importlib
        import gevent.util, coir.gevent.util
        kept = gevent.util
        assert importlib.reload(gevent.util) is kept is coir.gevent.util
        assert importlib.reload(coir.gevent.util) is kept
        assert importlib.util.find_spec("gevent.util") is kept.__spec__
        assert importlib.util.find_spec("gevent.no_such") is None
        print("ok")
        """,
        coir_as=coir_as,
        path=original,
    )
    assert out == "ok"


def test_gevent_does_not_depend_on_its_place():
    """Loaded as ``gevent``, it is below nothing: ``from ..`` cannot work."""
    import coir

    root = pathlib.Path(coir.__file__).parent / "gevent"
    for path in root.rglob("*.py"):
        depth = len(path.relative_to(root).parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.level <= depth, (path, node.lineno)


def test_gevent_monkey_as_program(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import socket, sys, gevent.socket, coir.gevent.monkey as m\n"
        "assert m.is_module_patched('socket')\n"
        "print(socket.socket is gevent.socket.socket, sys.argv[1:])\n"
    )
    for module in "gevent.monkey", "coir.gevent.monkey":
        out = python("-m", module, str(program), "x", coir_as="gevent")
        assert out == "True ['x']"


def test_the_original_gevent_or_greenlet_was_imported_before(original):
    for name in "gevent", "greenlet":
        out = code(
            f"""
            import {name}, coir
            try:
                coir.install_as("gevent")
            except RuntimeError as exc:
                print(exc)
            import gevent, greenlet
            assert gevent.IS_ORIGINAL and greenlet.IS_ORIGINAL
            """,
            path=original,
        )
        assert out.startswith(f"{name} was imported before")


def test_threads_that_import_gevent_by_both_names():
    out = code(
        """
        import sys, threading
        sys.setswitchinterval(1e-6)
        import importlib
        seen, start = [], threading.Barrier(8)
        def work(prefix):
            start.wait()
            seen.append(importlib.import_module(prefix + "gevent.pool"))
        threads = [
            threading.Thread(target=work, args=(prefix,))
            for prefix in ["", "coir."] * 4
        ]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(len(seen), len(set(seen)))
        """,
        coir_as="gevent",
    )
    assert out == "8 1"


def test_what_the_module_has():
    import coir.greenlet as g

    assert set(g.__all__) == {
        "_C_API", "GreenletExit", "__version__", "error", "getcurrent",
        "greenlet", "gettrace", "settrace",
    }  # fmt: skip
    for name in g.__all__ + [
        "CLOCKS_PER_SEC", "GREENLET_USE_CONTEXT_VARS", "GREENLET_USE_GC",
        "GREENLET_USE_TRACING", "enable_optional_cleanup",
        "get_clocks_used_doing_optional_cleanup", "_greenlet",
        "get_stack_size", "set_stack_size",
        "get_stack_policy", "set_stack_policy",
    ]:  # fmt: skip
        assert hasattr(g, name)
    for name in (
        "GREENLET_USE_STANDARD_THREADING", "UnswitchableGreenlet", "_C_API",
        "get_pending_cleanup_count", "get_total_main_greenlets",
        "set_thread_local", "greenlet", "error", "getcurrent",
    ):  # fmt: skip
        assert hasattr(g._greenlet, name)
    assert g._greenlet.greenlet is g.greenlet
    assert [int(part) for part in g.__version__.split(".")][:2] == [3, 5]


def test_eventlet_is_one_package_under_two_names():
    out = code(
        """
        import eventlet.hubs.timer, coir.eventlet.hubs, coir.eventlet, greenlet
        assert eventlet is coir.eventlet
        assert eventlet.hubs is coir.eventlet.hubs
        assert eventlet.GreenPool.__module__ == "eventlet.greenpool"
        assert issubclass(eventlet.greenthread.GreenThread, greenlet.greenlet)
        from importlib import metadata
        assert metadata.version("eventlet") == eventlet.__version__
        print(eventlet.spawn(lambda: 42).wait())
        """,
        coir_as="eventlet",
    )
    assert out == "42"
