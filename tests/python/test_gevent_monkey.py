"""coir.gevent.monkey: each test is a program of its own."""

import subprocess
import sys
import textwrap

import pytest
from asyncio_helper import MAIN, MAIN_PRINTS
from program_helper import run


def test_locks_made_before():
    run("""
    import _thread, logging, queue, threading
    native = type(threading.Lock()), type(threading.RLock())

    class Holder:
        shared = threading.Lock()
        def __init__(self):
            self.lock = threading.Lock()
            self.rlock = threading.RLock()

    one, two = Holder(), Holder()
    vars(two)
    items = queue.Queue()
    held = threading.Lock()
    held.acquire()
    in_a_tuple = (threading.Lock(),)
    alone = threading.RLock()
    started = threading.Event()
    logging.basicConfig()

    from coir.gevent import monkey, sleep, spawn
    monkey.patch_all()

    for lock in (one.lock, one.rlock, two.lock, two.rlock, Holder.shared,
                 alone, items.mutex, started._cond._lock, logging._lock,
                 logging.root.handlers[0].lock):
        assert not isinstance(lock, native), lock
    assert items.not_empty._lock is items.mutex is items.not_full._lock
    # Who else has it cannot be told, or it is held: they stay.
    assert isinstance(in_a_tuple[0], native)
    assert isinstance(held, native)
    held.release()

    # They part greenlets, and the wait lets others run.
    def put():
        with alone:
            sleep(0.01)
            items.put("x")
    spawn(put)
    sleep(0)
    with alone:
        assert items.get_nowait() == "x"
    spawn(put)
    assert items.get() == "x"
    """)


def test_objects_that_stand_for_others_are_not_asked():
    """As those of celery, which pretend to have another class."""
    run("""
    class Proxy:
        def __init__(self, cls):
            object.__setattr__(self, "_cls", cls)
        __class__ = property(lambda self: self._cls)
        def __getattr__(self, name):
            raise RuntimeError(f"asked for {name}")

    kept = [Proxy(dict), Proxy(type), Proxy(list)]
    kept += [{"x": Proxy(dict)}, Proxy(__import__("_thread").LockType)]
    import threading
    from coir.gevent import monkey
    monkey.patch_all()
    """)


def test_lock_held_while_patching_is_released_after():
    run("""
    import threading
    lock, rlock = threading.Lock(), threading.RLock()
    condition = threading.Condition()
    with lock, rlock, condition:
        from coir.gevent import monkey
        monkey.patch_all()
    assert not lock.locked()
    with lock, rlock, condition:
        condition.notify_all()
    """)


def test_ssl_imported_before():
    run("""
    import ssl, warnings
    from ssl import SSLContext, create_default_context
    old = SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    class Mine(SSLContext):
        pass

    from coir.gevent import monkey
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        monkey.patch_all()
    (warning,) = [w for w in caught
                  if issubclass(w.category, monkey.MonkeyPatchWarning)]
    assert "Mine" in str(warning.message)

    import socket
    for context in (old, SSLContext(ssl.PROTOCOL_TLS_CLIENT),
                    Mine(ssl.PROTOCOL_TLS_CLIENT),
                    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
                    create_default_context()):
        # These have named the class by the module's global.
        context.options |= ssl.OP_NO_TICKET
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        assert context.options & ssl.OP_NO_TICKET
        one, two = socket.socketpair()
        wrapped = context.wrap_socket(one, do_handshake_on_connect=False)
        assert isinstance(wrapped, ssl.SSLSocket), type(wrapped)
        wrapped.close()
        two.close()
    """)


def test_libraries_imported_before(tmp_path):
    """http.client, urllib and concurrent.futures, and the loop runs."""
    run("""
    import concurrent.futures, http.client, http.server, threading
    import urllib.request
    from coir.gevent import monkey, spawn, sleep
    monkey.patch_all()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            sleep(0.01)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = "http://127.0.0.1:%d/" % server.server_port
    fetch = lambda n: urllib.request.urlopen(url).read()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(fetch, range(20))) == [b"ok"] * 20
    server.shutdown()
    """)


def test_report(tmp_path):
    (tmp_path / "late.py").write_text(textwrap.dedent("""
    import subprocess
    import threading
    from socket import socket as Sock
    from time import sleep

    class Conn(Sock):
        nap = sleep
        guard = (threading.Lock(),)[0]

    def fetch(nap=sleep):
        pass
    """))
    out = run(
        """
    import late
    from coir.gevent import monkey
    monkey.patch_all()
    report = monkey.patch_report()
    found = {e.name: e for e in report if e.module == "late"}
    print(sorted(found))
    print(found["sleep"])
    assert found["sleep"].file == late.__file__
    late.sleep = __import__("time").sleep
    again = {e.name for e in monkey.patch_report() if e.module == "late"}
    assert again == set(found) - {"sleep"}
    assert str(report).count("\\n") == len(report) - 1
    """,
        env={"PYTHONPATH": str(tmp_path)},
    )
    names, line = out.splitlines()
    assert "'sleep'" in names and "'fetch()'" in names
    assert "'Conn.nap'" in names
    assert line == (
        "late.sleep is the original time.sleep: import late after "
        "patch_all(), or set late.sleep = time.sleep"
    )


