"""coir.gevent.subprocess, os and signal: what gevent's tests leave open."""

import gc
import os as native_os
import signal as native_signal
import subprocess as native
import sys
import threading

import coir.gevent
import pytest
from coir.gevent import os, signal, subprocess
from coir.gevent.event import Event

PYTHON = sys.executable


def descriptors():
    gc.collect()
    return len(native_os.listdir("/proc/self/fd"))


def cat(**options):
    return subprocess.Popen(
        ["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options
    )


def others_run_during(func):
    """Whether greenlets run while `func` waits; returns what it returns."""
    ran = Event()
    other = coir.gevent.spawn(ran.set)
    result = func(ran)
    assert ran.is_set()
    other.join()
    return result


def test_is_the_interpreters_own_class():
    assert issubclass(subprocess.Popen, native.Popen)
    # No fork in Python: the child is started by C code.
    assert subprocess.Popen._execute_child is not native.Popen._execute_child
    assert subprocess._fork_exec is native._fork_exec


def test_wait_lets_others_run():
    def wait(ran):
        with cat() as child:
            coir.gevent.spawn(lambda: (ran.wait(), child.stdin.close()))
            return child.wait()

    assert others_run_during(wait) == 0


def test_many_wait_for_one():
    with cat() as child:
        waiting = [coir.gevent.spawn(child.wait) for _ in range(10)]
        coir.gevent.sleep(0)
        child.kill()
        coir.gevent.joinall(waiting, raise_error=True)
        assert {g.value for g in waiting} == {-native_signal.SIGKILL}


def test_wait_function_takes_a_process():
    with cat() as one, cat() as two:
        one.stdin.close()
        assert coir.gevent.wait([one, two], count=1) == [one]
        # Given up before: it must not be told of then.
        two.stdin.close()
        assert coir.gevent.wait([two]) == [two]


def test_timeout_of_wait():
    with cat() as child:
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.01)
        assert child.wait(0.01, _raise_exc=False) is None
        child.stdin.close()
        assert child.wait(30) == 0


def test_in_a_native_thread():
    results = []

    def run():
        results.append(subprocess.check_output(["echo", "here"]))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert results == [b"here\n"]


def test_a_timeout_says_what_was_given():
    command = [sys.executable, "-c", "import signal; signal.pause()"]
    for timeout in (0, 0.01):
        for pipe in (None, subprocess.PIPE):
            with subprocess.Popen(command, stdout=pipe) as child:
                with pytest.raises(subprocess.TimeoutExpired) as info:
                    child.communicate(timeout=timeout)
                child.kill()
            assert info.value.timeout == timeout


def test_communicate_again_after_a_timeout():
    with cat() as child:
        child.stdin.write(b"1")
        child.stdin.flush()
        with pytest.raises(subprocess.TimeoutExpired) as info:
            # cat gives back what it got, and waits for more.
            held = native_os.dup(child.stdin.fileno())
            child.communicate(b"2", timeout=0.3)
        assert info.value.output == b"12"
        native_os.write(held, b"3")
        native_os.close(held)
        assert child.communicate(timeout=60) == (b"123", None)


def test_much_through_a_pipe():
    data = bytes(range(256)) * 8192
    assert subprocess.run(["cat"], input=data, stdout=-1).stdout == data
    text = "a\u00e4\n" * 300000
    options = {"capture_output": True, "encoding": "utf-8"}
    assert subprocess.run(["cat"], input=text, **options).stdout == text


def test_kill_of_who_communicates():
    with cat() as child:
        g = coir.gevent.spawn(child.communicate)
        coir.gevent.sleep(0)
        g.kill()
        child.kill()
    assert child.stdout.closed
    # Its input was closed, too: it may have ended by itself.
    assert child.returncode in (0, -native_signal.SIGKILL)


def test_nothing_is_left_behind():
    def once():
        with cat(stderr=subprocess.PIPE) as child:
            child.communicate(b"x")
        with pytest.raises(FileNotFoundError):
            subprocess.Popen(["no such program"], stdin=-1, stdout=-1)
        with pytest.raises(subprocess.SubprocessError):
            cat(preexec_fn=lambda: 1 / 0)
        if sys.version_info >= (3, 11, 4):  # Python's own did before that
            with pytest.raises(TypeError):
                cat(group=1.5)

    once()
    before = descriptors()
    for _ in range(3):
        once()
    assert descriptors() == before


