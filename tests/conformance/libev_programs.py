"""Programs written for libev, built and run unchanged on libev and on Coir.

- bjoern, a WSGI server, from its source distribution: the same requests must
  get the same answers, byte by byte.
- libverto, from Debian's source package: its own tests, with its module for
  libev.

They are fetched when the suite runs, by pip and from the archives that
apt-get is set up for, and kept in the user's cache directory.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import difflib
import os
import pathlib
import signal
import socket
import subprocess
import time
import zlib

from _env import TREE, Environment, SetupError, cache_dir

BJOERN = "bjoern==3.2.2"
HERE = pathlib.Path(__file__).resolve().parent


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a case or a program."""

    name: str
    outcome: str  # "passed", "failed" or "skipped"
    text: str = ""


@dataclasses.dataclass(frozen=True)
class Side:
    """What ``#include <ev.h>`` and ``-lev`` mean."""

    name: str
    cflags: tuple[str, ...]
    ldflags: tuple[str, ...]
    cc: str = "cc"
    cxx: str = "c++"


class BuildError(Exception):
    """A program does not build on one side; the message is the tools'."""

    def __init__(self, side: Side, output: str) -> None:
        super().__init__(f"does not build on {side.name}:\n{output}")
        self.side = side


def debian_source(package: str) -> pathlib.Path:
    """The directory of an unpacked Debian source package.

    :raises SetupError: if it cannot be fetched.
    """
    top = cache_dir() / "source" / package
    if not top.exists():
        done = subprocess.run(
            [TREE / "tools" / "fetch_source.sh", package, top], text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        if done.returncode:
            raise SetupError(f"the Debian source package {package} cannot "
                             f"be fetched: {_last_line(done.stdout)}")
    return top


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]


def _different(expected: str, got: str) -> str:
    return "".join(difflib.unified_diff(
        expected.splitlines(keepends=True), got.splitlines(keepends=True),
        "libev", "Coir"))


# --- bjoern ----------------------------------------------------------------


def _fetch_bjoern(env: Environment) -> pathlib.Path:
    top = cache_dir() / "source" / "bjoern"
    if not list(top.glob("*.tar.gz")):
        try:
            env.pip("download", "--quiet", "--no-deps", "--no-binary",
                    "bjoern", "--no-build-isolation", "--dest", str(top),
                    BJOERN, what=f"fetching {BJOERN}")
        except SetupError as err:
            raise SetupError(f"{BJOERN} cannot be fetched: "
                             f"{_last_line(str(err))}") from None
    [archive] = top.glob("*.tar.gz")
    return archive


def _build_bjoern(env: Environment, archive: pathlib.Path, side: Side,
                  to: pathlib.Path) -> None:
    """Build it, and check which library it has."""
    done = subprocess.run(
        [env.python, "-m", "pip", "install", "--quiet", "--no-deps",
         "--no-index", "--no-cache-dir", "--no-build-isolation",
         "--disable-pip-version-check", "--target", str(to), str(archive)],
        text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "CC": side.cc, "CFLAGS": " ".join(side.cflags),
             "LDFLAGS": " ".join(side.ldflags)})
    if done.returncode:
        raise BuildError(side, done.stdout)
    [extension] = to.glob("_bjoern*.so")
    if (b"libev.so" in extension.read_bytes()) != (side.name == "libev"):
        raise BuildError(side, "it is linked with the other library")


#: what is sent to the server: one connection each
REQUESTS = {
    "get": b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
    "HTTP/1.0": b"GET /old HTTP/1.0\r\n\r\n",
    "head": b"HEAD / HTTP/1.1\r\nConnection: close\r\n\r\n",
    "query": b"GET /a%20b?c=d&e HTTP/1.1\r\nX-One: 1\r\nx-one-more: 2\r\n"
             b"Connection: close\r\n\r\n",
    "post": b"POST /echo HTTP/1.1\r\nContent-Length: 11\r\n"
            b"Connection: close\r\n\r\nhello world",
    "large post": b"POST /echo HTTP/1.1\r\nContent-Length: 1000000\r\n"
                  b"Connection: close\r\n\r\n" + b"0123456789" * 100000,
    "pieces": b"GET /pieces HTTP/1.1\r\nConnection: close\r\n\r\n",
    "large answer": b"GET /large HTTP/1.1\r\nConnection: close\r\n\r\n",
    "file": b"GET /file HTTP/1.1\r\nConnection: close\r\n\r\n",
    "error": b"GET /error HTTP/1.1\r\nConnection: close\r\n\r\n",
    "no HTTP": b"this is no HTTP\r\n\r\n",
}
#: sent on one connection, each after the answer to the one before: when sent
#: at once they crash bjoern 3.2.2, on libev too
KEPT_ALIVE = (b"GET /first HTTP/1.1\r\n\r\n", b"GET /second HTTP/1.1\r\n\r\n",
              REQUESTS["post"])
#: how many connections there are at once, in the end
CROWD = 100


def _ask(path: str, *requests: bytes) -> str:
    """Send them, each in two parts, and read until the server closes."""
    answer = b""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(path)
        for request in requests:
            middle = len(request) // 2 if b"HTTP/1" in request else 0
            sock.sendall(request[:middle])
            time.sleep(0.01)
            sock.sendall(request[middle:])
            while piece := sock.recv(65536):
                answer += piece
                if (request is not requests[-1]
                        and answer.endswith(b"\r\n0\r\n\r\n")):
                    break  # the end of one answer of several
    return answer.decode("latin-1")


