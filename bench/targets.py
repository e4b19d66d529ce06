"""The rows of each suite, who runs them, and what Coir is to reach.

Figures to reach come from the project's list of targets: `target` is the
most that Coir may take, `ratio` how many times less than the best peer.
"""

from dataclasses import dataclass, field

GREENLET = "greenlet 3.5.6"

#: package -> what pip is asked for.
GREENLET_PEERS = {"greenlet": "greenlet==3.5.6"}
GEVENT_PEERS = {"gevent": "gevent==26.9.0", "eventlet": "eventlet==0.41.3",
                "uvloop": "uvloop==0.23.0"}
HTTP_PEERS = {"gevent": "gevent==26.9.0", "eventlet": "eventlet==0.41.3",
              "gunicorn": "gunicorn==27.0.1", "packaging": "packaging",
              "uvloop": "uvloop==0.23.0", "httptools": "httptools==0.9.0",
              "uvicorn": "uvicorn==0.54.0", "bjoern": "bjoern==3.2.2",
              "granian": "granian==2.8.7"}


@dataclass(frozen=True)
class Row:
    name: str
    label: str
    target: float | None = None
    ratio: float | None = None
    #: the implementation that is judged, where it is not the first of Coir's.
    judged: str | None = None
    #: implementation -> its own row, where it is not `name`; None: not run.
    programs: dict = field(default_factory=dict)
    #: at most so many rounds, for rows that take long.
    rounds: int | None = None
    #: left out of --quick.
    slow: bool = False
    #: bytes of free memory needed.
    memory: int = 0
    #: operations of which instructions and system calls are counted; 0: not.
    counted: int = 0


GIB = 1 << 30

#: name -> Python module.
GREENLET_IMPLEMENTATIONS = {GREENLET: "greenlet", "Coir": "coir.greenlet"}

GREENLET_ROWS = (
    Row("create", "create and free", 50, 2),
    Row("getcurrent", "`getcurrent()`", 21, 1),
    Row("switch", "switch round trip, shallow", 60, 7),
    Row("switch_depth", "same, Python depth 100", 60, 23),
    Row("switch_nested", "same, in 20 nested `sorted(key=)`", 60, 47),
    Row("run_finish", "create + run + finish", 180, 44),
    Row("start_kill", "create + start + kill", 700, 17),
    Row("throw", "throw round trip, caught", 700, 5),
    Row("chain_100k", "`chain(100000)`, per greenlet", 3000, 3, rounds=3,
        memory=2 * GIB),
    Row("chain_1k_end", "`chain(1000)` with teardown", 2500, 12),
    Row("chain_100k_end", "`chain(100000)` with teardown", rounds=3,
        slow=True, memory=2 * GIB),
    Row("chain_1m_end", "`chain(1000000)` with teardown", rounds=1, slow=True,
        programs={GREENLET: None}, memory=10 * GIB),
    Row("switch_random", "switch over 100,000 live, random order", 400, 6,
        rounds=3, memory=2 * GIB),
    Row("rss", "RSS of each of 100,000 suspended", 4500, 1.4, rounds=3,
        memory=2 * GIB),
    Row("gc_collect", "`gc.collect()` with 100,000 suspended", 21, 1,
        rounds=3, memory=2 * GIB),
)

#: name -> program and the system package it needs.
CORE_IMPLEMENTATIONS = {
    "boost.context": ("bench_fcontext", "libboost-context-dev"),
    "ucontext": ("bench_ucontext", None),
    "Coir": ("bench_coir", None),
}

PEERS_NOT_RUN = {"boost.context": None, "ucontext": None}

CORE_ROWS = (
    Row("context", "context switch, one way", 5.5),
    Row("switch", "coroutine switch, one way"),
    Row("spawn", "spawn + run + finish, warm", 28),
    Row("spawn_alive", "the same with 1,000 alive", 70),
    Row("spawn_cold", "cold spawn with a guard page", 3000),
    Row("spawn_cold_mprotect", "the same, guards by `mprotect`",
        programs=PEERS_NOT_RUN),
    Row("switch_random", "round trip over 100,000 live, random order",
        rounds=3, memory=2 * GIB),
    Row("rss", "RSS of each of 1,000,000 suspended", 4300, rounds=1,
        memory=6 * GIB),
    Row("slice_switch", "slice policy: switch, one way",
        programs=PEERS_NOT_RUN),
    Row("slice_spawn", "slice policy: spawn + run + finish",
        programs=PEERS_NOT_RUN),
    Row("slice_rss", "slice policy: RSS of each of 1,000,000", 400, rounds=1,
        programs=PEERS_NOT_RUN, memory=2 * GIB),
)

