"""The reference of coir.eventlet names all there is."""

import importlib
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/reference/python/eventlet.md").read_text()
WORDS = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]*)`", TEXT))))
HEADINGS = re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
WORDS |= set(re.findall(r"\w+", " ".join(HEADINGS)))

MODULES = (
    "asyncio backdoor convenience corolocal coros dagpool db_pool debug event "
    "greenpool greenthread hubs lock patcher pools queue semaphore timeout "
    "tpool"
).split()


@pytest.mark.parametrize("name", MODULES)
def test_module(name):
    module = importlib.import_module(f"coir.eventlet.{name}")
    assert module.__doc__, "no docstring"
    names = set(getattr(module, "__all__", ()))
    assert sorted(names - WORDS) == []
    assert name in WORDS


CLASSES = {
    "dagpool": ["DAGPool"],
    "event": ["Event"],
    "greenpool": ["GreenPool", "GreenPile"],
    "greenthread": ["GreenThread"],
    "hubs.hub": ["BaseHub"],
    "hubs.timer": ["Timer"],
    "pools": ["Pool"],
    "queue": ["LightQueue", "Queue"],
    "semaphore": ["Semaphore", "CappedSemaphore"],
    "timeout": ["Timeout"],
}


@pytest.mark.parametrize(
    ("module", "name"),
    [(m, name) for m, names in CLASSES.items() for name in names],
)
def test_members(module, name):
    cls = getattr(importlib.import_module(f"coir.eventlet.{module}"), name)
    names = {
        name
        for base in cls.__mro__
        if base.__module__.startswith(("coir.eventlet", "coir._core"))
        for name in vars(base)
        if not name.startswith("_")
    }
    inner = {"closed_callback", "lclass"}
    assert sorted(names - WORDS - inner) == []
