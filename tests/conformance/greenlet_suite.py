"""greenlet's own tests, from its installed package, on Coir's greenlets.

Each test module runs in a process of its own, on Coir and on the original.
A test that crashes or hangs its process counts as failed; the module's
remaining tests are then run by another process.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile
import textwrap
import tomllib

from _env import (
    HERE,
    Environment,
    Totals,
    check_origin,
    origin_error,
    variables,
)
from _unittests import Outcome, how_ended, watch

DATA = HERE / "greenlet"

#: characters of a crashed process's output that are shown
OUTPUT_SHOWN = 6000


def load_deviations(path: pathlib.Path) -> dict[str, str]:
    """Tests that Coir fails on purpose: their short names and the reasons."""
    with open(path, "rb") as file:
        entries = tomllib.load(file).get("deviation", [])
    version = "{}.{}".format(*sys.version_info)
    return {entry["test"]: entry["reason"] for entry in entries
            if version in entry.get("versions", [version])}


def short(test_id: str) -> str:
    return test_id.removeprefix("greenlet.tests.")


def _events(path: pathlib.Path) -> list[dict]:
    """The complete lines written so far."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def run_module(python: str, on: str, module: str, pattern: str,
               timeout: float) -> dict[str, Outcome]:
    """Run one module to its end, in as many processes as that takes.

    :param pattern: only tests with this in their id; "" for all.
    :param timeout: seconds without any progress before a kill.
    :returns: outcomes by test id. What went wrong outside of any test is
        there under the module's name.
    """
    results: dict[str, Outcome] = {}
    name = f"greenlet.tests.{module}"
    with tempfile.TemporaryDirectory(prefix="coir-conf-") as tmp:
        skip_file = pathlib.Path(tmp, "skip")
        events_file = pathlib.Path(tmp, "events")
        output_file = pathlib.Path(tmp, "output")
        while True:
            known = len(results)
            skip_file.write_text("\n".join(results))
            events_file.write_text("")
            with open(output_file, "wb") as output:
                proc = subprocess.Popen(
                    [python, "-P", str(DATA / "worker.py"), name,
                     str(events_file), str(skip_file), pattern],
                    stdin=subprocess.DEVNULL, stdout=output,
                    stderr=subprocess.STDOUT, cwd=tmp, env=variables(on),
                    start_new_session=True)
                in_time = watch(proc, events_file, timeout)
            running = done = None
            for event in _events(events_file):
                match event["event"]:
                    case "start":
                        running = event["id"]
                    case "end":
                        results[event["id"]] = Outcome(event["outcome"],
                                                       event["text"])
                        running = None
                    case "done":
                        done = event
            how = (how_ended(proc.returncode) if in_time
                   else f"no progress for {timeout:.0f} s, killed")
            tail = output_file.read_text(errors="replace")[-OUTPUT_SHOWN:]
            if done is not None:
                if on == "coir" and origin_error(done):
                    results[name] = Outcome("fail", origin_error(done))
                elif proc.returncode:
                    results[name] = Outcome(
                        "fail", f"after all its tests: {how}\n{tail}")
                return results
            if running is not None:
                results[running] = Outcome("fail", f"{how}\n{tail}")
            elif len(results) == known:
                results[name] = Outcome("fail", f"{how}\n{tail}")
                return results
            else:
                results.setdefault(name, Outcome(
                    "fail", f"between its tests: {how}\n{tail}"))


def _modules(python: str) -> list[str]:
    code = ("import greenlet.tests, os; "
            "print(os.path.dirname(greenlet.tests.__file__))")
    out = subprocess.run([python, "-P", "-c", code], text=True, check=True,
                         stdout=subprocess.PIPE, env=variables("original"))
    return sorted(p.stem for p in
                  pathlib.Path(out.stdout.strip()).glob("test_*.py"))


def _run_all(python: str, on: str, modules: list[str], pattern: str,
             jobs: int, timeout: float) -> dict[str, Outcome]:
    """Run the modules side by side, with a line for each that is done."""
    results: dict[str, Outcome] = {}
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(run_module, python, on, module, pattern,
                               timeout): module for module in modules}
        finished = concurrent.futures.as_completed(futures)
        for n, future in enumerate(finished, 1):
            part = future.result()
            results.update(part)
            count = collections.Counter(o.outcome for o in part.values())
            print(f"  [{n:2}/{len(modules)}] {futures[future]:28} "
                  f"{count['pass']:3} passed, {count['fail']} failed, "
                  f"{count['skip']} skipped", flush=True)
    return results


def _judge(coir: dict[str, Outcome], original: dict[str, Outcome],
           deviations: dict[str, str]) -> Totals:
    """Print what differs or failed, and count."""
    totals = Totals()
    for test in sorted(coir):
        result = coir[test]
        reason = deviations.get(short(test))
        before = original.get(test)
        if reason is not None and result.outcome == "pass":
            print(f"\nPASSES although it is listed as a deviation: {test}")
        if result.outcome == "pass":
            totals.passed += 1
        elif reason is not None:
            totals.skipped += 1
            print(f"\nDEVIATION {test}\n  {reason}")
        elif result.outcome == "skip":
            totals.skipped += 1
            if before is not None and before.outcome != "skip":
                print(f"\nSKIPPED, but run on the original: {test}\n"
                      f"  {result.text}")
        else:
            totals.failed += 1
            note = ("" if before is None or before.outcome != "fail"
                    else " (it fails on the original too)")
            print(f"\nFAILED {test}{note}\n"
                  + textwrap.indent(result.text, "    "))
    for test in sorted(original.keys() - coir.keys()):
        # A module that could not be run to its end has been reported; its
        # tests still are missing.
        totals.failed += 1
        print(f"\nFAILED {test}\n    run on the original, not on Coir")
    return totals


def run(options: argparse.Namespace) -> tuple[Totals, dict]:
    """Run the suite on the running interpreter.

    :returns: the counts, and outcomes for ``--json``.
    :raises SetupError: if the environment cannot be made.
    """
    env = Environment("greenlet", DATA / "requirements.txt")
    env.prepare(coir=options.on == "coir")
    modules = _modules(env.python)
    results: dict[str, dict[str, Outcome]] = {"original": {}}
    for on in dict.fromkeys(("original", options.on)):
        check_origin(env.python, on)
        results[on] = _run_all(env.python, on, modules, options.k or "",
                               options.jobs, options.timeout)
    deviations = (load_deviations(DATA / "deviations.toml")
                  if options.on == "coir" else {})
    totals = _judge(results[options.on], results["original"], deviations)
    before = collections.Counter(
        o.outcome for o in results["original"].values())
    print(f"\non the original: {before['pass']} passed, {before['fail']} "
          f"failed, {before['skip']} skipped")
    return totals, {on: {test: dataclasses.asdict(outcome)
                         for test, outcome in outcomes.items()}
                    for on, outcomes in results.items()}
