"""Rows of the greenlet suite: the same code for any module with its API.

    python greenlet_rows.py MODULE ROW [--quick | --ops N]

measures one row in this process and prints one line of JSON::

    {"unit": "ns", "samples": [...], "note": {...}}

``--ops`` does N operations of a short row, once: for profilers.

A sample is the time of one operation, from a batch of many. Time is the CPU
time of the thread, user and system, so that other programs on the machine
disturb as little as can be. Operations of the short rows are unrolled ten
times in the loops of both sides; what is left of the loops, about 1 ns, is
not subtracted.

A row is a function of (module, quick). It returns its samples, one float
each, or samples and a dictionary of further figures.
"""

import gc
import importlib
import json
import os
import random
import statistics
import sys
import time
from itertools import repeat

ROWS = {}
UNROLL = 10
OPS = None  # by --ops


def row(unit):
    def register(function):
        ROWS[function.__name__] = (unit, function)
        return function

    return register


def measure(batch, quick):
    """Samples of batch(loops), which does ``UNROLL * loops`` operations.

    :returns: nanoseconds per operation, one per sample.
    """
    if OPS is not None:
        batch(OPS // UNROLL)
        leave()
    clock = time.thread_time_ns
    aim = 5_000_000 if quick else 25_000_000
    loops = 10
    while True:  # warms up too: the interpreter specialises, pools fill
        start = clock()
        batch(loops)
        taken = clock() - start
        if taken >= aim / 4:
            break
        loops *= 2
    loops = max(1, int(loops * aim / taken))
    samples = []
    for _ in range(3 if quick else 7):
        start = clock()
        batch(loops)
        samples.append((clock() - start) / (loops * UNROLL))
    return samples


# -- short operations ---------------------------------------------------------


@row("ns")
def create(m, quick):
    def run():
        pass

    def batch(loops):
        greenlet = m.greenlet
        body = run
        for _ in repeat(None, loops):
            greenlet(body)
            greenlet(body)
            greenlet(body)
            greenlet(body)
            greenlet(body)
            greenlet(body)
            greenlet(body)
            greenlet(body)
            greenlet(body)
            greenlet(body)

    return measure(batch, quick)


@row("ns")
def getcurrent(m, quick):
    def batch(loops):
        current = m.getcurrent
        for _ in repeat(None, loops):
            current()
            current()
            current()
            current()
            current()
            current()
            current()
            current()
            current()
            current()

    return measure(batch, quick)


def switch_from(m, quick, descend):
    """Round trips main -> greenlet -> main.

    The greenlet switches back from inside ``descend(function)``.
    """
    main = m.getcurrent()

    def loop():
        back = main.switch
        while True:
            back()
            back()
            back()
            back()
            back()
            back()
            back()
            back()
            back()
            back()

    g = m.greenlet(lambda: descend(loop))
    g.switch()

    def batch(loops):
        go = g.switch
        for _ in repeat(None, loops):
            go()
            go()
            go()
            go()
            go()
            go()
            go()
            go()
            go()
            go()

    return measure(batch, quick)


@row("ns")
def switch(m, quick):
    return switch_from(m, quick, lambda function: function())


@row("ns")
def switch_depth(m, quick):
    def descend(function, depth=100):
        if depth:
            descend(function, depth - 1)
        else:
            function()

    return switch_from(m, quick, descend)


@row("ns")
def switch_nested(m, quick):
    def descend(function, depth=20):
        if depth:
            sorted((0,), key=lambda _: descend(function, depth - 1))
        else:
            function()

    return switch_from(m, quick, descend)


@row("ns")
def run_finish(m, quick):
    def run():
        pass

    def batch(loops):
        greenlet = m.greenlet
        body = run
        for _ in repeat(None, loops):
            greenlet(body).switch()
            greenlet(body).switch()
            greenlet(body).switch()
            greenlet(body).switch()
            greenlet(body).switch()
            greenlet(body).switch()
            greenlet(body).switch()
            greenlet(body).switch()
            greenlet(body).switch()
            greenlet(body).switch()

    return measure(batch, quick)


@row("ns")
def start_kill(m, quick):
    body = m.getcurrent().switch

    def run():
        body()

    def batch(loops):
        greenlet = m.greenlet
        for _ in repeat(None, loops * UNROLL):
            g = greenlet(run)
            g.switch()
            g.throw()

    return measure(batch, quick)


@row("ns")
def throw(m, quick):
    main = m.getcurrent()

    class Signal(Exception):
        pass

    def loop():
        back = main.switch
        while True:
            try:
                back()
            except Signal:
                pass

    g = m.greenlet(loop)
    g.switch()

    def batch(loops):
        bring = g.throw
        for _ in repeat(None, loops):
            bring(Signal)
            bring(Signal)
            bring(Signal)
            bring(Signal)
            bring(Signal)
            bring(Signal)
            bring(Signal)
            bring(Signal)
            bring(Signal)
            bring(Signal)

    return measure(batch, quick)


# -- chains -------------------------------------------------------------------


def make_chain(m, count):
    """Start `count` greenlets that each hold the next one and wait; send a
    number through all of them back to here.

    :returns: the first of the chain, whose end is the end of all.
    """
    main = m.getcurrent()

    def link(following):
        value = main.switch()
        following.switch(value + 1)

    first = main
    for _ in repeat(None, count):
        g = m.greenlet(link)
        g.switch(first)
        first = g
    reached = first.switch(0)
    if reached != count:
        raise AssertionError(f"{reached} of {count} links passed it on")
    return first


@row("ns")
def chain_100k(m, quick):
    count = 10_000 if quick else 100_000
    start = time.thread_time_ns()
    first = make_chain(m, count)
    taken = time.thread_time_ns() - start
    # The chain stays: its end is chain_100k_end's. See main().
    KEPT.append(first)
    return [taken / count]


KEPT = []


@row("ns")
def chain_1k_end(m, quick):
    count = 1_000
    samples = []
    for _ in range(2 if quick else 8):
        start = time.thread_time_ns()
        first = make_chain(m, count)
        del first
        samples.append((time.thread_time_ns() - start) / count)
    return samples[1:]  # the first warms up


def chain_end(m, count):
    start = time.thread_time_ns()
    first = make_chain(m, count)
    built = time.thread_time_ns()
    del first
    ended = time.thread_time_ns()
    return [(ended - start) / count], {"end": (ended - built) / count}


@row("ns")
def chain_100k_end(m, quick):
    return chain_end(m, 100_000)


@row("ns")
def chain_1m_end(m, quick):
    return chain_end(m, 1_000_000)


# -- many ---------------------------------------------------------------------


def statm_rss():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def page_tables():
    with open("/proc/self/status") as f:
        for line in f:
            if line.startswith("VmPTE:"):
                return int(line.split()[1]) * 1024
    return 0


def make_many(m, quick):
    """100,000 greenlets, each suspended in a loop that switches to main."""
    main = m.getcurrent()

    def loop():
        back = main.switch
        while True:
            back()

    many = [None] * (10_000 if quick else 100_000)
    for i in range(len(many)):
        many[i] = g = m.greenlet(loop)
        g.switch()
    return many


@row("ns")
def switch_random(m, quick):
    many = make_many(m, quick)
    KEPT.append(many)
    random.Random(1).shuffle(many)
    samples = []
    for _ in range(2 if quick else 6):
        start = time.thread_time_ns()
        for g in many:
            g.switch()
        samples.append((time.thread_time_ns() - start) / len(many))
    return samples[1:]  # the first warms up


@row("B")
def rss(m, quick):
    make_many(m, True).clear()  # what is allocated once
    gc.collect()
    count = 10_000 if quick else 100_000
    rss_before, tables_before = statm_rss(), page_tables()
    many = make_many(m, quick)
    size = (statm_rss() - rss_before) / count
    tables = (page_tables() - tables_before) / count
    KEPT.append(many)
    return [size], {"page_tables": tables}


@row("ms")
def gc_collect(m, quick):
    many = make_many(m, quick)
    KEPT.append(many)
    gc.collect()
    samples = []
    for _ in range(3 if quick else 7):
        start = time.thread_time_ns()
        gc.collect()
        samples.append((time.thread_time_ns() - start) / 1e6)
    return samples


def leave():
    """End the process with what is still alive not torn down: that is other
    rows' business, and not every implementation survives it."""
    sys.stdout.flush()
    os._exit(0)


def main(argv):
    global OPS
    module, name = argv[:2]
    quick = argv[2:] == ["--quick"]
    if argv[2:3] == ["--ops"]:
        OPS = int(argv[3])
    m = importlib.import_module(module)
    unit, function = ROWS[name]
    result = function(m, quick)
    samples, note = result if isinstance(result, tuple) else (result, {})
    if not all(s >= 0 for s in samples) or not statistics.median(samples):
        raise AssertionError(f"no sensible time: {samples}")
    print(json.dumps({"unit": unit, "samples": samples, "note": note}))
    leave()


if __name__ == "__main__":
    main(sys.argv[1:])
