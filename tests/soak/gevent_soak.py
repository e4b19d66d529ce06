#!/usr/bin/env python3
"""The soak of coir.gevent: an echo service under everything at once.

    gevent_soak.py --minutes 10        on Coir
    gevent_soak.py --on original       on gevent: checks the soak

Under ``patch_all`` a server and its clients share a hub: hundreds of lives at
once, each a green thread with a connection. On the server's side some answer
by way of thread pool jobs, of a queue and a second green thread, of a native
thread that sets an event, or behind a lock; on the clients' side some talk,
stream, dawdle, reset, leave half open or say nothing. And all the while green
threads of both sides are killed, are thrown exceptions, have their sockets
closed, and run into timeouts, at random. All that comes back is compared with
what was sent: a connection that breaks off is nobody's fault, a changed byte
is, and so is an answer that never comes.

At every ebb all lives end, and what is left is counted: descriptors,
greenlets, threads, objects, blocks of memory, resident memory. None of it may
grow, and locks and semaphores must be free. Before all that 200,000 green
threads are spawned, and as many killed, and memory must stay as it is.

The last line is ``N passed, M failed, K skipped``.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import faulthandler
import gc
import importlib
import os
import platform
import random
import resource
import sys
import traceback
from _queue import SimpleQueue  # the native one
from typing import Any

PARSER = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
PARSER.add_argument("--minutes", type=float, default=1)
PARSER.add_argument("--on", choices=("coir", "original"), default="coir")
PARSER.add_argument("--connections", type=int, default=300)
PARSER.add_argument("--tide", type=float, default=5, metavar="SECONDS")
PARSER.add_argument("--kills", type=int, default=100, metavar="PER_SECOND")
PARSER.add_argument("--spawns", type=int, default=200_000)
PARSER.add_argument("--seed", type=int, help="(default: a random one)")
OPTIONS = PARSER.parse_args()

PACKAGE = {"coir": "coir.gevent", "original": "gevent"}[OPTIONS.on]


def part(name: str) -> Any:
    return importlib.import_module(f"{PACKAGE}.{name}")


gevent: Any = importlib.import_module(PACKAGE)
monkey = part("monkey")
native_sleep = monkey.get_original("time", "sleep")
start_native = monkey.get_original("_thread", "start_new_thread")
monkey.patch_all()

import queue  # noqa: E402
import socket  # noqa: E402
import struct  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402

Timeout = gevent.Timeout
raw_greenlet = next(c for c in gevent.Greenlet.__mro__
                    if c.__name__ == "greenlet")

ANSWER = 30  # seconds, within which every answer comes, or an end
ENDS = 60  # seconds for all lives to end
WARM_UP = 2  # ebbs before what is left counts
#: more than at first; a leak is more by and by
ALLOWED = {"descriptors": 0, "greenlets": 5, "threads": 0, "objects": 1000,
           "blocks": 5000, "rss": 16 << 20}
MIB = 1 << 20

chance = random.Random()
failures: list[str] = []
counts: collections.Counter[str] = collections.Counter()


class Killed(Exception):
    """Thrown into a life by somebody else."""


class BrokenOff(Exception):
    """The other side ended."""


def fail(text: str) -> None:
    failures.append(text)
    print(f"FAILED: {text}", flush=True)


# -- data that tells where it belongs -----------------------------------------

PERIOD = 65_521
PATTERN = random.Random(1).randbytes(PERIOD) * 3


def piece(stream: int, offset: int, size: int) -> bytes:
    start = (stream * 7919 + offset) % PERIOD
    return PATTERN[start:start + size]  # size is at most 2 * PERIOD


# -- who may be killed --------------------------------------------------------


class Targets:
    """Green threads with their sockets, one of which can be drawn."""

    def __init__(self) -> None:
        self.all: list[tuple[Any, socket.socket]] = []
        self.places: dict[Any, int] = {}

    def enter(self, sock: socket.socket) -> None:
        current = gevent.getcurrent()
        self.places[current] = len(self.all)
        self.all.append((current, sock))

    def leave(self) -> None:
        place = self.places.pop(gevent.getcurrent())
        last = self.all.pop()
        if place < len(self.all):
            self.all[place] = last
            self.places[last[0]] = place


targets = Targets()


def harm(green: Any, sock: socket.socket) -> None:
    way = chance.choice(["kill", "throw", "close", "shutdown", "timeout"])
    counts[way] += 1
    if way == "kill":
        green.kill(block=False)
    elif way == "throw":
        green.kill(Killed, block=False)
    elif way == "close":
        sock.close()
    elif way == "shutdown":
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
    else:
        green.kill(Timeout(1, Killed), block=False)


def harm_some() -> None:
    while True:
        time.sleep(1 / OPTIONS.kills)
        if targets.all:
            harm(*chance.choice(targets.all))


# -- the server ---------------------------------------------------------------

lock = threading.Lock()
rlock = threading.RLock()
seats = threading.BoundedSemaphore(OPTIONS.connections)
errands: SimpleQueue[Any] = SimpleQueue()


def native_thread() -> None:
    """Sets what green threads wait for."""
    while True:
        event = errands.get()
        if event is None:
            return
        native_sleep(chance.random() / 1000)
        event.set()


def plain(sock: socket.socket) -> None:
    while data := sock.recv(4096):
        sock.sendall(data)


def into_buffer(sock: socket.socket) -> None:
    buffer = bytearray(4096)
    view = memoryview(buffer)
    while size := sock.recv_into(buffer):
        sent = 0
        while sent < size:
            sent += sock.send(view[sent:size])


def job(data: bytes) -> bytes:
    native_sleep(chance.random() / 1000)
    return data


def by_jobs(sock: socket.socket) -> None:
    threadpool = gevent.get_hub().threadpool
    while data := sock.recv(65536):
        sock.sendall(threadpool.apply(job, (data,)))


def by_native_thread(sock: socket.socket) -> None:
    while data := sock.recv(65536):
        event = threading.Event()
        errands.put(event)
        if not event.wait(ANSWER):
            fail("an event that a native thread was to set was not")
            return
        sock.sendall(data)


def by_queue(sock: socket.socket) -> None:
    passed_on: queue.Queue[bytes] = queue.Queue(4)

    def write() -> None:
        with contextlib.suppress(OSError):
            while data := passed_on.get():
                sock.sendall(data)
        # Whoever puts must not wait for a writer that is gone.
        while passed_on.get():
            pass

    writer = gevent.spawn(write)
    try:
        while data := sock.recv(1000):
            passed_on.put(data)
        passed_on.put(b"")
        writer.join()
    finally:
        writer.kill()


def behind_locks(sock: socket.socket) -> None:
    while data := sock.recv(65536):
        with seats, rlock, rlock:
            with lock:
                time.sleep(0)
        sock.sendall(data)


def impatient(sock: socket.socket) -> None:
    with Timeout(chance.random(), False):
        plain(sock)


def in_socket_time(sock: socket.socket) -> None:
    sock.settimeout(chance.random() + 0.01)
    plain(sock)


def by_file(sock: socket.socket) -> None:
    with sock.makefile("rwb", buffering=0) as file:
        while data := file.read(4096):
            while data:
                data = data[file.write(data):]


SERVING = [plain] * 4 + [into_buffer, by_jobs, by_native_thread, by_queue,
                         behind_locks, impatient, in_socket_time, by_file]


def serve(sock: socket.socket) -> None:
    targets.enter(sock)
    try:
        with sock:
            chance.choice(SERVING)(sock)
    except (OSError, Killed, Timeout, gevent.GreenletExit):
        counts["server ends"] += 1
    except ValueError as error:
        if "closed file" not in str(error):
            raise
    finally:
        targets.leave()


def accept(listener: socket.socket, serving: Any) -> None:
    while True:
        sock, _ = listener.accept()
        serving.spawn(serve, sock)


# -- the clients --------------------------------------------------------------


class Life:
    """A connection of a client, with a stream of bytes of its own."""

    born = 0

    def __init__(self, sock: socket.socket) -> None:
        Life.born += 1
        self.stream = Life.born
        self.sock = sock
        self.sent = self.received = 0

    def send(self, size: int) -> None:
        while size:
            data = piece(self.stream, self.sent, min(size, PERIOD))
            self.sock.sendall(data)
            self.sent += len(data)
            size -= len(data)

    def receive(self, size: int, at_once: int = 65536) -> None:
        while size:
            data = self.sock.recv(min(size, at_once))
            if not data:
                raise BrokenOff
            if data != piece(self.stream, self.received, len(data)):
                fail(f"stream {self.stream} changed from byte "
                     f"{self.received} on")
                raise BrokenOff
            self.received += len(data)
            size -= len(data)


def talk(life: Life) -> None:
    for _ in range(chance.randint(1, 10)):
        size = chance.randint(1, 3000)
        life.send(size)
        life.receive(size)
        time.sleep(chance.random() / 10)


def stream(life: Life, at_once: int = 65536) -> None:
    size = 300_000

    def write() -> None:
        with contextlib.suppress(OSError):
            life.send(size)

    writer = gevent.spawn(write)
    try:
        life.receive(size, at_once)
    finally:
        writer.kill()


def slow(life: Life) -> None:
    with Timeout(chance.random() * 3, False):
        stream(life, 5000)


def reset(life: Life) -> None:
    life.send(chance.randint(1, 20_000))
    life.receive(chance.randint(1, life.sent))
    life.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                         struct.pack("ii", 1, 0))


def half(life: Life) -> None:
    life.send(chance.randint(1, 20_000))
    life.sock.shutdown(socket.SHUT_WR)
    life.receive(life.sent)
    if life.sock.recv(1):
        fail(f"stream {life.stream}: more came back than was sent")


def silent(life: Life) -> None:
    time.sleep(chance.random() * 2)


LIVING = [talk] * 10 + [stream, slow, reset, reset, half, half, silent]


def live(address: tuple[str, int]) -> None:
    counts["lives"] += 1
    with socket.socket() as sock:
        targets.enter(sock)
        try:
            live_on(sock, address)
        finally:
            targets.leave()  # nothing waits after this: it may be late


def live_on(sock: socket.socket, address: tuple[str, int]) -> None:
    way = chance.choice(LIVING)
    waits_too_long = Timeout.start_new(ANSWER)
    try:
        sock.connect(address)
        way(Life(sock))
        counts["to the end"] += 1
    except Timeout as error:
        if error is waits_too_long:
            fail(f"no answer within {ANSWER} s, to one that came to {way}")
    except (OSError, BrokenOff, Killed, gevent.GreenletExit):
        counts["broken off"] += 1
    finally:
        waits_too_long.cancel()


# -- what is left -------------------------------------------------------------


def look() -> dict[str, int]:
    for _ in range(3):
        gc.collect()
        time.sleep(0.001)  # so that the hub runs
    objects = gc.get_objects()
    greenlets = sum(isinstance(o, raw_greenlet) for o in objects)
    with open("/proc/self/statm") as statm:
        rss = int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "greenlets": greenlets,
        "threads": len(os.listdir("/proc/self/task")),
        "objects": len(objects),
        "blocks": sys.getallocatedblocks(),
        "rss": rss,
    }


def text_of(left: dict[str, int]) -> str:
    return (f"{left['descriptors']} descriptors, {left['greenlets']} "
            f"greenlets, {left['threads']} threads, {left['objects']} "
            f"objects, {left['blocks']} blocks, {left['rss'] / MIB:.1f} MB")


def compare(first: dict[str, int], now: dict[str, int]) -> None:
    for name, allowed in ALLOWED.items():
        if now[name] > first[name] + allowed:
            fail(f"{name}: {first[name]} were left at first, {now[name]} now")


def check_locks() -> None:
    if lock.locked() or not rlock.acquire(blocking=False):
        fail("a lock is held by nobody who lives")
    else:
        rlock.release()
    free = 0
    while seats.acquire(blocking=False):
        free += 1
    for _ in range(free):
        seats.release()
    if free != OPTIONS.connections:
        fail(f"a semaphore of {OPTIONS.connections} has {free} left")


def ebb(lives: Any, serving: Any) -> dict[str, int]:
    for who, group in (("clients", lives), ("server", serving)):
        if not group.join(ENDS) and len(group):
            fail(f"{len(group)} green threads of the {who} do not end")
            part("util").print_run_info()
            sys.exit(1)
    if targets.all:
        fail(f"{len(targets.all)} are dead and did not leave")
    check_locks()
    return look()


def tides(address: tuple[str, int], serving: Any) -> int:
    """Returns how many ebbs there were."""
    lives = part("pool").Group()
    tickets = part("lock").Semaphore(OPTIONS.connections)
    start = time.monotonic()
    first: dict[str, int] = {}
    number = 0
    # Whatever is asked for, there is something to compare.
    while time.monotonic() < start + OPTIONS.minutes * 60 or number < 4:
        number += 1
        end = time.monotonic() + OPTIONS.tide
        while time.monotonic() < end:
            if tickets.acquire(timeout=0.1):
                lives.spawn(live, address).rawlink(
                    lambda _: tickets.release())
        left = ebb(lives, serving)
        print(f"  {time.monotonic() - start:5.0f} s: {counts['lives']} "
              f"lives, {counts['to the end']} to the end; {text_of(left)}",
              flush=True)
        if number == WARM_UP:
            first = left
        elif number > WARM_UP:
            compare(first, left)
    return number


# -- spawns -------------------------------------------------------------------


def spawn_many(count: int) -> None:
    for _ in range(count // 1000):
        gevent.joinall([gevent.spawn(len, ()) for _ in range(1000)])


def kill_many(count: int) -> None:
    for _ in range(count // 1000):
        greens = [gevent.spawn(time.sleep, 100) for _ in range(1000)]
        time.sleep(0)
        gevent.killall(greens)


def memory_of(function: Any, what: str) -> None:
    function(OPTIONS.spawns // 10)
    before = look()
    function(OPTIONS.spawns)
    after = look()
    print(f"  {OPTIONS.spawns} {what}: {text_of(before)}, then "
          f"{text_of(after)}", flush=True)
    if after["rss"] > before["rss"] + MIB:
        fail(f"memory grows with green threads that are {what}")
    compare(before, after)


# -- all of it ----------------------------------------------------------------


def watch(beats: list[float]) -> None:
    """In a native thread: a hub that runs nothing cannot say so itself."""
    while True:
        native_sleep(10)
        if time.monotonic() > beats[0] + 60:
            print("FAILED: the hub has run nothing for a minute", flush=True)
            faulthandler.dump_traceback(all_threads=True)
            os._exit(1)


def beat(beats: list[float]) -> None:
    while True:
        beats[0] = time.monotonic()
        time.sleep(1)


def soak() -> int:
    beats = [time.monotonic()]
    start_native(watch, (beats,))
    start_native(native_thread, ())
    gevent.spawn(beat, beats)
    memory_of(spawn_many, "spawned")
    memory_of(kill_many, "killed")
    threadpool = gevent.get_hub().threadpool
    gevent.joinall([threadpool.spawn(native_sleep, 0.1)
                    for _ in range(threadpool.maxsize)])  # all threads
    serving = part("pool").Group()
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        accepting = gevent.spawn(accept, listener, serving)
        harming = gevent.spawn(harm_some)
        number = tides(listener.getsockname(), serving)
        gevent.killall([harming, accepting])
    errands.put(None)
    return number


def main() -> int:
    seed = OPTIONS.seed
    if seed is None:
        seed = random.randrange(10**9)
    chance.seed(seed)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print(f"CPython {platform.python_version()}, {PACKAGE}, "
          f"{OPTIONS.minutes:g} minutes, seed {seed}", flush=True)
    number = 0
    try:
        number = soak()
    except BaseException:
        traceback.print_exc()
        fail("the soak itself")
    harms = ", ".join(f"{name} {count}" for name, count in counts.items())
    print(f"  {harms}")
    failed = len(failures)
    print(f"{max(0, number + 2 - failed)} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
