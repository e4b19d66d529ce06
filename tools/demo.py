"""Show Coir at work: what `make demo` runs, after it has built everything.

1. The five example programs, in Python on coir.greenlet and in C on libcoir;
   what they print is checked.
2. A ring of 100,000 greenlets that pass a message ten times around, on Coir
   and on the original greenlet, turn by turn.
3. An echo server written for stock gevent, unchanged, that serves 1,000
   connections on Coir's greenlets, and on the original ones.
4. An echo server written with plain blocking sockets and threads, patched by
   gevent.monkey, that serves 10,000 connections, on coir.gevent and on gevent.
5. A client that asks 10,000 questions, a hundred at a time from a pool, and
   gives up those that nobody answers, on both.
6. The same client, written for eventlet, on coir.eventlet and on eventlet.
7. An echo server in C on libcoir, of less than 40 lines, with a green thread
   for each of 10,000 connections, all of which talk at once; and what some of
   these threads say they do.
8. A small Flask application and a bare one, served by `coir serve` and by
   gevent's pywsgi, under wrk.

Times and memory are those of child processes, the medians of a few runs each;
every message that comes back is compared with the one that was sent.

The Python that runs this must have Coir and what tools/requirements/demo.txt
lists. It ends with "demo: ok", or says what went wrong and exits with 1.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import resource
import select
import signal
import socket
import statistics
import subprocess
import sys
import time

import demo_http
from demo_tools import (
    DemoError,
    cpu_seconds,
    environment,
    run,
    screen,
    show_bars,
    show_tables,
)

ROOT = pathlib.Path(__file__).resolve().parents[1]
PYTHON_EXAMPLES = ROOT / "examples" / "python"
C_EXAMPLES = ROOT / "build" / "c" / "examples" / "c"
LOAD = ROOT / "build" / "demo" / "load"

PROGRAMS = {
    "1_switch": "12 56 34 end",
    "2_parent": "12 56 34 78",
    "3_values": "12 56 34",
    "4_arguments": "test1: 2 | test2: 32 | test1: over",
    "5_result": (
        "enter func1() | enter func2() | out func2() | return from func2"
    ),
}

#: A library that a process loads only if it runs on the peer.
LIBRARIES = {
    "greenlet": "greenlet._greenlet.",
    "gevent": "gevent._gevent_c",
}

#: The programs that ask questions, and COIR_AS for each of the two they run
#: on.
FAN_OUTS = {
    "gevent": ("gevent_fan_out.py", {"coir": "greenlet,gevent", "gevent": ""}),
    "eventlet": ("eventlet_fan_out.py",
                 {"coir": "greenlet,eventlet", "eventlet": ""}),
}

#: COIR_AS for each of the two that are compared.
ENGINES = {"coir": "greenlet", "greenlet": ""}
GEVENTS = {"coir": "greenlet,gevent", "gevent": ""}

GREENLETS = 100_000
LAPS = 10
RING_RUNS = 3

CONNECTIONS = 1_000
MESSAGES = 40  # on each connection
MESSAGE_SIZE = 64
ECHO_RUNS = 3

PATCHED_CONNECTIONS = 10_000
PATCHED_SECONDS = 4

QUESTIONS = 10_000
QUESTIONS_RUNS = 2

C_CONNECTIONS = 10_000
C_SECONDS = 5
C_SHOWN = 22  # lines of what the green threads do


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    # How it calls itself, for a run of the ring in a process of its own.
    parser.add_argument("--ring", choices=ENGINES, help=argparse.SUPPRESS)
    engine = parser.parse_args().ring
    if engine:
        print(json.dumps(ring(engine, GREENLETS, LAPS)))
        return 0
    started = time.monotonic()
    try:
        introduce()
        show_programs()
        rows = [*show_ring(), *show_echo()]
        gevent_rows = [*show_patched_echo(), *show_fan_out("gevent")]
        eventlet_rows = show_fan_out("eventlet")
        show_c_echo()
        http_rows = demo_http.show()
    except DemoError as exc:
        screen.line()
        print(f"demo: failed: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        screen.line()
        print("demo: interrupted", file=sys.stderr)
        return 130
    show_tables(rows, gevent_rows, eventlet_rows, http_rows)
    took = time.monotonic() - started
    screen.line(f"demo: ok ({took:.0f} s)")
    return 0


def introduce():
    try:
        import coir.greenlet
        import gevent
        import greenlet
    except ImportError as exc:
        raise DemoError(
            f"{exc}; `make demo` installs all that it takes"
        ) from None
    screen.line(
        f"Coir {coir.__version__} on CPython {platform.python_version()}, "
        f"{platform.system()} {platform.release()}, {platform.machine()}, "
        f"{os.cpu_count()} CPUs; beside it greenlet {greenlet.__version__}, "
        f"gevent {gevent.__version__}"
    )


# Programs


def show_programs():
    screen.title("Five programs, in Python on coir.greenlet, in C on libcoir")
    for number, (name, expected) in enumerate(PROGRAMS.items(), 1):
        screen.progress(name)
        check_program(
            f"{name}.py",
            [sys.executable, PYTHON_EXAMPLES / f"{name}.py"],
            expected,
        )
        check_program(
            f"prog{number}.c", [C_EXAMPLES / f"prog{number}"], expected
        )
        screen.line(f"  {name:12} Python ok   C ok   {expected}")


def check_program(name, command, expected):
    try:
        done = run(command)
    except OSError as exc:
        raise DemoError(f"cannot run {name}: {exc}") from None
    separator = " | " if "|" in expected else " "
    printed = separator.join(done.stdout.split("\n")).removesuffix(separator)
    if done.returncode or printed != expected:
        raise DemoError(
            f"{name} printed {printed!r} with status {done.returncode}, "
            f"expected {expected!r}\n{done.stderr}"
        )


# Ring


def show_ring():
    switches = GREENLETS * LAPS
    screen.title(
        f"Ring of {GREENLETS:,} greenlets, a message {LAPS} times around: "
        f"{switches:,} switches"
    )
    results = {engine: [] for engine in ENGINES}
    for turn in range(RING_RUNS):
        for engine in in_turn(turn):
            screen.progress(f"run {turn + 1} of {RING_RUNS} on {engine}")
            results[engine].append(run_ring(engine))
    rows = []
    for title, key, unit, scale in [
        ("create and start", "start", "us each", 1e6 / GREENLETS),
        ("switch", "around", "us each", 1e6 / switches),
        ("kill", "end", "us each", 1e6 / GREENLETS),
        ("all of it", "all", "s", 1),
        ("memory suspended", "memory", "KB each", 1 / 1024 / GREENLETS),
    ]:
        figures = {
            engine: statistics.median(run[key] for run in runs) * scale
            for engine, runs in results.items()
        }
        rows.append((title, unit, figures))
        show_bars(title, unit, figures)
    return rows


def run_ring(engine):
    command = [sys.executable, __file__, "--ring", engine]
    done = run(command, coir_as=ENGINES[engine])
    if done.returncode:
        raise DemoError(f"the ring on {engine} failed:\n{done.stderr}")
    result = json.loads(done.stdout)
    if result["message"] != GREENLETS * LAPS:
        raise DemoError(f"the ring on {engine} lost count: {result}")
    return result


def ring(engine, count, laps):
    """Pass a message around; runs in a process of its own."""
    from greenlet import getcurrent, greenlet

    main_one = getcurrent()
    total = count * laps
    members = []

    def member(next_number):
        # Started, it waits; from then on every switch brings the message.
        message = main_one.switch()
        following = members[next_number]
        while message < total:
            message = following.switch(message + 1)
        main_one.switch(message)

    before = resident_bytes()
    started = time.perf_counter()
    members += [greenlet(member) for _ in range(count)]
    for number, one in enumerate(members):
        one.switch((number + 1) % count)
    waiting = time.perf_counter()
    memory = resident_bytes() - before
    sent = time.perf_counter()
    message = members[0].switch(0)
    back = time.perf_counter()
    finished = [one.throw() for one in members]
    ended = time.perf_counter()
    assert all(one.dead for one in members) and len(finished) == count
    check_engine(engine, os.getpid())
    return {
        "message": message,
        "start": waiting - started,
        "around": back - sent,
        "end": ended - back,
        "all": ended - started,
        "memory": memory,
    }


def resident_bytes():
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


# Echo


def show_echo():
    count = CONNECTIONS * MESSAGES
    screen.title(
        f"Echo server for stock gevent, unchanged: {CONNECTIONS:,} "
        f"connections, {count:,} messages"
    )
    allow_descriptors(CONNECTIONS + 100)
    results = {engine: [] for engine in ENGINES}
    for turn in range(ECHO_RUNS):
        for engine in in_turn(turn):
            what = f"run {turn + 1} of {ECHO_RUNS} on {engine}"
            screen.progress(what)
            results[engine].append(run_echo(engine, what))
    rates = {
        engine: statistics.median(count / run["time"] for run in runs)
        for engine, runs in results.items()
    }
    screen.line(
        f"  every echo was right; messages per second, client included: "
        f"{rates['coir']:,.0f} on coir, {rates['greenlet']:,.0f} on greenlet"
    )
    cpu = {
        engine: statistics.median(run["cpu"] for run in runs) / count * 1e6
        for engine, runs in results.items()
    }
    row = ("server CPU", "us/echo", cpu)
    show_bars(*row)
    return [row]


def allow_descriptors(count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise DemoError(
            f"this needs {count} open files, and no more than {hard} are "
            f"allowed (ulimit -Hn)"
        )
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def run_echo(engine, what):
    server = subprocess.Popen(
        [sys.executable, PYTHON_EXAMPLES / "echo_gevent.py"],
        env=environment(ENGINES[engine]),
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        try:
            line = server.stdout.readline().split()
            if not line:
                raise DemoError(f"the echo server on {engine} did not start")
            check_engine(engine, server.pid)
            cpu = cpu_seconds(server.pid)
            started = time.perf_counter()
            talk(int(line[-1]), what)
            took = time.perf_counter() - started
            if server.poll() is not None:
                raise DemoError(f"the echo server on {engine} ended early")
            return {"time": took, "cpu": cpu_seconds(server.pid) - cpu}
        finally:
            server.kill()


def talk(port, what):
    """Open all connections; send on each, and check what comes back.

    All connections talk at once, each with one message on its way.
    """
    connections = {}
    with contextlib.ExitStack() as stack:
        poll = stack.enter_context(select.epoll())
        for number in range(CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", port), 30)
            stack.enter_context(connection)
            connection.setblocking(False)
            connections[connection.fileno()] = Talk(connection, number)
            poll.register(connection, select.EPOLLIN)
            if number % 100 == 99:
                screen.progress(what, f": {number + 1:,} connections")
        for one in connections.values():
            one.send()
        talking = len(connections)
        while talking:
            events = poll.poll(timeout=30)
            if not events:
                raise DemoError(f"{talking} echoes did not come back")
            for fd, _ in events:
                if connections[fd].receive():
                    talking -= 1


class Talk:
    """One connection: its messages, one after the other."""

    def __init__(self, connection, number):
        self.connection = connection
        self.number = number
        self.left = MESSAGES
        self.expected = b""

    def send(self):
        text = f"{self.number} {self.left} "
        self.expected = text.encode() * (MESSAGE_SIZE // len(text) + 1)
        self.connection.sendall(self.expected)

    def receive(self):
        """Check what came; returns true after the last message."""
        try:
            data = self.connection.recv(65536)
        except OSError as exc:
            raise DemoError(f"connection {self.number}: {exc}") from None
        if not data or not self.expected.startswith(data):
            raise DemoError(
                f"connection {self.number}: sent {self.expected!r}, "
                f"got {data!r}"
            )
        self.expected = self.expected[len(data) :]
        if self.expected:
            return False
        self.left -= 1
        if self.left:
            self.send()
        return self.left == 0


# Patched echo


def show_patched_echo():
    connections = allowed_connections(PATCHED_CONNECTIONS)
    screen.title(
        f"Echo server of plain blocking sockets and threads, patched: "
        f"{connections:,} connections, all talking at once"
    )
    results = {}
    for engine in GEVENTS:
        results[engine] = run_patched_echo(engine, connections)
        screen.line(f"  on {engine}:")
        show_load(results[engine])
    cpu = {e: result["server_cpu_us"] for e, result in results.items()}
    memory = {
        e: (result["rss_end"] - result["rss_before"]) / connections / 1024
        for e, result in results.items()
    }
    rows = [
        ("server CPU", "us/echo", cpu),
        ("memory", "KB/conn.", memory),
    ]
    for row in rows:
        show_bars(*row)
    return rows


def run_patched_echo(engine, connections):
    server = subprocess.Popen(
        [sys.executable, PYTHON_EXAMPLES / "gevent_echo.py"],
        env=environment(GEVENTS[engine]),
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        try:
            line = server.stdout.readline().split()
            if not line:
                raise DemoError(f"the echo server on {engine} did not start")
            check_engine(engine, server.pid, "gevent")
            port = int(line[-1])
            with start_load(
                server, port, connections, PATCHED_SECONDS
            ) as load:
                result = watch_load(load, connections, f"on {engine}: ")
                load.stdin.close()
            return result
        finally:
            server.kill()


# Fan-out


def show_fan_out(package):
    program, engines = FAN_OUTS[package]
    silent = QUESTIONS // 50
    screen.title(
        f"Client for {package} that asks {QUESTIONS:,} questions from a pool "
        f"of 100, of which {silent:,} time out"
    )
    times = {engine: [] for engine in engines}
    cpus = {engine: [] for engine in engines}
    with c_echo_server() as (_, port):
        for turn in range(QUESTIONS_RUNS):
            for engine in in_turn(turn, engines):
                screen.progress(f"run {turn + 1} of {QUESTIONS_RUNS} on "
                                f"{engine}")  # fmt: skip
                took, cpu = run_fan_out(program, engine, engines[engine], port)
                times[engine].append(took)
                cpus[engine].append(cpu / QUESTIONS * 1e6)
    rows = [
        ("all answers", "s", times),
        ("client CPU", "us each", cpus),
    ]
    rows = [
        (title, unit, {e: statistics.median(f) for e, f in figures.items()})
        for title, unit, figures in rows
    ]
    for row in rows:
        show_bars(*row)
    return rows


def run_fan_out(program, engine, coir_as, port):
    """Wall clock's and processor's seconds of one run."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as silent:
        command = [
            sys.executable, "-W", "ignore", PYTHON_EXAMPLES / program,
            str(port), str(silent.getsockname()[1]), str(QUESTIONS),
        ]  # fmt: skip
        cpu, started = cpu_of_children(), time.perf_counter()
        done = run(command, coir_as=coir_as)
        took = time.perf_counter() - started
    given_up = QUESTIONS // 50
    expected = f"given up: {given_up}\nright: {QUESTIONS - given_up}\n"
    if done.stdout != expected:
        raise DemoError(
            f"the client on {engine} printed {done.stdout!r}, expected "
            f"{expected!r}\n{done.stderr}"
        )
    return took, cpu_of_children() - cpu