def test_report_of_nothing():
    out = run("""
    from coir.gevent import monkey
    print(monkey.patch_report())
    """)
    assert out.startswith("Nothing")


PLUGIN = """
seen = []
def record(event):
    seen.append(event)
"""


def test_plugins(tmp_path):
    (tmp_path / "plug.py").write_text(PLUGIN)
    info = tmp_path / "plug-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: plug\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[gevent.plugins.monkey.did_patch_builtins]\nx = plug:record\n"
        # What gevent has of its own must not be imported for it.
        "[gevent.plugins.monkey.will_patch_all]\ny = gevent.no_such:thing\n"
    )
    run(
        """
    import plug
    from coir.gevent import events, monkey
    monkey.patch_all(thread=False, extra=42)
    (event,) = plug.seen
    assert isinstance(event, events.GeventDidPatchBuiltinModulesEvent)
    assert event.patch_all_kwargs == {"extra": 42}
    assert event.patch_all_arguments["thread"] is False
    """,
        env={"PYTHONPATH": str(tmp_path)},
    )


def test_subscriber_can_refuse():
    run("""
    import time
    from coir.gevent import events, monkey

    def refuse(event):
        if getattr(event, "module_name", "") == "time":
            raise events.DoNotPatch

    events.subscribers.append(refuse)
    sleep = time.sleep
    assert not monkey.patch_time()
    assert monkey.patch_all(thread=False) is True
    assert time.sleep is sleep
    assert not monkey.is_module_patched("time")
    assert monkey.is_object_patched("socket", "socket")
    assert monkey.get_original("time", "sleep") is sleep
    """)


def test_patching_again_adds():
    run("""
    import time, warnings
    from coir.gevent import monkey
    sleep = time.sleep
    assert monkey.patch_all(thread=False, time=False)
    assert time.sleep is sleep
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert monkey.patch_all(thread=False)
    assert "more than once" in str(caught[0].message)
    assert time.sleep is not sleep
    assert monkey.patch_all(thread=False) is None
    """)


def test_signal_without_os_is_warned_of():
    run("""
    import warnings
    from coir.gevent import monkey
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        monkey.patch_all(os=False)
    assert any("SIGCHLD" in str(w.message) for w in caught)
    """)


def test_threads_started_before_can_be_joined():
    run("""
    import threading
    go = threading.Event()
    thread = threading.Thread(target=go.wait)
    thread.start()
    from coir.gevent import monkey, spawn
    monkey.patch_all()
    ran = []
    spawn(lambda: (ran.append(1), go.set()))
    thread.join()
    assert ran and not thread.is_alive()
    assert thread.join(0) is None
    """)


def test_main_thread_is_joined_by_others():
    out = run("""
    from coir.gevent import monkey
    monkey.patch_all()
    import threading

    def wait():
        threading.main_thread().join()
        print("after main")

    threading.Thread(target=wait).start()
    import time
    time.sleep(0)
    print("main ends")
    """)
    assert out.split("\n")[:2] == ["main ends", "after main"]


def test_exit_waits_for_threads_and_not_for_daemons():
    out = run("""
    from coir.gevent import monkey
    monkey.patch_all()
    import threading, time
    threading.Thread(target=lambda: time.sleep(60), daemon=True).start()
    threading.Thread(target=lambda: (time.sleep(0.01), print("done"))).start()
    """)
    assert out == "done\n"


def test_exit_while_a_thread_waits_for_ever():
    run("""
    from coir.gevent import monkey
    monkey.patch_all()
    import threading
    threading.Thread(target=threading.Lock().acquire).start()
    lock = threading.Lock()
    lock.acquire()
    threading.Thread(target=lock.acquire).start()
    """)


def test_patching_in_another_thread_is_warned_of():
    run("""
    import threading, warnings
    caught = []
    def patch():
        from coir.gevent import monkey
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            monkey.patch_all()
        caught.extend(found)
    thread = threading.Thread(target=patch)
    thread.start()
    thread.join()
    assert any("main" in str(w.message) for w in caught)
    """)


SCRIPT = """\
import sys, time, sibling, socket
from coir.gevent import monkey
print(__name__, sys.argv[1:], sibling.__name__)
print(*sorted(n for n in ("time", "socket", "_thread", "queue")
              if monkey.is_module_patched(n)))
"""


@pytest.fixture
def script(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "sibling.py").write_text("")
    path = tmp_path / "sub" / "script.py"
    path.write_text(SCRIPT)
    return path


