"""Prints, as JSON, the commands that gevent's own test runner would run."""

import json
import logging
import sys

from gevent.testing import testrunner
from gevent.tests import known_failures

logging.disable()
names = ("FAILING_TESTS", "IGNORED_TESTS", "RUN_ALONE", "TEST_FILE_OPTIONS",
         "IGNORE_COVERAGE")
config = {name: getattr(known_failures, name) for name in names}
found = testrunner.Discovery(
    ignored=config["IGNORED_TESTS"], package="gevent.tests", config=config,
    allow_combine=False)
jobs = []
for command, options in found:
    name = command[-1].rpartition(".")[2]
    jobs.append({
        "name": name,
        "command": command,
        "timeout": (options or {}).get("timeout", testrunner.TIMEOUT),
        "alone": f"{name}.py" in config["RUN_ALONE"],
    })
json.dump(jobs, sys.__stdout__)
