"""coir.gevent.fileobject: what gevent's own tests leave open."""

import io
import os
import threading

import coir.gevent as gevent
import pytest
from coir.gevent._fileobjectcommon import FileObjectClosed, OpenDescriptor
from coir.gevent.event import Event
from coir.gevent.fileobject import (
    FileObject,
    FileObjectBlock,
    FileObjectPosix,
    FileObjectThread,
)
from coir.gevent.lock import Semaphore

KINDS = [FileObjectPosix, FileObjectThread, FileObjectBlock]
GREEN = KINDS[:2]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_text("one\ntwo\n")
    return path


def test_the_default():
    assert FileObject is FileObjectPosix


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("mode", "buffering", "layer"),
    [
        ("r", -1, io.TextIOWrapper),
        ("r+", -1, io.TextIOWrapper),
        ("w", 1, io.TextIOWrapper),
        ("rb", -1, io.BufferedReader),
        ("rb", 0, io.RawIOBase),
        ("wb", 100, io.BufferedWriter),
        ("a+b", -1, io.BufferedRandom),
    ],
)
def test_layers_are_those_of_open(kind, mode, buffering, layer, path):
    with kind(path, mode, buffering=buffering) as f:
        assert isinstance(f.io, layer)
        assert f.name == str(path)
        with open(path, mode, buffering) as plain:
            for ask in ("readable", "writable", "seekable"):
                assert getattr(f, ask)() == getattr(plain, ask)()
            assert f.tell() == plain.tell()
    assert f.closed
    assert f.name == str(path)


@pytest.mark.parametrize("kind", KINDS)
def test_regular_files(kind, path):
    with kind(path, "r+", encoding="latin-1", newline="\n") as f:
        assert f.readline() == "one\n"
        assert list(f) == ["two\n"]
        f.seek(0)
        f.write("\xe9")
        f.flush()
        f.seek(0)
        assert f.read(3) == "\xe9ne"
        f.truncate(2)
    assert path.read_bytes() == b"\xe9n"


@pytest.mark.parametrize("kind", KINDS)
def test_closed(kind, path):
    f = kind(path)
    fd = f.fileno()
    f.close()
    f.close()
    with pytest.raises(OSError):
        os.fstat(fd)
    for use in (f.__next__, lambda: f.read(), lambda: f.fileno()):
        with pytest.raises(FileObjectClosed):
            use()
    assert f
    assert "closed" in repr(f)


@pytest.mark.parametrize("kind", KINDS)
def test_closefd_false_leaves_what_was_given(kind, path):
    r, w = os.pipe()
    f = kind(w, "wb", closefd=False)
    f.write(b"x")
    f.close()
    assert os.read(r, 10) == b"x"
    os.close(r)
    os.close(w)
    for mode in ("rb", "r"):
        with open(path, mode) as plain:
            f = kind(plain, mode, closefd=False)
            assert f.read(1) in (b"o", "o")
            f.close()
            assert not plain.closed
            plain.seek(0)
            assert plain.read(1) in (b"o", "o")
        plain = open(path, mode)
        kind(plain, mode).close()
        assert plain.closed


def test_old_names_of_arguments(path):
    f = FileObject(path, "rb", bufsize=0, close=True)
    assert f.io is f.fileio
    f.close()
    with pytest.raises(TypeError):
        FileObject(path, bufsize=0, buffering=1)
    with pytest.raises(TypeError):
        FileObject(path, close=True, closefd=True)
    with pytest.raises(TypeError):
        FileObject(object())
    with pytest.warns(RuntimeWarning):
        FileObject(path, "rb", 1).close()


def test_failing_to_open_leaks_nothing(path):
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(LookupError):
            FileObject(path, encoding="no such encoding")
        with pytest.raises(LookupError):
            FileObjectBlock(path, encoding="no such encoding")
        with pytest.raises(FileNotFoundError):
            FileObject(path.with_name("no"))
    assert set(os.listdir("/proc/self/fd")) == before
    with pytest.raises(OSError):
        FileObjectPosix(10**6, "rb")


@pytest.mark.parametrize("kind", GREEN)
def test_pipes_let_others_run(kind):
    r, w = os.pipe()
    reader, writer = kind(r, "rb"), kind(w, "wb")
    data = bytes(range(256)) * 2000  # more than a pipe holds

    def write():
        writer.write(data)
        writer.close()

    g = gevent.spawn(write)
    assert reader.read() == data
    g.get()
    reader.close()


