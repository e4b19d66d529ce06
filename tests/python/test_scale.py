"""Very many greenlets: memory does not grow, and all of them end.

Each test is a program in a child process, which prints its figures as JSON.
"""

import json
import subprocess
import sys

PRELUDE = """
import gc, json, os, sys, time
from coir.greenlet import getcurrent, greenlet

def rss():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")

start = time.perf_counter()

def report(**figures):
    figures["seconds"] = round(time.perf_counter() - start, 2)
    print(json.dumps(figures))
"""


def figures(program, timeout=300):
    done = subprocess.run([sys.executable, "-c", PRELUDE + program],
                          capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr[-3000:]
    print(done.stdout)
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_a_million_greenlets_created_and_finished():
    seen = figures("""
def run(n):
    for i in range(n):
        assert greenlet(lambda x: x).switch(i) == i

run(10_000)
before = rss()
run(1_000_000)
report(grown=rss() - before)
""")
    assert seen["grown"] < 1 << 20


def test_a_million_greenlets_started_and_killed():
    seen = figures("""
ended = 0

def body():
    global ended
    try:
        getcurrent().parent.switch()
    finally:
        ended += 1

def run(n):
    for _ in range(n):
        greenlet(body).switch()

run(10_000)
before = rss()
run(1_000_000)
report(grown=rss() - before, ended=ended)
""")
    assert seen["ended"] == 1_010_000
    assert seen["grown"] < 1 << 20


def test_a_million_greenlets_never_started():
    seen = figures("""
greenlets = [greenlet(print) for _ in range(1_000_000)]
each = rss() / len(greenlets)
del greenlets
before = rss()
for _ in range(1_000_000):
    greenlet(print)
report(each=each, grown=rss() - before)
""")
    assert seen["grown"] < 1 << 20


def test_a_hundred_thousand_suspended():
    seen = figures("""
N = 100_000
main = getcurrent()
ended = 0

def body(n):
    global ended
    try:
        while True:
            n = main.switch(n)
    finally:
        ended += 1

greenlets = [greenlet(body) for _ in range(N)]
before = rss()
for i, g in enumerate(greenlets):
    assert g.switch(i) == i
each = (rss() - before) / N
for i, g in enumerate(greenlets):
    assert g.switch(-i) == -i
gc.collect()
del g
greenlets.clear()
again = [greenlet(body) for _ in range(N)]
used = rss()
for i, g in enumerate(again):
    g.switch(i)
second = (rss() - used) / N
del g
again.clear()
report(each=each, second=second, ended=ended)
""")
    assert seen["ended"] == 200_000
    assert seen["each"] < 8192


def test_a_chain_of_a_million_is_torn_down():
    seen = figures("""
N = 1_000_000
main = getcurrent()
ended = 0

def body():
    global ended
    try:
        main.switch()
    finally:
        ended += 1

# Each is the parent of the next, and only the last is held.
before = rss()
last = main
for _ in range(N):
    last = greenlet(body, last)
    last.switch()
each = (rss() - before) / N
del last
report(each=each, ended=ended)
""")
    assert seen["ended"] == 1_000_000
    assert seen["each"] < 8192


def test_a_chain_of_a_million_never_started_is_torn_down():
    figures("""
last = getcurrent()
for _ in range(1_000_000):
    last = greenlet(print, last)
del last
report()
""")


def test_memory_goes_back_after_a_peak():
    seen = figures("""
main = getcurrent()

def peak(n):
    greenlets = [greenlet(lambda: main.switch()) for _ in range(n)]
    for g in greenlets:
        g.switch()
    return rss()

before = rss()
high = peak(50_000)
gc.collect()
first = rss()
peak(50_000)
gc.collect()
report(before=before, high=high, first=first, second=rss())
""")
    assert seen["second"] - seen["first"] < 8 << 20
