"""Very many greenlets: memory does not grow, and all of them end.

Each test is a program in a child process, which prints its figures as JSON.
"""

import json
import subprocess
import sys

import pytest

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


def test_a_chain_of_slices_is_torn_down_without_filling_the_stack():
    # Each would copy away what the nested ends before it have on the stack:
    # a minute, and then an hour, instead of seconds.
    figures("""
class Slice(greenlet):
    stack_policy = "slice"

def deepest():
    main.switch()

main = last = getcurrent()
for _ in range(30_000):
    last = Slice(deepest, last)
    last.switch()
del last
report()
""")


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


#: of a thread, before others share its own; see docs/reference/greenlet.md
STACKS = 10_000

MANY = """
from coir import _core

def stacks():
    return _core._info()["stacks"]

def many(n, body, kind=greenlet):
    all = [kind(body) for _ in range(n)]
    for i, g in enumerate(all):
        g.switch(i)
    return all
"""


def test_the_ten_thousandth_shares_the_threads_stack():
    seen = figures(MANY + f"""
main = getcurrent()

def deep(n):
    return n and 1 + deep(n - 1)

def sort(n):
    return sorted([n], key=lambda _: sort(n + 1))

def body(n):
    assert main.switch() == n
    assert deep(300) == 300
    if n % 1000 == 0:
        try:
            sort(0)
        except RecursionError:
            pass
    assert main.switch() == -n
    return n

class Own(greenlet):
    stack_policy = "dedicated"

all = many({STACKS} + 1000, body)
most = stacks()
own = many(10, body, Own)
with_own = stacks()
for sign in (1, -1):
    for n, g in enumerate(all):
        result = g.switch(sign * n)
    for n, g in enumerate(own):
        g.switch(sign * n)
assert result == len(all) - 1 and all[-1].dead
del all, own, g
gc.collect()
report(most=most, own=with_own - most, left=stacks())
""")
    assert STACKS <= seen["most"] <= STACKS + 2
    assert seen["own"] == 10
    assert seen["left"] <= 2


def test_the_ten_thousandth_takes_no_page_of_its_own():
    seen = figures(MANY + f"""
main = getcurrent()
all = many({STACKS}, main.switch)
before = rss()
more = many(20_000, main.switch)
report(each=(rss() - before) / len(more))
""")
    assert seen["each"] < 4500


def test_the_ten_thousandth_where_the_thread_has_a_small_stack():
    """It must not share what is not there."""
    seen = figures(MANY + f"""
import threading

def run():
    global most
    all = many({STACKS} + 100, lambda n: getcurrent().parent.switch())
    most = stacks()

threading.stack_size(256 << 10)
thread = threading.Thread(target=run)
thread.start()
thread.join()
report(most=most)
""")
    assert seen["most"] >= STACKS + 100


@pytest.mark.parametrize("kind", ["DATA", "AS"])
def test_where_memory_is_limited_most_of_it_is_not_stacks(kind):
    """There stacks count in full, as soon as they are mapped."""
    seen = figures(MANY + f"""
import resource, threading

GIB = 1 << 30
resource.setrlimit(resource.RLIMIT_{kind}, (2 * GIB, 2 * GIB))
main = getcurrent()
all = many({STACKS} + 1000, main.switch)
most = stacks()
thread = threading.Thread(target=gc.collect)
thread.start()
thread.join()
report(most=most, all=len(all))
""")
    assert seen["all"] == STACKS + 1000
    assert 64 <= seen["most"] <= 1200


def test_calls_over_the_end_of_a_chunk_of_frames():
    """They map no memory each time: the interpreter's, or ours, is kept."""
    seen = figures("""
def f():
    pass

def at(depth):
    if depth:
        return at(depth - 1)
    before = time.process_time()
    for _ in range(300):
        f()
    return time.process_time() - before

def slowest(count):
    return max(min(greenlet(at).switch(d) for _ in range(3))
               for d in range(count))

report(slowest=slowest(200))
""")
    assert seen["slowest"] < 300 * 2e-6