def cpu_of_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# Echo in C


def show_c_echo():
    connections = allowed_connections(C_CONNECTIONS)
    screen.title(
        f"Echo server in C, a green thread for each of {connections:,} "
        f"connections, all talking at once"
    )
    with c_echo_server() as (server, port):
        with start_load(server, port, connections, C_SECONDS) as load:
            result = watch_load(load, connections)
            time.sleep(0.3)  # until what is on its way is back
            dump = some_green_threads(server)
            load.stdin.close()
    memory = (result["rss_end"] - result["rss_before"]) / connections
    show_load(result)
    screen.line(
        f"  memory of a connection: {memory:,.0f} B, its stack included"
    )
    screen.line("  what some of the green threads do (kill -USR1):")
    for line in dump:
        screen.line(f"  {line.rstrip()}")


@contextlib.contextmanager
def c_echo_server():
    """Runs it; its process and port."""
    port = free_port()
    server = subprocess.Popen(
        [C_EXAMPLES / "echo_server", str(port)],
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        try:
            wait_for_port(server, port)
            yield server, port
        finally:
            server.kill()


def show_load(result):
    """What the client of an echo server found."""
    screen.line(
        f"  {result['messages']:,} messages, each came back as it was: "
        f"{result['rate']:,.0f} per second, client included"
    )
    screen.line(
        f"  back after {result['p50_us'] / 1000:.1f} ms (half of them), "
        f"{result['p99_us'] / 1000:.1f} ms (99 %); server CPU "
        f"{result['server_cpu_us']:.2f} us per message"
    )


def allowed_connections(count):
    """As many as wanted, or as the limit of open files allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 100
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < count + 100:
        screen.line(
            f"  not {count:,}: this process may open no more than "
            f"{wanted:,} files (ulimit -Hn)"
        )
    return wanted - 100


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_for_port(server, port):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.01)
    raise DemoError("the echo server in C did not start")


def start_load(server, port, connections, seconds):
    command = [
        LOAD, "--progress", "--hold", "--pid", server.pid, "--port", port,
        "--connections", connections, "--seconds", seconds,
        "--threads", 2, "--addresses", 2,
    ]  # fmt: skip
    return subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def watch_load(load, connections, what=""):
    """Show how the client gets on; returns its result."""
    for line in load.stdout:
        told = json.loads(line)
        if "rate" in told:
            return told
        if "connected" in told:
            text = f"{told['connected']:,} of {connections:,} connections"
        else:
            text = f"{told['messages']:,} messages in {told['seconds']} s"
        screen.progress(what + text)
    raise DemoError("the client of the echo server failed")


def some_green_threads(server):
    """The first lines of what the server prints about them."""
    os.kill(server.pid, signal.SIGUSR1)
    ready, _, _ = select.select([server.stdout], [], [], 30)
    if not ready:
        raise DemoError("the echo server in C does not say what it does")
    return [server.stdout.readline() for _ in range(C_SHOWN)]


# Children


def check_engine(engine, pid, peer="greenlet"):
    """Is what the process runs on, Coir or its peer, what it should be?"""
    libraries = {
        pathlib.Path(line.split()[-1])
        for line in pathlib.Path(f"/proc/{pid}/maps").read_text().split("\n")
        if ".so" in line
    }
    names = {f"{path.parent.name}.{path.name}" for path in libraries}
    ours = any(name.startswith("coir._core.") for name in names)
    theirs = any(name.startswith(LIBRARIES[peer]) for name in names)
    if (ours, theirs) != (engine == "coir", engine == peer):
        raise DemoError(f"{engine} was to run, but it is not what did")


def in_turn(turn, engines=ENGINES):
    """The engines, first one first, next time the other."""
    return list(engines) if turn % 2 == 0 else list(reversed(engines))


if __name__ == "__main__":
    sys.exit(main())