def test_readinto_readline_and_partial_reads():
    r, w = os.pipe()
    reader, writer = FileObjectPosix(r, "rb"), FileObjectPosix(w, "wb", 0)
    got = gevent.spawn(reader.readline)
    gevent.sleep(0)
    writer.write(b"li")
    gevent.sleep(0)
    assert not got.ready()
    writer.write(b"ne\nrest")
    assert got.get() == b"line\n"
    assert reader.read1(100) == b"rest"
    buf = bytearray(4)
    writer.write(b"ab")
    assert reader.fileio.readinto(buf) == 2
    assert buf == b"ab\0\0"
    writer.close()
    assert reader.read() == b""
    reader.close()


def test_closing_ends_the_waits():
    r, w = os.pipe()
    raw = FileObjectPosix(r, "rb", 0)
    errors = []

    def read():
        try:
            raw.read(1)
        except OSError as exc:
            errors.append(exc.errno)

    greenlets = [gevent.spawn(read) for _ in range(2)]
    gevent.sleep(0)
    raw.close()
    gevent.joinall(greenlets)
    assert errors == [9, 9]
    with pytest.raises(OSError):
        os.fstat(r)
    os.close(w)


def test_a_killed_reader_leaves_the_file_usable():
    r, w = os.pipe()
    raw = FileObjectPosix(r, "rb", 0)
    g = gevent.spawn(raw.read, 1)
    gevent.sleep(0)
    g.kill()
    os.write(w, b"x")
    assert raw.read(1) == b"x"
    raw.close()
    os.close(w)


def test_readers_of_two_threads():
    r, w = os.pipe()
    raw = FileObjectPosix(r, "rb", 0)
    got = []
    t = threading.Thread(target=lambda: got.append(raw.read(1)))
    t.start()
    g = gevent.spawn(lambda: got.append(raw.read(1)))
    gevent.sleep(0)
    os.write(w, b"xx")
    g.join()
    t.join()
    assert got == [b"x", b"x"]
    raw.close()
    os.close(w)


def test_seek_and_truncate_of_the_raw_file(path):
    with FileObjectPosix(path, "r+b", 0) as f:
        raw = f.fileio
        assert raw.seekable()
        assert raw.seek(2, os.SEEK_SET) == raw.tell() == 2
        assert raw.truncate() == 2
        assert raw.readall() == b""
        raw.seek(0)
        assert raw.readall() == b"on"
        assert not raw.isatty()
        assert str(raw.fileno()) in repr(raw)
    with FileObjectPosix(path, "rb", 0) as f, pytest.raises(OSError):
        f.write(b"x")
    with FileObjectPosix(path, "wb", 0) as f, pytest.raises(OSError):
        f.fileio.read(1)


def test_a_killed_greenlet_keeps_the_lock_until_the_operation_ended():
    r, w = os.pipe()
    lock = Semaphore()
    f = FileObjectThread(r, "rb", 0, lock=lock)
    g = gevent.spawn(f.read, 1)
    gevent.sleep(0)
    g.kill()
    assert lock.locked()
    released = Event()
    lock.rawlink(lambda _: released.set())
    os.write(w, b"xy")
    released.wait()
    assert not lock.locked()
    assert f.read(1) == b"y"
    f.close()
    os.close(w)


def test_lock_of_threaded_files(path):
    with pytest.raises(TypeError):
        FileObjectThread(path, lock=1)
    with FileObjectThread(path, lock=False) as f:
        assert f.read() == "one\ntwo\n"
    assert "threadpool" in repr(f)


def test_atomic_write():
    r, w = os.pipe()
    raw = OpenDescriptor(w, "wb", 0, atomic_write=True).opened()
    assert raw.write(b"abc") == 3
    assert os.read(r, 10) == b"abc"
    raw.close()
    with FileObjectPosix(r, "rb") as f:
        assert f.read() == b""


@pytest.mark.parametrize(
    ("error", "kwargs"),
    [
        (TypeError, {"mode": 1}),
        (TypeError, {"buffering": "x"}),
        (TypeError, {"encoding": 1}),
        (TypeError, {"errors": 1}),
        (ValueError, {"mode": "rr"}),
        (ValueError, {"mode": "b"}),
        (ValueError, {"mode": "rw"}),
        (ValueError, {"mode": "wU"}),
        (ValueError, {"mode": "rtb"}),
        (ValueError, {"mode": "rb", "newline": ""}),
    ],
)
def test_arguments_are_checked(error, kwargs):
    with pytest.raises(error):
        OpenDescriptor(1, **kwargs)