@pytest.mark.parametrize(
    ("options", "patched"),
    [
        ([], "_thread queue socket time"),
        (["--no-thread", "--no-queue"], "socket time"),
        (["--time"], "time"),
        (["--time", "--socket", "--"], "socket time"),
    ],
)
def test_command(script, options, patched):
    command = ["-m", "coir.gevent.monkey", *options]
    out = run(command, "sub/script.py", "a", "--b", cwd=script.parent.parent)
    assert out == f"__main__ ['a', '--b'] sibling\n{patched}\n"


def test_command_runs_a_module(script):
    command = ["-m", "coir.gevent.monkey", "--module", "script", "a"]
    out = run(command, cwd=script.parent)
    assert out.startswith("__main__ ['a'] sibling\n")


def test_command_tells_how_it_is_used(script):
    out = run(["-m", "coir.gevent.monkey"])
    assert "--[no-]socket" in out
    res = subprocess.run(
        [sys.executable, "-m", "coir.gevent.monkey", "--tiem", "x"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert res.returncode == 1
    assert "tiem" in res.stderr
    out = run(["-m", "coir.gevent.monkey", "--verbose", str(script)])
    assert out.startswith("gevent.monkey.patch_all()\n")


def test_events_without_zope():
    run("""
    import sys
    sys.modules["zope"] = None
    from coir.gevent import events
    seen = []
    events.subscribers.append(seen.append)
    events.notify(1)
    assert seen == [1]
    event = events.GeventDidPatchModuleEvent("m", None, None)
    assert events.IGeventDidPatchModuleEvent.providedBy(event)
    assert events.IGeventPatchEvent.providedBy(event)
    assert not events.IGeventWillPatchEvent.providedBy(event)
    """)


def test_processes(tmp_path):
    """Queues, pools and pipes, whose ends are greenlets in each process."""
    (tmp_path / "job.py").write_text(textwrap.dedent("""
    def double(n):
        return 2 * n

    def echo(queue, answers):
        for item in iter(queue.get, None):
            answers.put(item)
    """))
    run(
        """
    from coir.gevent import monkey, spawn
    monkey.patch_all()
    import concurrent.futures, multiprocessing, threading
    import job

    context = multiprocessing.get_context("fork")
    queue, answers = context.Queue(), context.Queue()
    child = context.Process(target=job.echo, args=(queue, answers))
    child.start()
    got = []
    readers = [
        threading.Thread(target=lambda: got.append(answers.get()))
        for _ in range(4)
    ]
    for reader in readers:
        reader.start()
    big = b"x" * 300000
    for item in (1, 2, 3, big):
        queue.put(item)
    for reader in readers:
        reader.join()
    assert sorted(got, key=str) == sorted([1, 2, 3, big], key=str)
    queue.put(None)
    child.join()

    with concurrent.futures.ProcessPoolExecutor(
        2, mp_context=context
    ) as pool:
        assert list(pool.map(job.double, range(20))) == list(range(0, 40, 2))

    one, two = multiprocessing.Pipe()
    writer = spawn(one.send_bytes, b"y" * 1000000)
    assert two.recv_bytes() == b"y" * 1000000
    writer.join()
    lock = context.Lock()
    with lock:
        assert not lock.acquire(timeout=0.01)
        waits = spawn(lock.acquire)
        waits.join(0.01)
    assert waits.get(timeout=60) is True
    """,
        env={"PYTHONPATH": str(tmp_path)},
    )


@pytest.mark.parametrize("selector", ["Epoll", "Poll", "Select", "Default"])
def test_asyncio_waits_for_greenlets(selector):
    out = run(
        """
from coir.gevent import monkey; monkey.patch_all()
import asyncio, selectors, time
"""
        + MAIN
        + f"""
loop = asyncio.SelectorEventLoop(selectors.{selector}Selector())
loop.run_until_complete(main())
loop.close()
"""
    )
    assert out == MAIN_PRINTS


@pytest.mark.skipif(sys.version_info < (3, 14), reason="no interpreters")
def test_other_interpreters_block_one_greenlet_only():
    assert (
        run("""
    from coir.gevent import monkey; monkey.patch_all()
    import coir.gevent as gevent, os
    from concurrent import futures, interpreters

    def read(fd):
        import os
        return os.read(fd, 100)

    ours, theirs = os.pipe()
    with futures.InterpreterPoolExecutor(2) as pool:
        future = pool.submit(read, ours)
        ticks = []
        gevent.spawn(ticks.append, 1).join()
        assert not future.done()
        os.write(theirs, b"here")
        print(future.result(30).decode(), *pool.map(len, ["a", "bc"]))
    interpreter = interpreters.create()
    try:
        interpreter.exec("x = 1 / 0")
    except interpreters.ExecutionFailed as exc:
        print(exc.excinfo.type.__name__)
    interpreter.close()
    """)
        == "here 1 2\nZeroDivisionError\n"
    )
