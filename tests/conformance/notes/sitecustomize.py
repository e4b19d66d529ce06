"""Notes what unittest does with each test of a program, in a file.

For the suites that run others' test files as those are run by their own
project, and yet want to know about each test. Python imports this at its
start, when this directory is on PYTHONPATH. It does something only in the
process that was started with COIR_TEST_NOTES, the name of the file: neither
in its children nor in its forks. Each note is the repr() of a dict, a line,
and is in the file before the test goes on, so that whoever reads it knows
what ran when the process crashed or hung.

COIR_TEST_SKIP names a file of ids, a line each, of tests to leave out;
COIR_TEST_ONLY is a text that must be in the id of a test to be run.

What runs must not be disturbed: nothing is imported here, unittest is changed
when the program imports it, and system calls are made that nobody patches.
"""

import sys


def _read_lines(posix, path):
    fd = posix.open(path, posix.O_RDONLY)
    data = b""
    while part := posix.read(fd, 65536):
        data += part
    posix.close(fd)
    return set(data.decode("utf-8", "replace").split("\n"))


class _Notes:
    """Where notes go, and from which process."""

    def __init__(self, posix, path):
        self._open, self._close = posix.open, posix.close
        self._write, self._getpid = posix.write, posix.getpid
        self._flags = posix.O_WRONLY | posix.O_APPEND | posix.O_CLOEXEC
        self._path = path
        self._pid = posix.getpid()

    def add(self, **note):
        if self._getpid() != self._pid:
            return
        data = (repr(note) + "\n").encode("utf-8", "backslashreplace")
        fd = self._open(self._path, self._flags)
        self._write(fd, data)
        self._close(fd)


class _Finder:
    """Changes modules of unittest right after they were executed."""

    def __init__(self, changes):
        self._changes = changes
        self._busy = False

    def find_spec(self, fullname, path=None, target=None):
        change = self._changes.get(fullname)
        if change is None or self._busy:
            return None
        self._busy = True
        try:
            from importlib.util import find_spec

            spec = find_spec(fullname)
        finally:
            self._busy = False
        del self._changes[fullname]
        if not self._changes:
            sys.meta_path.remove(self)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            change(module)

        spec.loader.exec_module = exec_module
        return spec


def _change_result(module, notes):
    """Make every TestResult note what it is told."""
    result_class = module.TestResult

    def wrap(name, handle):
        method = getattr(result_class, name)

        def replacement(self, *args, **kwargs):
            value = method(self, *args, **kwargs)
            handle(self, *args)
            return value

        replacement.__name__ = name
        setattr(result_class, name, replacement)

    state = {}  # by id(): of a test that runs, its outcome and a text

    def start(self, test):
        state[id(test)] = ("pass", "")
        gevent = sys.modules.get("gevent") or sys.modules.get("coir.gevent")
        notes.add(event="start", id=test.id(),
                  gevent=getattr(gevent, "__file__", None))

    def stop(self, test):
        found = state.pop(id(test), None)
        if found is not None:  # CPython 3.12.1 stops what it never started
            notes.add(event="end", id=test.id(), outcome=found[0],
                      text=found[1])

    def set_outcome(test, outcome, text):
        now = state.get(id(test))
        if now is None:  # outside any test: setUpClass(), setUpModule()
            notes.add(event="start", id=test.id(), gevent=None)
            notes.add(event="end", id=test.id(), outcome=outcome, text=text)
        elif now[0] != "fail":
            state[id(test)] = (outcome, text)

    def error(self, test, err):
        set_outcome(test, "fail", self.errors[-1][1])

    def failure(self, test, err):
        set_outcome(test, "fail", self.failures[-1][1])

    def skip(self, test, reason):
        # With a subtest it is not the test that was skipped.
        if hasattr(test, "test_case"):
            return
        set_outcome(test, "skip", str(reason))

    def subtest(self, test, subtest, err):
        if err is not None:
            found = (self.errors + self.failures)[-1:]
            text = found[0][1] if found else repr(err)
            set_outcome(test, "fail", f"{subtest}\n{text}")

    def unexpected(self, test):
        set_outcome(test, "fail", "unexpected success")

    wrap("startTest", start)
    wrap("stopTest", stop)
    wrap("addError", error)
    wrap("addFailure", failure)
    wrap("addSkip", skip)
    wrap("addSubTest", subtest)
    wrap("addUnexpectedSuccess", unexpected)


def _change_case(module, skip, only):
    """Make TestCase leave out what is not to be run."""
    run = module.TestCase.run

    def replacement(self, result=None):
        name = self.id()
        if name in skip or only not in name:
            return result
        return run(self, result)

    replacement.__name__ = "run"
    module.TestCase.run = replacement


def _install():
    import os  # which Python has imported by now
    import posix

    here = os.path.dirname(os.path.abspath(__file__))
    path = os.environ.pop("COIR_TEST_NOTES", "")
    skip = os.environ.pop("COIR_TEST_SKIP", "")
    only = os.environ.pop("COIR_TEST_ONLY", "")
    others = [part for part in os.environ.get("PYTHONPATH", "").split(":")
              if part and os.path.abspath(part) != here]
    if others:
        os.environ["PYTHONPATH"] = ":".join(others)
    else:
        os.environ.pop("PYTHONPATH", None)
    sys.path[:] = [part for part in sys.path if part != here]
    if not path:
        return
    notes = _Notes(posix, path)
    names = _read_lines(posix, skip) if skip else set()
    sys.meta_path.insert(0, _Finder({
        "unittest.result": lambda m: _change_result(m, notes),
        "unittest.case": lambda m: _change_case(m, names, only),
    }))


_install()