def _converse(path: str) -> str:
    """Everything that the server says, in a fixed order."""
    said = []
    for name, request in REQUESTS.items():
        answer = _ask(path, request)
        said.append(f"{name}: {len(answer)} bytes, "
                    f"{zlib.crc32(answer.encode()):x}\n{answer[:600]}\n")
    said.append(_ask(path, *KEPT_ALIVE))
    with concurrent.futures.ThreadPoolExecutor(CROWD) as pool:
        said += pool.map(
            lambda i: _ask(path, b"GET /%d HTTP/1.1\r\nConnection: close"
                                 b"\r\n\r\n" % i), range(CROWD))
    return "\n".join(said)


def _serve(env: Environment, packages: pathlib.Path,
           top: pathlib.Path) -> str:
    """Run the server, talk to it, end it; returns all that was seen."""
    path = str(top / f"{packages.name}.socket")
    program = [env.python, "-s", str(HERE / "libev" / "bjoern_app.py"), path]
    with open(top / f"{packages.name}.log", "w+") as log:
        server = subprocess.Popen(
            program, env={**os.environ, "PYTHONPATH": str(packages)},
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + 20
            while not os.path.exists(path) and time.monotonic() < deadline:
                time.sleep(0.02)
            time.sleep(0.1)
            said = _converse(path)
            server.send_signal(signal.SIGINT)
            status = server.wait(20)
        except (OSError, subprocess.TimeoutExpired) as err:
            said, status = f"{type(err).__name__}: {err}\n", -1
        finally:
            server.kill()
            server.wait()
        log.seek(0)
        return f"{said}\n{log.read()}status {status}\n"


def bjoern(env: Environment, coir: Side, libev: Side, top: pathlib.Path
           ) -> list[Outcome]:
    """The same conversations with bjoern on both."""
    said = {}
    for side in (libev, coir):
        packages = top / f"bjoern-{side.name}"
        _build_bjoern(env, _fetch_bjoern(env), side, packages)
        said[side.name] = _serve(env, packages, top)
    answered = said["libev"].count("HTTP/1.1 200 OK")
    if answered < CROWD + len(REQUESTS) // 2:
        return [Outcome("bjoern", "failed", "on libev it answered only "
                        f"{answered} requests:\n{said['libev'][-3000:]}")]
    if said["coir"] != said["libev"]:
        return [Outcome("bjoern", "failed",
                        _different(said["libev"], said["coir"]))]
    return [Outcome("bjoern", "passed", f"{answered} requests")]


# --- libverto --------------------------------------------------------------


def _build_libverto(source: pathlib.Path, side: Side, to: pathlib.Path
                    ) -> None:
    """The library, its module for libev, and its tests."""
    to.mkdir()
    src = source / "src"
    base = [side.cc, "-w", "-D_GNU_SOURCE", "-DHAVE_LIBEV", "-fPIC",
            f"-I{src}", *side.cflags]
    link = [f"-L{to}", "-lverto", f"-Wl,-rpath,{to}"]
    commands = [
        [*base, "-shared", src / "verto.c", src / "module.c",
         "-o", to / "libverto.so", "-ldl"],
        [*base, "-shared", src / "verto-libev.c",
         "-o", to / "libverto-libev.so", *link, *side.ldflags, "-lev"],
    ] + [[*base, test, "-o", to / test.stem, *link]
         for test in (source / "tests").glob("*.c")]
    for command in commands:
        done = subprocess.run(command, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        if done.returncode:
            raise BuildError(side, done.stdout)


def _run_libverto(test: pathlib.Path) -> str:
    try:
        done = subprocess.run([test], text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, timeout=60,
                              stderr=subprocess.STDOUT, cwd=test.parent)
    except subprocess.TimeoutExpired:
        return "still running after 60 s\n"
    return f"{done.stdout}status {done.returncode}\n"


def libverto(env: Environment, coir: Side, libev: Side, top: pathlib.Path
             ) -> list[Outcome]:
    """libverto's own tests of its module for libev, on both."""
    source = debian_source("libverto")
    for side in (libev, coir):
        _build_libverto(source, side, top / f"libverto-{side.name}")
    outcomes = []
    for test in sorted((source / "tests").glob("*.c")):
        expected, got = (_run_libverto(top / f"libverto-{name}" / test.stem)
                         for name in ("libev", "coir"))
        name = f"libverto {test.stem}"
        if not expected.endswith("status 0\n"):
            outcomes.append(Outcome(name, "failed",
                                    f"fails on libev:\n{expected}"))
        elif got != expected:
            outcomes.append(Outcome(name, "failed",
                                    _different(expected, got)))
        else:
            outcomes.append(Outcome(name, "passed"))
    return outcomes


# --- all of them -----------------------------------------------------------


def run(env: Environment, coir: Side, libev: Side, top: pathlib.Path,
        wanted: str | None) -> list[Outcome]:
    """All programs; one that cannot be had is skipped, with the reason."""
    outcomes = []
    for program in (bjoern, libverto):
        name = program.__name__
        if wanted and wanted not in name:
            continue
        try:
            found = program(env, coir, libev, top)
        except SetupError as err:
            found = [Outcome(name, "skipped", str(err))]
        except BuildError as err:
            # On libev that is no fault of Coir's: not with this Python, say.
            found = [Outcome(name, "failed" if err.side is coir
                             else "skipped", str(err))]
        passed = sum(o.outcome == "passed" for o in found)
        print(f"  {name:9} {passed} of {len(found)} the same", flush=True)
        outcomes += found
    return outcomes