def test_file_of_ours_is_no_surprise_to_a_child():
    r, w = native_os.pipe()
    with subprocess.FileObject(r) as stdin:
        assert not native_os.get_blocking(r)
        with subprocess.Popen(["cat"], stdin=stdin, stdout=-1) as child:
            coir.gevent.sleep(0.05)
            native_os.write(w, b"late")
            native_os.close(w)
            assert child.stdout.read() == b"late"


@pytest.mark.parametrize("which", ["one", "any", "group", "other group"])
def test_waitpid_lets_others_run(which):
    def wait(ran):
        own_group = which == "other group"
        child = subprocess.Popen(
            ["cat"], stdin=-1, process_group=0 if own_group else None
        )
        pid = {"one": child.pid, "any": -1, "group": 0}.get(which, -child.pid)
        coir.gevent.spawn(lambda: (ran.wait(), child.stdin.close()))
        result = os.waitpid(pid, 0)
        child.returncode = 0
        return result == (child.pid, 0)

    assert others_run_during(wait)


@pytest.mark.parametrize("idtype", ["P_PID", "P_ALL", "P_PGID"])
def test_waitid_lets_others_run(idtype):
    def wait(ran):
        child = cat()
        ident = {"P_PID": child.pid, "P_PGID": native_os.getpgrp()}
        coir.gevent.spawn(lambda: (ran.wait(), child.stdin.close()))
        kind = getattr(native_os, idtype)
        told = [
            os.waitid(kind, ident.get(idtype, 0), native_os.WEXITED | keep)
            for keep in (native_os.WNOWAIT, 0)
        ]
        child.returncode = 0
        with pytest.raises(ChildProcessError):
            os.waitpid(child.pid, 0)
        return told[0] == told[1] and told[0].si_pid == child.pid

    assert others_run_during(wait)


@pytest.mark.parametrize("how", ["exit", "signal"])
def test_waitid_finds_who_was_reaped_by_the_hub(how):
    reaped = Event()
    pid = os.fork_and_watch(lambda watcher: reaped.set())
    if pid == 0:
        if how == "signal":
            native_os.kill(native_os.getpid(), native_signal.SIGKILL)
        native_os._exit(3)
    assert reaped.wait(60)
    for keep in (native_os.WNOWAIT, native_os.WNOHANG):
        told = os.waitid(native_os.P_PID, pid, native_os.WEXITED | keep)
        assert (told.si_pid, told.si_signo) == (pid, native_signal.SIGCHLD)
        assert (told.si_status, told.si_code) == {
            "exit": (3, native_os.CLD_EXITED),
            "signal": (native_signal.SIGKILL, native_os.CLD_KILLED),
        }[how]
    with pytest.raises(ChildProcessError):
        os.waitid(native_os.P_PID, pid, native_os.WEXITED)


def test_waitpid_tells_of_a_stop():
    with cat() as child:
        stopper = coir.gevent.spawn(child.send_signal, native_signal.SIGSTOP)
        pid, status = os.waitpid(child.pid, native_os.WUNTRACED)
        assert pid == child.pid and native_os.WIFSTOPPED(status)
        stopper.join()
        child.kill()


def test_waitpid_can_be_given_up():
    with cat() as child:
        for _ in range(20):
            with coir.gevent.Timeout(0.001, False):
                os.waitpid(-1, 0)
        child.stdin.close()
        assert os.waitpid(-1, 0) == (child.pid, 0)
        child.returncode = 0


def test_nobody_to_wait_for():
    for pid in (-1, 0, 1, -2):
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, 0)


def test_callback_of_a_fork():
    ended = Event()
    seen = []

    def callback(watcher):
        seen.append((watcher.rpid, watcher.rstatus))
        ended.set()

    pid = os.fork_and_watch(callback)
    if not pid:
        native_os._exit(3)
    assert ended.wait(60)
    assert seen == [(pid, 3 << 8)]
    assert os.waitpid(pid, 0) == (pid, 3 << 8)
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)


def test_callback_of_a_fork_that_waitpid_reaps():
    seen = []
    pid = os.fork_and_watch(lambda watcher: seen.append(watcher.rstatus))
    if not pid:
        native_os._exit(4)
    native_os.waitid(
        native_os.P_PID, pid, native_os.WEXITED | native_os.WNOWAIT
    )
    assert os.waitpid(pid, 0) == (pid, 4 << 8)
    coir.gevent.sleep(0.01)
    assert seen == [4 << 8]


