"""Coir's parser of HTTP beside h11 and llhttp, on random messages; and
10,000 idle connections.

What one connection receives is made by the grammar of RFC 9112 and then, in
most cases, changed a little (``http/generate.py``), and given to Coir, to h11
and to llhttp (in httptools). A case has failed

- if it is as the grammar has it and Coir refuses it;
- if Coir finds something else when the bytes come in two pieces;
- if Coir accepts what another refuses, or reads it otherwise, unless
  ``http/deviations.toml`` has that with the reason: then it is skipped.

What only Coir refuses is counted, by its reason. `CASES` says how many there
are (20,000), `--seed` which: a seed gives the same ones again.

After that `coir serve` gets `CONNECTIONS` connections that say nothing, or not
enough: test_idle_connections of tests/python/test_serve.py, one more case.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import json
import os
import subprocess
import tomllib

from _env import HERE, TREE, Environment, SetupError, Totals

DATA = HERE / "http"

#: cases of a process; a seed stands for so many
BATCH = 10000
CASES = 20000
CONNECTIONS = 10000
#: seconds after which a process has hung
TIMEOUT = 600
SHOWN = 10


def build_library(env: Environment, jobs: int) -> str:
    """Build libcoir.so; returns its path."""
    build = env.dir / "libcoir"
    path = {"PATH": f"{env.dir / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    meson = [env.python, "-m", "mesonbuild.mesonmain"]
    print("building libcoir", flush=True)
    setup = [*meson, "setup", str(build), str(TREE), "-Dtests=disabled",
             "-Dpython=disabled", "-Dbench=disabled",
             "-Ddefault_library=shared"]
    if (build / "build.ninja").exists():
        setup.append("--reconfigure")
    for command in (setup, [*meson, "compile", "-C", str(build), "-j",
                            str(jobs)]):
        done = subprocess.run(command, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT,
                              stdin=subprocess.DEVNULL,
                              env={**os.environ, **path})
        if done.returncode:
            raise SetupError(f"building libcoir failed:\n{done.stdout}")
    return str(build / "src" / "libcoir.so")


class Found:
    """What all processes have found."""

    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self.stricter: collections.Counter[str] = collections.Counter()
        self.classed: collections.Counter[str] = collections.Counter()
        self.examples: dict[str, str] = {}
        self.failures: list[list[str]] = []

    def add(self, part: dict) -> None:
        for name in ("counts", "stricter", "classed"):
            getattr(self, name).update(part[name])
        self.examples = part["examples"] | self.examples
        self.failures += part["failures"]

    def print(self) -> None:
        counts = self.counts
        print(f"\n{counts['valid']:,} cases as the grammar has them, all "
              "accepted unless listed below; "
              f"{counts['accepted']:,} accepted in all")
        for peer in ("h11", "llhttp"):
            print(f"{peer}: the same {counts[f'{peer}: same']:,}, "
                  f"refused by Coir alone {counts[f'{peer}: stricter']:,}, "
                  f"by {peer} alone {counts[f'{peer}: refused']:,}, "
                  f"read otherwise {counts[f'{peer}: differs']:,}")
        print("\nRefused by Coir alone:")
        for name, count in self.stricter.most_common():
            print(f"    {count:8,}  {name}")
        with open(DATA / "deviations.toml", "rb") as file:
            entries = tomllib.load(file)["deviation"]
        for entry in entries:
            print(f"\nDEVIATION {entry['name']}: {entry['reason'].strip()}")
            for peer in entry["peers"]:
                key = f"{peer}: {entry['name']}"
                print(f"    {peer}: {self.classed[key]:,} cases"
                      + (f", as {self.examples[key][:300]}"
                         if key in self.examples else ""))
        for name, verdict, text, ours, theirs in self.failures[:SHOWN]:
            print(f"\nFAILED {name}: {verdict}\n    {text}\n    {ours}\n"
                  f"    {theirs}")


def run_batch(command: list[str]) -> dict:
    done = subprocess.run(command, capture_output=True, text=True,
                          timeout=TIMEOUT)
    if done.returncode:
        raise SetupError(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def hold_idle_connections(env: Environment) -> tuple[str, str]:
    """A verdict, and the words of the test about it."""
    done = subprocess.run(
        [env.python, "-m", "pytest", "-q", "-s", "-rs", "-p",
         "no:cacheprovider", str(TREE / "tests/python/test_serve.py"),
         "-k", "test_idle_connections"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=TIMEOUT, env={**os.environ,
                              "COIR_TEST_CONNECTIONS": str(CONNECTIONS)})
    verdict = "failed"
    if done.returncode == 0:
        verdict = "skipped" if " skipped" in done.stdout else "passed"
    said = [line for line in done.stdout.splitlines()
            if " B each" in line or line.startswith("SKIPPED")]
    return verdict, "\n".join(said) if said else done.stdout


def run(options: argparse.Namespace) -> tuple[Totals, dict[str, dict]]:
    env = Environment("http", DATA / "requirements.txt")
    env.prepare(coir=True)
    jobs = options.jobs or os.cpu_count() or 1
    library = build_library(env, jobs)
    cases = options.cases or CASES
    commands = [
        [env.python, str(DATA / "worker.py"), library,
         str(DATA / "deviations.toml"), str(options.seed + start // BATCH),
         str(min(BATCH, cases - start))]
        for start in range(0, cases, BATCH)]
    print(f"{cases:,} cases from seed {options.seed} in {jobs} processes",
          flush=True)
    found = Found()
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for part in pool.map(run_batch, commands):
            found.add(part)
    found.print()
    counts = found.counts
    verdict, text = hold_idle_connections(env)
    print(f"\nidle connections: {verdict}: {text}")
    counts[verdict] += 1
    if verdict == "failed":
        found.failures.append(["idle connections", verdict, text, "", ""])
    totals = Totals(counts["passed"], counts["failed"], counts["skipped"])
    return totals, {name: {"verdict": verdict, "text": text}
                    for name, verdict, text, *_ in found.failures}