#: name -> program and the system package it needs. The ratio is of the first
#: that is Coir.
LOOP_IMPLEMENTATIONS = {
    "libev": ("bench_loop_ev", "libev-dev"),
    "libuv": ("bench_loop_uv", "libuv1-dev"),
    "raw calls": ("bench_loop_raw", None),
    "Coir epoll": ("bench_loop_epoll", None),
    "Coir io_uring": ("bench_loop_iouring", "liburing-dev"),
    "Coir poll": ("bench_loop_poll", None),
    "Coir select": ("bench_loop_select", None),
}

#: What the system calls of a row take by themselves: no peers.
LIMIT = "raw calls"
ECHO_LIMIT = "raw epoll"
LIMITS = {LIMIT, ECHO_LIMIT}

#: Timers are the same on every backend.
EPOLL_ONLY = {LIMIT: None, "Coir io_uring": None, "Coir poll": None,
              "Coir select": None}
NOT_RAW = {LIMIT: None}


def timer_rows(name, label, target=None, rounds=None, counted=100000):
    return tuple(
        Row(f"{name}_{suffix}", f"{label}, {count}", target,
            programs=EPOLL_ONLY, rounds=rounds, memory=GIB, counted=counted)
        for suffix, count in (("100k", "100,000"), ("1m", "1,000,000"))
    )


def pass_row(count, active, target=None):
    return Row(f"pass_{count}_{active}",
               f"{count:,} socketpairs, {active:,} active, per event", target,
               counted=20 * active if active > 1 else 500)


def operation_row(count, active, target=None, many=False):
    name, label = "operations", "by operations"
    if many:
        name, label = "operations_many", "receives that go on"
    return Row(f"{name}_{count}_{active}",
               f"{count:,} socketpairs, {active:,} active, {label}",
               target, judged="Coir io_uring",
               programs={"libev": None, "libuv": None},
               counted=20 * active if active > 1 else 500)


LOOP_ROWS = (
    *timer_rows("arm", "arm", 6),
    *timer_rows("cancel", "cancel, in the order of arming", 30),
    *timer_rows("cancel_random", "cancel, in random order", 30),
    *timer_rows("again", "re-arm", 12),
    *timer_rows("fire", "fire, within 1 s, on whole ms", 300, rounds=3),
    *timer_rows("fire_apart", "fire, within 1 s, on whole us", rounds=3),
    *timer_rows("fire_collected", "the same, collected over 1 ms", rounds=3),
    *timer_rows("fire_late", "fire, all due at once", 300, rounds=3),
    *timer_rows("again_fire", "re-arm once, then fire", rounds=3),
    pass_row(100, 1),
    pass_row(100, 100),
    pass_row(1000, 1),
    pass_row(1000, 100, 2500),
    pass_row(1000, 1000),
    pass_row(10000, 1),
    pass_row(10000, 100),
    pass_row(10000, 1000),
    operation_row(100, 1),
    operation_row(100, 100),
    operation_row(1000, 100, 1650),
    operation_row(10000, 1000),
    operation_row(1000, 100, 1650, many=True),
    operation_row(10000, 1000, many=True),
    Row("turn", "a turn without events", counted=1000, programs=NOT_RAW),
    Row("start_stop", "stop and start an io watcher", counted=1000,
        programs=NOT_RAW),
    Row("start_stop_turns", "the same, a turn after each", counted=1000,
        programs=NOT_RAW),
    Row("round_trip", "round trip between two threads", counted=1000,
        programs=NOT_RAW),
    Row("send", "async send to a busy loop", counted=10000, programs=NOT_RAW),
)

#: name -> program and what it needs.
HUB_IMPLEMENTATIONS = {
    "boost.fiber": ("bench_hub_fiber", "libboost-fiber-dev"),
    "State Threads": ("bench_hub_st", "Debian's source package st"),
    "Go": ("bench_hub_go", "golang-go"),
    "Coir": ("bench_hub_coir", None),
}

COIR_ONLY = {"boost.fiber": None, "State Threads": None, "Go": None}
NO_THREADS = {"State Threads": None}
NO_CHANNELS = {"State Threads": None}
NO_CANCEL = {"boost.fiber": None, "Go": None}

