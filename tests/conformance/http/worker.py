"""Compare Coir's parser with others on random messages.

    worker.py LIBRARY DEVIATIONS SEED CASES

Prints one line of JSON: how many cases agreed, what only Coir refuses, and
where Coir accepts what another refuses or reads otherwise: by the class of
``deviations.toml`` that it is in, or, if in none, whole.
"""

from __future__ import annotations

import collections
import json
import random
import re
import sys
import tomllib

from generate import Generator
from parsers import H11, Coir, Llhttp, Message, Result

#: differences without a class that are kept
SHOWN = 20


class Classes:
    """The differences that are meant."""

    def __init__(self, path: str) -> None:
        with open(path, "rb") as file:
            self.entries = tomllib.load(file)["deviation"]
        for entry in self.entries:
            entry["says"] = re.compile(entry.get("says", ""))
            entry["bytes"] = re.compile(entry["where"].encode("latin-1"),
                                        re.DOTALL)

    def find(self, peer: str, verdict: str, text: bytes,
             error: str) -> str | None:
        for entry in self.entries:
            if (peer in entry["peers"] and verdict in entry["verdicts"]
                    and entry["says"].search(error)
                    and entry["bytes"].search(text)):
                return entry["name"]
        return None


def same_fields(ours: Message, theirs: Message) -> bool:
    """h11 writes a coding in lower case."""
    def normal(fields):
        return [(name, value.lower() if name == b"transfer-encoding"
                 else value) for name, value in fields]
    return (ours.fields == theirs.fields
            or normal(ours.fields) == normal(theirs.fields))


def compare(ours: Result, theirs: Result) -> str:
    """"same", or what is different: "stricter" if Coir refuses what the
    other accepts, "refused" the other way about, else "differs"."""
    for i in range(max(len(ours.messages), len(theirs.messages))):
        mine = ours.messages[i] if i < len(ours.messages) else None
        other = theirs.messages[i] if i < len(theirs.messages) else None
        if mine is None:
            if ours.end == "error":
                return "stricter"
            return "same" if ours.end == "stop" else "differs"
        if other is None:
            return "refused" if theirs.end == "error" else "differs"
        if mine.first != other.first or not same_fields(mine, other):
            return "differs"
        if mine.complete and other.complete:
            if mine.body != other.body:
                return "differs"
            continue
        if mine.complete:
            return "refused" if theirs.end == "error" else "differs"
        if ours.end == "error":
            return "stricter"
        return "differs" if other.complete else "same"
    if theirs.end == "error" and ours.end == "end":
        return "refused"
    return "same"


def same_if_cut(whole: Result, cut: Result) -> bool:
    """An error in a line that is not complete is seen later in pieces."""
    return cut == whole or (
        whole.end == "error" and cut.end == "more"
        and cut.messages == whole.messages)


def check_valid(result: Result) -> str:
    """What is wrong with what came of a valid message."""
    if result.end == "error":
        return result.error
    if result.end == "more" or not result.messages:
        return "not complete"
    return ""


def main() -> None:
    library, deviations, seed, cases = sys.argv[1:]
    generator = Generator(int(seed))
    pick = random.Random(int(seed))
    classes = Classes(deviations)
    coir = Coir(library)
    peers = {"h11": H11(), "llhttp": Llhttp()}
    counts: collections.Counter[str] = collections.Counter()
    stricter: collections.Counter[str] = collections.Counter()
    classed: collections.Counter[str] = collections.Counter()
    examples: dict[str, str] = {}
    failures = []
    for _ in range(int(cases)):
        response = pick.random() < 0.25
        text, valid = generator.connection(response)
        ours = coir.parse(text, response)
        cut = pick.randrange(len(text) + 1)
        wrong = check_valid(ours) if valid else ""
        if not wrong and not same_if_cut(
                ours, coir.parse(text, response, cut)):
            wrong = f"other if cut at {cut}"
        counts["valid"] += valid
        counts["accepted"] += ours.end != "error"
        outcome = "failed" if wrong else "passed"
        if wrong:
            failures.append(["Coir", wrong, repr(text), repr(ours), ""])
        for name, peer in peers.items():
            theirs = peer.parse(text, response)
            verdict = compare(ours, theirs)
            counts[f"{name}: {verdict}"] += 1
            if verdict == "stricter":
                stricter[f"{name}: {ours.error}"] += 1
            elif verdict != "same":
                found = classes.find(name, verdict, text, theirs.error)
                if found is not None:
                    classed[f"{name}: {found}"] += 1
                    examples.setdefault(f"{name}: {found}", repr(text))
                    if outcome == "passed":
                        outcome = "skipped"
                else:
                    outcome = "failed"
                    if len(failures) < SHOWN:
                        failures.append([name, verdict, repr(text),
                                         repr(ours), repr(theirs)])
        counts[outcome] += 1
    print(json.dumps({"counts": counts, "stricter": stricter,
                      "classed": classed, "examples": examples,
                      "failures": failures}))


if __name__ == "__main__":
    main()
