"""coir.eventlet's green modules and patcher, in processes of their own."""

import io
import os
import pickle
import subprocess
import sys
import textwrap

import pytest
from coir import eventlet
from coir.eventlet import patcher


def run(program, *args, **env):
    """What a program prints; it is to end well, and say nothing else."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *args],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, **env},
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


# --- names -------------------------------------------------------------------


#: Of those that need nothing else.
NAMES = """
BaseHTTPServer CGIHTTPServer Queue SimpleHTTPServer SocketServer
_socket_nodns asynchat asyncore builtin ftplib http http.client
http.cookiejar http.cookies http.server httplib os profile select selectors
socket ssl subprocess thread threading time urllib urllib.error urllib.parse
urllib.request urllib.response urllib2
"""


def test_modules_are_there_and_leave_others_alone():
    program = """\
        import http.client, importlib, socket, sys, urllib.request, warnings
        before = {k: v for k, v in sys.modules.items() if k.partition('.')[0]
                  in ('http', 'urllib', 'socket', 'threading', 'ssl')}
        warnings.simplefilter('ignore')
        for name in sys.argv[1:]:
            importlib.import_module(f'coir.eventlet.green.{name}')
            for k, v in before.items():
                assert sys.modules[k] is v, (name, k)
            assert urllib.request.socket is socket, name
            assert http.client.socket is socket, name
            assert sys.modules['http'].client is http.client, name
        print('ok')
        """
    assert run(program, *NAMES.split()) == "ok\n"


def test_clients_of_the_standard_library_are_green():
    from coir.eventlet.green import socket
    from coir.eventlet.green.http import client
    from coir.eventlet.green.urllib import request

    assert client.socket is socket
    assert request.socket is socket
    assert request.http.client is client


def test_limits_of_the_green_http_client_were_not_heeded(monkeypatch):
    from http.client import HTTPException

    from coir.eventlet.green.http import client

    head = io.BytesIO(b"A: 1\r\nB: 2\r\n\r\n")
    assert len(client.parse_headers(head)) == 2
    monkeypatch.setattr(client, "_MAXHEADERS", 1)
    head.seek(0)
    with pytest.raises(client.HTTPException) as info:
        client.parse_headers(head)
    assert not isinstance(info.value, HTTPException)
    assert client.HTTPResponse.begin.__globals__ is vars(client)


# --- patcher -----------------------------------------------------------------


def test_original_is_another_module():
    import threading

    original = patcher.original("threading")
    assert original is not threading
    assert original is patcher.original("threading")
    assert original.Thread.__module__ == "threading"


def test_inject_leaves_nothing_in_a_package():
    """Others import the module, whose classes are the same everywhere."""
    out = run("""
        import sys
        from coir.eventlet.green.http import cookiejar as green
        from coir.eventlet.green.urllib import request
        import http
        from http import client, cookiejar
        assert http.cookiejar is sys.modules["http.cookiejar"] is cookiejar
        assert http.client is sys.modules["http.client"] is client
        assert cookiejar.CookieJar is not green.CookieJar
        import http.cookiejar
        assert http.cookiejar is cookiejar
        print("ok")
    """)
    assert out == "ok\n"


def test_inject_twice_gives_the_same():
    names = {}
    one = patcher.inject("wave", names, ("struct", os))
    assert one.struct is os and names["struct"] is os
    assert patcher.import_patched("wave", struct=None) is one
    del sys.modules["__patched_module_wave"]
    import wave

    assert wave.struct is not os


def test_patch_function():
    def imports():
        import colorsys

        return colorsys

    assert patcher.patch_function(imports, ("colorsys", os))() is os
    assert imports() is not os


def test_options():
    with pytest.raises(TypeError, match="finagle"):
        patcher.monkey_patch(finagle=True)
    assert not patcher.is_monkey_patched("socket")


def test_everything_is_patched():
    assert (
        run(
            """\
            from coir import eventlet
            eventlet.monkey_patch()
            import os, queue, select, selectors, socket, ssl, subprocess
            import threading, time, _thread
            from coir.eventlet.greenio import GreenSocket
            assert socket.socket is GreenSocket
            assert issubclass(ssl.SSLSocket, GreenSocket)
            assert time.sleep is eventlet.sleep
            assert not hasattr(select, 'epoll')
            assert selectors.DefaultSelector is selectors.SelectSelector
            for module in ('os', 'queue', 'select', 'socket', 'subprocess'):
                name = globals()[module].__dict__
                assert any('eventlet' in getattr(v, '__module__', '')
                           for v in name.values() if callable(v)), module
            assert eventlet.patcher.is_monkey_patched(socket)
            assert threading.current_thread() is threading.main_thread()
            assert threading.enumerate() == [threading.main_thread()]
            print('ok')
            """
        )
        == "ok\n"
    )


def test_threads_are_green():
    assert (
        run(
            """\
            from coir import eventlet
            eventlet.monkey_patch()
            import queue, threading, time
            from concurrent.futures import ThreadPoolExecutor
            names = []
            def work(n):
                names.append(threading.current_thread().name)
                time.sleep(0.1)
                return threading.get_native_id()
            start = time.monotonic()
            with ThreadPoolExecutor(50) as pool:
                assert set(pool.map(work, range(50))) == {
                    threading.get_native_id()}
            assert time.monotonic() - start < 4
            assert len(set(names)) == 50
            lock = threading.RLock()
            with lock, lock:
                t = threading.Thread(target=lambda: lock.acquire(False))
                t.start()
                t.join()
            assert not t.is_alive()
            q = queue.SimpleQueue()
            threading.Timer(0.01, q.put, ['x']).start()
            assert q.get() == 'x'
            local = threading.local()
            local.x = 1
            t = threading.Thread(target=lambda: names.append(
                getattr(local, 'x', None)))
            t.start(); t.join(10)
            assert names[-1] is None
            print('ok')
            """
        )
        == "ok\n"
    )


def test_who_is_refused_a_lock_goes_on():
    """Others have a turn then in gevent, but not in eventlet."""
    out = run(
        """
        from coir import eventlet
        eventlet.monkey_patch()
        import threading
        from concurrent.futures import ThreadPoolExecutor
        eventlet.sleep(0)
        ran = []
        eventlet.spawn_n(ran.append, "others")
        for lock in threading.Lock(), threading.Semaphore():
            assert lock.acquire()
            assert not lock.acquire(False)
        assert not lock.acquire(timeout=0)
        assert not ran
        with ThreadPoolExecutor(1) as pool:
            pool.submit(eventlet.sleep).result()
            ran.clear()
            for name in "one", "two":
                pool.submit(ran.append, name)
            print(*ran)
        print(*ran)
        """
    )
    assert out == "\none two\n"


def test_native_threads_use_the_same_locks():
    assert (
        run(
            """\
            from coir import eventlet
            eventlet.monkey_patch()
            import threading
            from coir.eventlet.patcher import original
            native = original('threading')
            lock, done = threading.Lock(), threading.Event()
            lock.acquire()
            ids = []
            def work():
                with lock:
                    ids.append(threading.get_native_id())
                done.set()
            t = native.Thread(target=work)
            t.start()
            ticks = eventlet.spawn(lambda: [eventlet.sleep(0.01)
                                            for _ in range(5)])
            ticks.wait()
            assert not ids
            lock.release()
            assert done.wait(20)
            t.join()
            assert ids != [threading.get_native_id()]
            print('ok')
            """
        )
        == "ok\n"
    )


def test_locks_that_were_there_before():
    assert (
        run(
            """\
            import logging, threading
            class Holder:
                def __init__(self):
                    self.lock = threading.Lock()
                    self.held = threading.RLock()
                    self.condition = threading.Condition()
            holder = Holder()
            locks = [threading.RLock()]
            holder.held.acquire()
            holder.held.acquire()
            from coir import eventlet
            eventlet.monkey_patch()
            def other():
                assert not holder.held.acquire(False)
                with holder.lock, locks[0], holder.condition:
                    holder.condition.notify()
                    logging.getLogger().warning
                    eventlet.sleep(0.01)
                return 'ok'
            with holder.condition:
                green = eventlet.spawn(other)
                holder.condition.wait(20)
            with holder.lock, locks[0]:
                pass
            print(green.wait())
            holder.held.release()
            holder.held.release()
            """
        )
        == "ok\n"
    )


def test_patching_threads_in_a_second_call_failed():
    """Any call replaces threading.RLock, and those of before were not known
    for what they are."""
    assert (
        run(
            """\
            import os, threading
            os.environ.pop("PYTEST_CURRENT_TEST", None)
            class Holder:
                lock = threading.RLock()
            holder = Holder()
            holder.lock = threading.RLock()
            held = [threading.RLock()]
            held[0].acquire()
            from coir import eventlet
            eventlet.monkey_patch(thread=False)
            assert eventlet.patcher.is_monkey_patched("socket")
            eventlet.monkey_patch()
            def other():
                with holder.lock, Holder.lock:
                    eventlet.sleep(0.01)
                return held[0].acquire(False)
            green = eventlet.spawn(other)
            eventlet.sleep(0)
            with holder.lock, Holder.lock:
                print(green.wait())
            held[0].release()
            """
        )
        == "False\n"
    )


def test_no_lock_of_the_interpreter_stays_native():
    """Which a program that patches first thing would be told of."""
    assert (
        run(
            """\
            import os
            os.environ.pop("PYTEST_CURRENT_TEST", None)
            from coir import eventlet
            eventlet.monkey_patch()
            """
        )
        == ""
    )


def test_contexts_that_were_there_before():
    assert (
        run(
            """\
            import ssl
            from ssl import SSLContext, create_default_context
            context = create_default_context()
            from coir import eventlet
            eventlet.monkey_patch()
            import socket
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.options |= ssl.OP_ALL
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            sock = context.wrap_socket(socket.socket())
            assert type(sock) is ssl.SSLSocket, type(sock)
            sock.close()
            new = SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            new.minimum_version = ssl.TLSVersion.TLSv1_2
            print('ok')
            """
        )
        == "ok\n"
    )


def test_green_threads_go_on_in_the_child():
    assert (
        run(
            """\
            from coir import eventlet
            eventlet.monkey_patch()
            import os, threading, time, warnings
            warnings.simplefilter('ignore')
            said, gate = [], threading.Event()
            def background():
                gate.wait()
                time.sleep(0.01)
                said.append(os.getpid())
            a, b = eventlet.green.socket.socketpair()
            def read():
                try:
                    return a.recv(2)
                except OSError:
                    return 'closed'
            reader = eventlet.spawn(read)
            thread = threading.Thread(target=background)
            thread.start()
            time.sleep(0)
            pid = os.fork()
            if pid:
                a.close()  # what is sent is for the child
            gate.set()
            thread.join()
            assert said == [os.getpid()]
            if pid == 0:
                b.send(b'c')
                os._exit(0 if reader.wait() == b'c' else 1)
            assert os.waitpid(pid, 0)[1] == 0
            assert reader.wait() == 'closed'
            print('ok')
            """
        )
        == "ok\n"
    )


def test_green_threads_do_not_delay_the_end():
    assert (
        run(
            """\
            from coir import eventlet
            eventlet.monkey_patch()
            import threading, time
            threading.Thread(target=time.sleep, args=(1000,)).start()
            eventlet.sleep(0)
            print('ok')
            """
        )
        == "ok\n"
    )


def test_as_a_program(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import socket, sys; print(socket.socket.__name__, sys.argv[1])"
    )
    done = subprocess.run(
        [sys.executable, "-m", "coir.eventlet.patcher", script, "x"],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stdout == "GreenSocket x\n", done.stderr


# --- the rest ----------------------------------------------------------------


def test_names_of_hosts_without_dnspython():
    program = """\
        import sys
        if sys.argv[1] == 'none':
            sys.modules['dns'] = None
        from coir import eventlet
        from coir.eventlet.green import socket
        print(socket.getaddrinfo.__module__)
        assert socket.gethostbyname('127.0.0.1') == '127.0.0.1'
        [*found] = socket.getaddrinfo('localhost', 80, socket.AF_INET)
        assert found[0][4] == ('127.0.0.1', 80), found
        """
    engine = "coir.gevent._socketcommon\n"
    assert run(program, "none") == engine
    assert run(program, "", EVENTLET_NO_GREENDNS="yes") == engine


def test_a_write_that_a_pipe_has_no_room_for_lets_others_run():
    from coir.eventlet.green import os as green

    data = bytes(range(256)) * 4096
    r, w = os.pipe()
    got = bytearray()

    def drain():
        while len(got) < len(data):
            got.extend(green.read(r, 65536))

    reader = eventlet.spawn(drain)
    with eventlet.Timeout(60):
        assert green.write(w, memoryview(data).cast("I")) == len(data)
        reader.wait()
    assert got == data
    os.close(r)
    with pytest.raises(BrokenPipeError):
        green.write(w, data)
    os.close(w)


def test_a_write_of_which_a_pipe_took_some_says_how_much():
    from coir.eventlet.green import os as green

    r, w = os.pipe()

    def leave():
        green.read(r, 1)
        os.close(r)

    eventlet.spawn(leave)
    with eventlet.Timeout(60):
        assert 0 < green.write(w, b"x" * 1_000_000) < 1_000_000
    with pytest.raises(BrokenPipeError):
        green.write(w, b"x")
    os.close(w)


def test_children():
    from coir.eventlet.green import subprocess as green

    ticks = []

    def tick():
        while True:
            ticks.append(1)
            eventlet.sleep(0.01)

    green_thread = eventlet.spawn(tick)
    code = "import sys, time; time.sleep(0.2); print(sys.stdin.read())"
    with green.Popen(
        [sys.executable, "-c", code],
        stdin=green.PIPE,
        stdout=green.PIPE,
        text=True,
    ) as child:
        assert child.communicate("hello", timeout=60)[0] == "hello\n"
    assert child.wait(1) == 0
    assert len(ticks) > 5
    green_thread.kill()
    assert green.check_output([sys.executable, "-c", "print(1)"]) == b"1\n"
    with pytest.raises(subprocess.CalledProcessError):
        green.check_call([sys.executable, "-c", "raise SystemExit(3)"])
    with green.Popen([sys.executable, "-c", "input()"], stdin=-1) as child:
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.05)


def test_classes_of_copied_modules_can_be_pickled():
    from coir.eventlet.green.http import client, cookiejar, cookies

    read = pickle.loads(pickle.dumps(client.IncompleteRead(b"x")))
    assert type(read) is client.IncompleteRead and read.partial == b"x"
    cookie = cookies.SimpleCookie("a=1; b=2")
    assert pickle.loads(pickle.dumps(cookie)) == cookie
    policy = pickle.loads(pickle.dumps(cookiejar.DefaultCookiePolicy()))
    assert type(policy) is cookiejar.DefaultCookiePolicy


def test_a_queue_without_a_size_has_no_limit():
    from coir.eventlet.green.Queue import LifoQueue, PriorityQueue, Queue

    for cls in (LifoQueue, PriorityQueue, Queue):
        for size in (None, 0, -1):
            q = cls(size)
            q.put(1, block=False)
            assert q.maxsize is None and not q.full()


def test_a_child_is_shown_as_python_shows_it():
    from coir.eventlet.green import subprocess as green

    with green.Popen([sys.executable, "-c", ""]) as child:
        assert repr(child).startswith("<Popen: returncode: None args: [")
    with green.Popen(["true"]) as child:
        child.wait()
        assert repr(child) == "<Popen: returncode: 0 args: ['true']>"


def test_traces():
    from coir.eventlet.zipkin import api

    sent = []

    class Client:
        def send_to_collector(self, span):
            sent.append(span)

    before, api.client = api.client, Client()
    try:
        host = api.ZipkinDataBuilder.build_endpoint("127.0.0.1", 80, "me")
        api.set_trace_data(api.TraceData("GET", 1, 2, None, True, host))
        api.put_annotation("sr")
        api.put_key_value("uri", "/")
        api.put_annotation("ss")
        api.put_annotation("late")
    finally:
        api.init_trace_data()
        api.client = before
    [span] = sent
    assert [a.value for a in span.annotations] == [b"sr", b"ss"]
    assert span.binary_annotations[0].host.ipv4 == 0x7F000001
    assert not api.is_tracing()


def test_profile_tells_green_threads_apart():
    from coir.eventlet.green import profile

    def busy():
        for _ in range(3):
            eventlet.sleep(0)

    def main():
        threads = [eventlet.spawn(busy) for _ in range(2)]
        for thread in threads:
            thread.wait()

    profiler = profile.Profile()
    profiler.runcall(main)
    names = {name for _, _, name in profiler.timings}
    assert {"main", "busy"} <= names


def test_a_pipe_that_cannot_be_made_a_file_is_closed_once():
    from coir.eventlet.green import subprocess as green

    before = len(os.listdir("/proc/self/fd"))
    for options in {"encoding": "bogus"}, {"errors": 5}:
        with pytest.raises((LookupError, TypeError)):
            green.Popen(["true"], stdin=-1, stdout=-1, stderr=-1, **options)
    assert len(os.listdir("/proc/self/fd")) == before
