"""The order in which coir.eventlet's hub runs what is due: that of eventlet.

Random programs run here and in a model of eventlet's hub, a heap of timers.
Nothing depends on how fast they run: whoever starts a timer keeps the
processor until its time has come, and times in the past are far apart.
`make conformance SUITE=eventlet` compares many more with eventlet itself.
"""

import heapq
import random
import socket
import time

import pytest
from coir import eventlet
from coir.eventlet import event, hubs

FAR = 100  # seconds: more than a program takes


def hog_until(when):
    while time.monotonic() <= when:
        pass


class Model:
    """eventlet's hub: a turn calls all that was due when it began."""

    def __init__(self):
        self.now = 0
        self.sequence = 0
        self.next = []
        self.heap = []

    def start(self, body, delay=0.0):
        self.now += 1
        self.sequence += 1
        self.next.append((self.now + delay, self.sequence, body))

    def start_later(self, body):
        self.start(body, 0.5)
        self.now += 1

    def run(self):
        while self.next or self.heap:
            for item in self.next:
                heapq.heappush(self.heap, item)
            self.next = []
            self.now += 1
            when = self.now
            while self.heap and self.heap[0][0] <= when:
                body = heapq.heappop(self.heap)[2]
                for delay in body:
                    self.start(body, delay)
                    break


class Real:
    """The same on coir.eventlet."""

    def __init__(self):
        self.threads = []

    @staticmethod
    def drive(body):
        for delay in body:
            eventlet.sleep(delay)

    def start(self, body, delay=0.0):
        self.threads.append(eventlet.spawn_after(delay, self.drive, body))

    def start_later(self, body):
        self.start(body, 0.001)
        hog_until(time.monotonic() + 0.001)

    def run(self):
        for thread in self.threads:  # it grows meanwhile
            thread.wait()


def course(seed, api):
    """What happens in a random program, in order."""
    chance = random.Random(seed)
    log = []
    names = iter(range(40))

    def body(name, parts):
        for part, more in enumerate(parts):
            log.append((name, part))
            how = more % 4
            if how == 3:
                yield [0, 0, -FAR, -2 * FAR][more // 4]
                continue
            child = next(names, None)
            if child is None:
                continue
            made = body(child, plan[child])
            if how == 0:
                api.start(made)
            elif how == 1:
                api.start(made, -FAR * (more // 4))
            else:
                api.start_later(made)

    plan = [[chance.randrange(16) for _ in range(chance.randint(0, 5))]
            for _ in range(40)]
    for _ in range(3):
        name = next(names)
        api.start(body(name, plan[name]))
    api.run()
    return log


@pytest.mark.parametrize("seed", range(40))
def test_random_programs_take_the_course_of_the_model(seed):
    assert course(seed, Real()) == course(seed, Model())


def test_what_a_hog_spawns_comes_after_timers_that_are_due():
    order = []
    hub = hubs.get_hub()

    def hog():
        eventlet.spawn(order.append, "before")
        hub.schedule_call_global(0.001, order.append, "timer")
        hog_until(time.monotonic() + 0.002)
        eventlet.spawn(order.append, "after")

    eventlet.spawn(hog).wait()
    eventlet.sleep(0)
    assert order == ["before", "timer", "after"]


def test_a_delay_below_zero_is_a_time_in_the_past():
    order = []
    for delay in (0, -FAR, -2 * FAR, -FAR):
        hubs.get_hub().schedule_call_global(delay, order.append, delay)
    eventlet.sleep(0)
    assert order == [-2 * FAR, -FAR, -FAR, 0]


def test_a_timer_of_the_past_waits_for_the_next_turn():
    order = []
    call = hubs.get_hub().schedule_call_global
    call(0, lambda: call(-FAR, order.append, "past"))
    call(0, order.append, "now")
    eventlet.sleep(0)
    eventlet.sleep(0)
    assert order == ["now", "past"]


def test_of_a_wait_the_timeout_counts_if_it_was_due_before_the_result():
    sent = event.Event()
    waiter = eventlet.spawn(sent.wait, 0.001)
    eventlet.sleep(0)
    hog_until(time.monotonic() + 0.002)
    sent.send("late")
    assert waiter.wait() is None


def test_who_sleeps_for_no_time_lets_those_run_who_can_read():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        order = []

        def read():
            hubs.trampoline(theirs, read=True)
            order.append(theirs.recv(10))

        reader = eventlet.spawn(read)
        eventlet.sleep(0)
        ours.sendall(b"x")
        eventlet.sleep(0)
        assert order == [b"x"]
        reader.wait()


def test_the_same_of_sockets_of_eventlets():
    from coir.eventlet.green import socket as green

    ours, theirs = green.socketpair()
    with ours, theirs:
        order = []
        reader = eventlet.spawn(lambda: order.append(theirs.recv(10)))
        eventlet.sleep(0)
        ours.sendall(b"x")
        eventlet.sleep(0)
        assert order == [b"x"]
        reader.wait()
