"""Runs one of greenlet's test modules and notes each step in a file.

    worker.py MODULE EVENTS SKIP PATTERN

EVENTS gets one JSON object per line, flushed before a test starts, so that
whoever watches knows which test crashed or hung. SKIP is a file of test ids,
one per line, that are left out, as are those without PATTERN in their id.
"""

import json
import sys
import unittest


class Result(unittest.TestResult):
    """Notes the start and the outcome of each test."""

    def __init__(self, note):
        super().__init__()
        self.note = note
        self.outcome = None

    def startTest(self, test):
        super().startTest(test)
        self.outcome = ("pass", "")
        self.note(event="start", id=test.id())

    def stopTest(self, test):
        super().stopTest(test)
        if self.outcome is None:
            return  # CPython 3.12.1 stops skipped tests it never started
        self.note(event="end", id=test.id(), outcome=self.outcome[0],
                  text=self.outcome[1])
        self.outcome = None

    def _set(self, test, outcome, text):
        if self.outcome is None:
            # Outside any test: setUpClass, setUpModule; see stopTest().
            self.note(event="start", id=test.id())
            self.note(event="end", id=test.id(), outcome=outcome, text=text)
        elif self.outcome[0] != "fail":
            self.outcome = (outcome, text)

    def addError(self, test, err):
        super().addError(test, err)
        self._set(test, "fail", self.errors[-1][1])

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._set(test, "fail", self.failures[-1][1])

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._set(test, "fail", f"{subtest}\n"
                      f"{self._exc_info_to_string(err, subtest)}")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._set(test, "skip", reason)

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self._set(test, "fail", "unexpected success")


def flatten(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from flatten(item)
        else:
            yield item


def main():
    module, events_path, skip_path, pattern = sys.argv[1:]
    with open(skip_path) as file:
        skip = set(file.read().splitlines())
    with open(events_path, "a", buffering=1) as events:

        def note(**event):
            events.write(json.dumps(event) + "\n")

        loader = unittest.defaultTestLoader
        tests = [t for t in flatten(loader.loadTestsFromName(module))
                 if t.id() not in skip and pattern in t.id()]
        unittest.TestSuite(tests).run(Result(note))

        import greenlet  # whose it was is known only now

        core = sys.modules.get("coir._core")
        with open("/proc/self/maps") as maps:
            mapped = "/greenlet/_greenlet." in maps.read()
        note(event="done", original_mapped=mapped,
             coir=core is not None and core.greenlet is greenlet.greenlet)


if __name__ == "__main__":
    main()