def test_only_who_forks_goes_on_in_the_child(monkeypatch):
    # Whatever tests of eventlet have run here.
    monkeypatch.setattr(coir.gevent.hub, "_all_survive_forks", False)
    r, w = native_os.pipe()

    def sleep_and_write():
        coir.gevent.sleep(0.001)
        native_os.write(w, b"other")

    other = coir.gevent.spawn(sleep_and_write)
    coir.gevent.sleep(0)
    pid = os.fork()
    if not pid:
        try:
            coir.gevent.sleep(0.01)
            native_os.write(w, b"child")
        finally:
            native_os._exit(0)
    # Nobody runs in the parent up to here, but for this:
    native_os.waitpid(pid, 0)
    assert native_os.read(r, 100) == b"child"
    other.join()
    native_os.close(r)
    native_os.close(w)


def test_sigchld_handler_may_wait():
    calls = []
    done = Event()

    def handler(signum, frame):
        coir.gevent.sleep(0.001)
        calls.append(signum)
        done.set()

    old = signal.signal(native_signal.SIGCHLD, handler)
    try:
        assert signal.getsignal(native_signal.SIGCHLD) is handler
        assert subprocess.call(["true"]) == 0
        assert done.wait(60)
        assert calls[0] == native_signal.SIGCHLD
    finally:
        assert signal.signal(native_signal.SIGCHLD, old) is handler


def test_close_ends_a_wait():
    r, w = native_os.pipe()
    os.make_nonblocking(r)
    reader = coir.gevent.spawn(os.nb_read, r, 1)
    coir.gevent.sleep(0)
    os.close(r)
    reader.join(60)
    assert isinstance(reader.exception, OSError)
    native_os.close(w)


def test_what_becomes_ready_before_the_loop_sleeps_runs():
    loop = coir.gevent.get_hub().loop
    ran = Event()

    def on_prepare():
        prepare.stop()
        loop.run_callback(ran.set)

    with loop.prepare() as prepare:
        coir.gevent.sleep(0)
        prepare.start(on_prepare)
        assert ran.wait(60)


def test_communicate_again_returns_the_same():
    for options in {"stderr": subprocess.PIPE}, {}:
        process = subprocess.Popen(
            [PYTHON, "-c", "print(1)"], stdout=subprocess.PIPE, **options
        )
        first = process.communicate()
        assert first[0] == b"1\n"
        assert process.communicate() == first


def test_communicate_with_one_pipe_keeps_what_was_read_before_a_timeout():
    process = subprocess.Popen(
        ["sh", "-c", "echo first; read line; echo second"],
        stdin=native_os.open("/dev/null", native_os.O_RDONLY),
        stdout=subprocess.PIPE,
    )
    # It has written, and ends; its end is only seen the second time.
    process.stdout = _SlowEnd(process.stdout)
    with coir.gevent.Timeout(0.05, False):
        process.communicate()
        pytest.fail("read to the end")
    process.stdout.end.set()
    assert process.communicate()[0] == b"first\nsecond\n"


class _SlowEnd:
    """A file whose end comes when it is told to."""

    def __init__(self, file):
        self.file = file
        self.end = Event()

    def read1(self, size):
        data = self.file.read1(size)
        if not data:
            self.end.wait()
        return data

    read = read1

    @property
    def closed(self):
        return self.file.closed

    def close(self):
        self.file.close()


def test_the_representation_of_a_process():
    process = subprocess.Popen(["true"])
    process.wait()
    assert repr(process) == (
        f"<Popen at {id(process):#x} pid={process.pid} returncode=0>"
    )


def test_a_pipe_that_cannot_be_made_a_file_is_closed_once():
    # It raised EBADF instead, and closed none of the others.
    before = descriptors()
    for pipes in (
        {"stdout": subprocess.PIPE},
        dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE),
    ):
        with pytest.raises(LookupError, match="unknown encoding: bogus"):
            subprocess.Popen(["true"], encoding="bogus", **pipes)
        with pytest.raises(TypeError, match="errors"):
            subprocess.Popen(["true"], errors=5, **pipes)
    assert descriptors() == before
