"""A pytest plugin that notes what becomes of each test, in a file.

The notes are those of ``../../notes/sitecustomize.py``, for suites that need
pytest: COIR_TEST_NOTES names the file, COIR_TEST_SKIP one of ids to leave
out, COIR_TEST_ONLY is a text that must be in an id. System calls are those
that nobody has patched yet.
"""

import os
import posix
import sys

_PATH = os.environ.pop("COIR_TEST_NOTES", "")
_SKIP = os.environ.pop("COIR_TEST_SKIP", "")
_ONLY = os.environ.pop("COIR_TEST_ONLY", "")
_open, _write, _close, _getpid = (posix.open, posix.write, posix.close,
                                  posix.getpid)
_FLAGS = posix.O_WRONLY | posix.O_APPEND | posix.O_CLOEXEC
_pid = posix.getpid()
_outcomes = {}

_HERE = os.path.dirname(os.path.abspath(__file__))
_others = [part for part in os.environ.pop("PYTHONPATH", "").split(":")
           if part and os.path.abspath(part) != _HERE]
if _others:
    os.environ["PYTHONPATH"] = ":".join(_others)
sys.path[:] = [part for part in sys.path if part != _HERE]


def _add(**note):
    if _getpid() != _pid or not _PATH:
        return
    fd = _open(_PATH, _FLAGS)
    _write(fd, (repr(note) + "\n").encode("utf-8", "backslashreplace"))
    _close(fd)


def _origin():
    module = sys.modules.get("eventlet")
    return getattr(module, "__file__", None)


def pytest_collection_modifyitems(config, items):
    skip = set()
    if _SKIP:
        with open(_SKIP) as file:
            skip = set(file.read().split("\n"))
    items[:] = [item for item in items
                if item.nodeid not in skip and _ONLY in item.nodeid]


def pytest_collectreport(report):
    if report.failed:
        name = f"{report.nodeid}::collection"
        _add(event="start", id=name, gevent=_origin())
        _add(event="end", id=name, outcome="fail", text=str(report.longrepr))


def pytest_runtest_logstart(nodeid, location):
    _outcomes[nodeid] = ("pass", "")
    _add(event="start", id=nodeid, gevent=_origin())


def pytest_runtest_logreport(report):
    if report.failed:
        _outcomes[report.nodeid] = ("fail", str(report.longrepr))
    elif report.skipped and _outcomes[report.nodeid][0] == "pass":
        reason = report.longrepr
        if isinstance(reason, tuple):
            reason = reason[2]
        if hasattr(report, "wasxfail"):
            reason = f"expected to fail: {report.wasxfail}"
        _outcomes[report.nodeid] = ("skip", str(reason))


def pytest_runtest_logfinish(nodeid, location):
    outcome, text = _outcomes.pop(nodeid, ("pass", ""))
    _add(event="end", id=nodeid, outcome=outcome, text=text)
