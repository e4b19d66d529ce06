"""Run random programs of green threads and timers, and print their course.

    LD_PRELOAD=clock.so python programs.py FIRST COUNT

prints one line of JSON for each of the seeds FIRST, FIRST + 1 and so on: what
ran, in order. Time stands still but for those who sleep and for hogs, who set
the clock forward; so on eventlet and on Coir the lines are to be the same.

Who is served first by a queue or a semaphore, and who of several by an event,
is left open by eventlet: so it is by these programs.

All times are multiples of 1/512 s, with which floats reckon exactly. Where two
timers of eventlet's have the same time, the objects' addresses decide there;
here it is made the order in which they were scheduled, as it is where time
does not stand still.
"""

import ctypes
import itertools
import json
import random
import socket
import sys
import warnings

warnings.simplefilter("ignore")

import eventlet  # noqa: E402
from eventlet import event, greenthread, hubs  # noqa: E402
from eventlet.hubs import timer  # noqa: E402

UNIT = 1 / 512
advance = ctypes.CDLL(None).order_advance
advance.argtypes = [ctypes.c_int64]

if not hasattr(hubs.get_hub(), "_timers"):
    count = itertools.count()

    init = timer.Timer.__init__

    def numbered(self, *args, **kwargs):
        init(self, *args, **kwargs)
        self.number = next(count)

    timer.Timer.__init__ = numbered
    timer.Timer.__lt__ = lambda self, other: self.number < other.number


class Program:
    """One random program."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.log = []
        self.names = itertools.count(1)
        self.left = 60  # green threads and timers that may be made yet
        self.timers = []
        self.threads = []
        self.events = [event.Event() for _ in range(3)]
        self.awaited = set()
        # With sockets eventlet waits for whole milliseconds; of several that
        # are ready it takes any first.
        self.has_sockets = seed % 4 == 0
        self.pairs = []
        self.steps = STEPS[:]
        if self.has_sockets:
            self.pairs = [socket.socketpair()]
            self.steps = [step for step in STEPS if step not in TIMED]
            self.steps += [Program.write] * 3

    def delay(self):
        choice = self.random.choice
        if self.has_sockets:
            return choice([0, 0, 0, -1, -2, -5]) * UNIT
        return choice([0, 0, 0, 1, 1, 2, 3, 4, 5, 7, -1, -2, -5]) * UNIT

    def note(self, *what):
        self.log.append(what)

    def body(self, name):
        for _ in range(self.random.randint(1, 5)):
            step = self.random.choice(self.steps)
            self.note(name, step.__name__)
            step(self, name)
        self.note(name, "end")

    def tick(self, name):
        self.note("timer", name)
        if self.random.random() < 0.3:
            self.hog(name)
        if self.random.random() < 0.3:
            self.spawn(name)

    def may_make(self):
        self.left -= 1
        return self.left >= 0

    # --- steps

    def spawn(self, name):
        if self.may_make():
            self.threads.append(eventlet.spawn(self.body, next(self.names)))

    def spawn_n(self, name):
        if self.may_make():
            eventlet.spawn_n(self.body, next(self.names))

    def spawn_after(self, name):
        if self.may_make():
            self.threads.append(eventlet.spawn_after(
                self.delay(), self.body, next(self.names)))

    def spawn_after_local(self, name):
        if self.may_make():
            greenthread.spawn_after_local(
                self.delay(), self.body, next(self.names))

    def call(self, name):
        if self.may_make():
            self.timers.append(hubs.get_hub().schedule_call_global(
                self.delay(), self.tick, next(self.names)))

    def call_local(self, name):
        if self.may_make():
            self.timers.append(hubs.get_hub().schedule_call_local(
                self.delay(), self.tick, next(self.names)))

    def cancel(self, name):
        if self.timers:
            self.random.choice(self.timers).cancel()

    def cancel_thread(self, name):
        if self.threads:
            self.random.choice(self.threads).cancel()

    def sleep(self, name):
        eventlet.sleep(self.delay())

    def give_way(self, name):
        eventlet.sleep(0)

    def hog(self, name):
        advance(int(self.random.randint(1, 6) * UNIT * 1e9))

    def timeout(self, name):
        with eventlet.Timeout(self.delay(), False):
            eventlet.sleep(self.random.randint(0, 5) * UNIT)
            self.note(name, "in time")

    def send(self, name):
        which = self.random.randrange(3)
        if not self.events[which].ready():
            self.events[which].send(name)

    def renew(self, name):
        which = self.random.randrange(3)
        if self.events[which].ready():
            self.events[which] = event.Event()

    def wait(self, name):
        which = self.random.choice(self.events)
        if which in self.awaited:
            return
        self.awaited.add(which)
        self.note(name, which.wait(self.random.randint(1, 4) * UNIT))
        self.awaited.remove(which)

    def write(self, name):
        self.random.choice(self.pairs)[0].send(b"x")

    # ---

    def read(self, which):
        with eventlet.Timeout(None):
            sock = self.pairs[which][1]
            while True:
                hubs.trampoline(sock, read=True)
                self.note("read", which, len(sock.recv(100)))
                if self.random.random() < 0.3:
                    self.hog(which)
                if self.random.random() < 0.3:
                    self.spawn(which)

    def run(self):
        readers = [eventlet.spawn(self.read, which)
                   for which in range(len(self.pairs))]
        for _ in range(self.random.randint(1, 6)):
            self.random.choice([self.spawn, self.spawn_after, self.call])(0)
        if self.has_sockets:
            for _ in range(300):
                eventlet.sleep(0)
        else:
            eventlet.sleep(2000 * UNIT)
        for reader in readers:
            reader.kill()
        for pair in self.pairs:
            for sock in pair:
                sock.close()
        return self.log


STEPS = [
    Program.spawn, Program.spawn, Program.spawn_n, Program.spawn_after,
    Program.spawn_after_local, Program.call, Program.call,
    Program.call_local, Program.cancel, Program.cancel_thread,
    Program.sleep, Program.sleep, Program.give_way, Program.give_way,
    Program.hog, Program.hog, Program.timeout, Program.send, Program.renew,
    Program.wait, Program.wait,
]
TIMED = {Program.timeout, Program.wait}


def main():
    first, count = map(int, sys.argv[1:])
    for seed in range(first, first + count):
        print(json.dumps(Program(seed).run()), flush=True)


if __name__ == "__main__":
    main()
