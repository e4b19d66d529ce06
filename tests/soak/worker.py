"""Runs greenlet programs on the real thing and on the model.

    worker.py coir|original

Reads one JSON object per line, {"seed": N} or {"program": {...}}, and
answers each with {"same": true, "memory": [rss, objects]}, or with both logs
if they differ.
"""

import gc
import importlib
import json
import os
import sys

import model
import programs


def memory():
    with open("/proc/self/statm") as statm:
        pages = int(statm.read().split()[1])
    return pages * os.sysconf("SC_PAGESIZE"), len(gc.get_objects())


def main():
    name = {"coir": "coir.greenlet", "original": "greenlet"}[sys.argv[1]]
    real = importlib.import_module(name)
    # Many switches between threads, so that the two of a program and their
    # greenlets meet.
    sys.setswitchinterval(1e-4)
    for line in sys.stdin:
        request = json.loads(line)
        program = request.get("program") or programs.generate(request["seed"])
        print(json.dumps({"stage": "real"}), flush=True)
        seen = json.loads(json.dumps(programs.run(program, real)))
        print(json.dumps({"stage": "model"}), flush=True)
        expected = json.loads(json.dumps(programs.run(program, model)))
        answer = {"same": seen == expected, "left": len(model.threads)}
        if not answer["same"]:
            answer.update(seen=seen, expected=expected)
        del seen, expected, program
        if request.get("memory"):
            gc.collect()
            answer["memory"] = memory()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