HUB_ROWS = (
    Row("yield_2", "yield, 2 green threads", 9, counted=20000),
    Row("yield_100", "yield, 100", 9, counted=20000),
    Row("yield_10k", "yield, 10,000", counted=200000, memory=GIB),
    Row("channel", "channel, ping-pong, per message", 25,
        programs=NO_CHANNELS, counted=20000),
    Row("channel_0", "channel, one way, per message", 25,
        programs=NO_CHANNELS, counted=20000),
    Row("channel_127", "channel that holds 127, one way, per message",
        programs=NO_CHANNELS, counted=20000),
    Row("tickets", "semaphore, free: give and take", counted=20000),
    Row("wake", "semaphore, ping-pong, per wake-up", counted=20000),
    Row("wake_timed", "the same, waits with a timeout", counted=20000),
    Row("gate", "event that wakes 10,000, each", counted=200000, memory=GIB),
    Row("mutex", "mutex, free: lock and unlock", counted=20000),
    Row("mutex_2", "mutex handed over, between 2, with a yield each",
        counted=20000),
    Row("mutex_100", "mutex handed over, between 100, with a yield each",
        counted=20000),
    Row("spawn", "spawn and join, warm", 28, counted=20000),
    Row("spawn_alive", "the same with 1,000 alive, and a yield", 70,
        counted=20000),
    Row("spawn_many", "the same with 100,000 alive, and a yield", rounds=3,
        memory=2 * GIB),
    Row("cancel", "spawn, let wait, cancel, join", programs=NO_CANCEL,
        counted=20000),
    Row("sleep", "100,000 that sleep 1 to 1,000 ms, each", rounds=3,
        memory=2 * GIB),
    Row("round_trip", "round trip between two OS threads",
        programs=NO_THREADS, counted=1000),
    Row("blocking", "call on a thread of the pool, there and back", 10000,
        programs=COIR_ONLY, counted=1000),
)

#: name -> program, what it needs, and its settings.
ECHO_IMPLEMENTATIONS = {
    ECHO_LIMIT: ("echo_epoll", None, {}),
    "libev": ("echo_ev", "libev-dev", {}),
    "State Threads": ("echo_st", "Debian's source package st", {}),
    "Go": ("echo_go", "golang-go", {}),
    "Coir epoll": ("echo_coir", None, {"COIR_BACKEND": "epoll"}),
    "Coir io_uring": ("echo_coir", "liburing-dev",
                      {"COIR_BACKEND": "io_uring"}),
}


def echo_row(size, count, target=None):
    return Row(f"echo_{size}_{count}",
               f"{size} B, {count:,} connections", target,
               counted=int(count == 50))


ECHO_ROWS = (
    echo_row(64, 1),
    echo_row(64, 50, 5.8),
    echo_row(64, 500),
    echo_row(64, 5000, 8),
    echo_row(1024, 1),
    echo_row(1024, 50),
    echo_row(1024, 500),
    echo_row(1024, 5000),
    # Of those that have a stack for each.
    Row("idle", "memory of an idle connection, of 10,000", rounds=3,
        programs={ECHO_LIMIT: None, "libev": None}, memory=GIB),
)

#: name -> what it is called by bench/python/green_rows.py.
GEVENT_IMPLEMENTATIONS = {
    "gevent": "gevent", "eventlet": "eventlet", "asyncio": "asyncio",
    "uvloop": "uvloop", "Coir": "coir.gevent",
}

GEVENT_ROWS = (
    Row("spawn_many", "spawn 100,000 and join all, each", 700, 2.9, rounds=3,
        memory=2 * GIB),
    Row("spawn_one", "spawn one, join it", 800, 2.9),
    Row("yield_100", "`sleep(0)`, 100 tasks", 120, 3.1),
    Row("yield_10k", "`sleep(0)`, 10,000 tasks", 250, 2.3, rounds=3,
        memory=GIB),
    Row("sleep", "100,000 that sleep 1 to 1,000 ms, each", 3500, 4.4,
        rounds=3, memory=2 * GIB),
    Row("event", "Event ping-pong, there and back", 350, 9.5),
    Row("event_10k", "Event that wakes 10,000, each", 300, 3.3, memory=GIB),
    Row("semaphore", "Semaphore, free: acquire and release", 60, 2.3),
    Row("semaphore_100", "Semaphore contended by 100, with a `sleep(0)` each",
        250, 8.2),
    Row("queue", "Queue ping-pong, there and back", 400, 9.4),
    Row("queue_100", "`Queue(100)`, one way, per item", 100, 1.9),
    Row("pool_map", "`pool(100).map` of 100,000, each", 1200, 3.7, rounds=3,
        memory=GIB),
    Row("timeout", "Timeout, arm and cancel", 250, 9.6),
    Row("threadpool", "`threadpool.apply`, there and back"),
    Row("popen", "`Popen(['true'])` and wait"),
    Row("rss", "RSS of a sleeping task, of 20,000", 5000, rounds=3,
        memory=GIB),
)

