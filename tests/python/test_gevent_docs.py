"""The reference of coir.gevent names all there is."""

import importlib
import os
import pathlib
import pkgutil
import re
import subprocess
import sys

import pytest
from coir import gevent

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/reference/python/gevent.md").read_text()
WORDS = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]*)`", TEXT))))
HEADINGS = re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
WORDS |= set(re.findall(r"\w+", " ".join(HEADINGS)))

# Modules that stand for one of Python's, of which all names are there.
STANDS_FOR = {
    **dict.fromkeys(
        "builtins contextvars os queue select selectors signal socket ssl "
        "subprocess threading time".split()
    ),
    "thread": "_thread",
}
# In __all__ because patching replaces them.
NOT_FOR_USERS = {"_posixsubprocess", "allocate_lock", "start_new_thread"}


def modules():
    for found in pkgutil.walk_packages(gevent.__path__, "coir.gevent."):
        name = found.name.removeprefix("coir.gevent.")
        if "._" not in f".{name}" and name.split(".")[0] not in (
            "testing",
            "tests",
        ):
            yield name


@pytest.mark.parametrize("name", sorted(modules()))
def test_module(name):
    if name == "resolver.dnspython":
        pytest.importorskip("dns")
    if "ares" in name:  # a build without c-ares has none of them
        pytest.importorskip(f"coir.gevent.{name}", exc_type=ImportError)
    module = importlib.import_module(f"coir.gevent.{name}")
    assert module.__doc__, "no docstring"
    names = set(getattr(module, "__all__", ())) - NOT_FOR_USERS
    if name in STANDS_FOR:
        original = importlib.import_module(STANDS_FOR[name] or name)
        names -= set(dir(original))
    assert sorted(names - WORDS) == []
    assert name.split(".")[0] in WORDS


def classes():
    from coir.gevent import (
        core,
        event,
        greenlet,
        hub,
        lock,
        pool,
        queue,
        server,
        threadpool,
        timeout,
    )

    return [
        core.loop,
        event.AsyncResult,
        event.Event,
        greenlet.Greenlet,
        hub.Hub,
        hub.Waiter,
        lock.BoundedSemaphore,
        lock.RLock,
        lock.Semaphore,
        pool.Group,
        pool.Pool,
        queue.Channel,
        queue.Queue,
        server.DatagramServer,
        server.StreamServer,
        threadpool.ThreadPool,
        timeout.Timeout,
    ]


@pytest.mark.parametrize("cls", classes(), ids=lambda cls: cls.__name__)
def test_class(cls):
    from coir.greenlet import greenlet

    names = {name for name in dir(cls) if not name.startswith("_")}
    for base in (greenlet, BaseException):
        if issubclass(cls, base):
            names -= set(dir(base))
    # What the hub has for coir.eventlet is that one's.
    names -= {name for name in names if "eventlet" in name} | {"aborted"}
    assert sorted(names - WORDS) == []


@pytest.mark.parametrize("cls", classes(), ids=lambda cls: cls.__name__)
def test_docstrings(cls):
    bare = [
        name
        for name, value in vars(cls).items()
        if not name.startswith("_")
        and callable(value)
        and not getattr(value, "__doc__", None)
    ]
    assert bare == []


EXAMPLES = """
import doctest, importlib, sys
for name in sys.argv[1:]:
    module = importlib.import_module(f"gevent.{name}")
    failed, attempted = doctest.testmod(module)
    assert attempted and not failed, name
"""


def test_examples_in_docstrings():
    names = (
        "_config _waiter event local pywsgi queue subprocess timeout".split()
    )
    done = subprocess.run(
        [sys.executable, "-c", EXAMPLES, *names],
        env={**os.environ, "COIR_AS": "gevent"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


PICKLES = """
import pickle, gevent, gevent.event, gevent.queue, gevent.lock
for cls in (gevent.Timeout, gevent.Greenlet, gevent.event.AsyncResult,
            gevent.queue.Queue, gevent.lock.Semaphore):
    assert cls.__module__.startswith("gevent."), cls
    assert pickle.loads(pickle.dumps(cls)) is cls
    assert b"coir" not in pickle.dumps(cls)
"""


def test_types_are_known_by_the_name_of_the_package():
    """What is pickled with Coir can be read by the original."""
    subprocess.run(
        [sys.executable, "-c", PICKLES],
        env={**os.environ, "COIR_AS": "gevent"},
        check=True,
        timeout=120,
    )
    assert gevent.Timeout.__module__ == "coir.gevent.timeout"