#: name -> argument of bench/python/echo_servers.py; None: the limit, in C.
PYTHON_ECHO_IMPLEMENTATIONS = {
    ECHO_LIMIT: None, "gevent": "gevent", "eventlet": "eventlet",
    "asyncio streams": "asyncio", "uvloop streams": "uvloop",
    "uvloop protocol": "uvloop-protocol", "Coir": "coir.gevent",
}

PYTHON_ECHO_ROWS = (
    echo_row(1024, 50, 6.6),
    Row("echo_1024_500", "1024 B, 500 connections (wanted: 125,000/s)"),
    Row("echo_1024_5000",
        "1024 B, 5,000 connections (wanted: 110,000/s, 99 % in 62 ms)"),
    Row("idle", "memory of an idle connection, of 5,000", 6000, rounds=3,
        programs={ECHO_LIMIT: None}, memory=GIB),
)

#: The same rows, of eventlet's API.
EVENTLET_PEERS = {"eventlet": "eventlet==0.41.3"}
EVENTLET_IMPLEMENTATIONS = {"eventlet": "eventlet", "Coir": "coir.eventlet"}
EVENTLET_ECHO_IMPLEMENTATIONS = {
    ECHO_LIMIT: None, **EVENTLET_IMPLEMENTATIONS,
}

PARSE_IMPLEMENTATIONS = {
    "picohttpparser": ("bench_parse_pico", None),
    "llhttp": ("bench_parse_llhttp", None),
    "Coir": ("bench_parse_coir", None),
}

PARSE_ROWS = (
    Row("head_least", "request of wrk, 40 bytes", counted=10000),
    Row("head_curl", "request of curl, 103 bytes", counted=10000),
    Row("head_post", "POST behind a proxy, 13 fields, 541 bytes",
        counted=10000),
    Row("head_browser", "GET of a browser, 16 fields, 772 bytes",
        counted=10000),
    Row("chunks", "16 chunks of 64 bytes, decoded in place", counted=10000),
)

#: program -> the directory of its peer below the cache, what of it is
#: included, and what is compiled.
PARSE_PEERS = {
    "bench_parse_pico": ("picohttpparser", "picohttpparser",
                         "picohttpparser/picohttpparser.c"),
    "bench_parse_llhttp": ("httptools", "vendor/llhttp/include",
                           "vendor/llhttp/src/*.c"),
}

C_PROGRAMS = tuple(
    program for program, *_ in [*CORE_IMPLEMENTATIONS.values(),
                                *LOOP_IMPLEMENTATIONS.values(),
                                *HUB_IMPLEMENTATIONS.values(),
                                PARSE_IMPLEMENTATIONS["Coir"],
                                *ECHO_IMPLEMENTATIONS.values()]
    if not program.endswith("_go")
)

#: program -> its directory below bench/go.
GO_PROGRAMS = {"bench_hub_go": "hub", "echo_go": "echo"}

#: name -> what http_servers.py calls it, and settings; None: the program in C.
HTTP_IMPLEMENTATIONS = {
    "gevent.pywsgi": ("gevent.pywsgi", {}),
    "gevent.pywsgi NODELAY": ("gevent.pywsgi-nodelay", {}),
    "eventlet.wsgi": ("eventlet.wsgi", {}),
    "gunicorn -k gevent": ("gunicorn-gevent", {}),
    "uvicorn": ("uvicorn", {}),
    "bjoern": ("bjoern", {}),
    "granian": ("granian", {}),
    "Coir": ("coir.http", {}),
    "Coir gunicorn -k coir": ("gunicorn-coir", {}),
    "Coir gunicorn -k gevent": ("gunicorn-gevent", {"COIR_AS": "gevent"}),
    "Coir pywsgi": ("coir.gevent.pywsgi", {}),
    "Coir eventlet.wsgi": ("coir.eventlet.wsgi", {}),
    "Coir C": None,
}


def http_rows():
    what = {"hello": "hello", "json": "10 KB of JSON", "file": "1 MB file",
            "upload": "1 MB upload", "sleep": "100 ms of waiting"}
    for name, text in what.items():
        for count in (50, 500):
            target = 12 if (name, count) == ("hello", 50) else None
            # bjoern's applications cannot wait, only block all.
            programs = {"bjoern": None} if name == "sleep" else {}
            yield Row(f"{name}_{count}", f"{text}, {count} connections",
                      target, programs=programs, slow=count == 500,
                      rounds=3)


HTTP_ROWS = (
    *http_rows(),
    Row("idle", "memory of an idle connection, of 10,000", rounds=1,
        memory=GIB),
)
