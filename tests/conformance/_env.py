"""Cached virtual environments that the suites run in.

One per interpreter and set of pinned requirements, below the user's cache
directory. Coir is built from this tree into it, again whenever a file that
goes into the build has changed. Nothing here touches the tree.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator

HERE = pathlib.Path(__file__).resolve().parent
TREE = HERE.parent.parent
BUILD_REQUIREMENTS = TREE / "tools" / "requirements" / "build.txt"

#: what the Python package is built from, relative to the tree
SOURCES = ("meson.build", "meson.options", "pyproject.toml", "include", "src",
           "python")


class SetupError(Exception):
    """The environment cannot be made; the message says what to do."""


def cache_dir() -> pathlib.Path:
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "coir" / "conformance"


def interpreter_tag() -> str:
    """A name for the running interpreter, as in ``cpython-311-x86_64``."""
    soabi = sysconfig.get_config_var("SOABI") or sys.implementation.cache_tag
    return soabi.removesuffix("-linux-gnu")


def _run(cmd: list[str], what: str) -> None:
    done = subprocess.run(cmd, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise SetupError(f"{what} failed: {' '.join(cmd)}\n{done.stdout}")


def _tree_hash() -> str:
    digest = hashlib.sha256()
    for name in SOURCES:
        top = TREE / name
        files = sorted(top.rglob("*")) if top.is_dir() else [top]
        for path in files:
            if (path.is_file() and "__pycache__" not in path.parts
                    and path.suffix != ".pyc"):
                digest.update(str(path.relative_to(TREE)).encode() + b"\0")
                digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


@contextlib.contextmanager
def _locked(path: pathlib.Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Environment:
    """A virtual environment with pinned requirements, and Coir if wanted."""

    def __init__(self, name: str, requirements: pathlib.Path) -> None:
        """
        :param name: of the suite, for the directory's name.
        :param requirements: a file with exact pins.
        """
        key = hashlib.sha256("\0".join((
            sys.version, os.path.realpath(sys.executable),
            requirements.read_text(), BUILD_REQUIREMENTS.read_text(),
        )).encode()).hexdigest()[:12]
        self.requirements = requirements
        self.dir = cache_dir() / f"{name}-{interpreter_tag()}-{key}"
        self.python = str(self.dir / "bin" / "python")
        self._lock = self.dir.with_suffix(".lock")

    def prepare(self, coir: bool) -> None:
        """Make what is missing; does nothing if all is there.

        :param coir: also build and install this tree's Coir.
        :raises SetupError: if that is not possible.
        """
        with _locked(self._lock):
            stamp = self.dir / "complete"
            if not stamp.exists():
                self._create()
                stamp.touch()
            if coir:
                self._install_coir()

    def pip(self, *args: str, what: str) -> None:
        _run([self.python, "-m", "pip", "--disable-pip-version-check",
              "--no-input", *args], what)

    def _create(self) -> None:
        print(f"making {self.dir}", flush=True)
        shutil.rmtree(self.dir, ignore_errors=True)
        base = getattr(sys, "_base_executable", None) or sys.executable
        try:
            _run([base, "-m", "venv", str(self.dir)],
                 "making a virtual environment")
        except SetupError as err:
            raise SetupError(
                f"{err}\n(on Debian the package python3-venv is needed)"
            ) from None
        self.pip("install", "-r", str(BUILD_REQUIREMENTS),
                 "-r", str(self.requirements), what="installing packages")

    def _install_coir(self) -> None:
        if not (TREE / "pyproject.toml").exists():
            raise SetupError("this tree has no pyproject.toml: nothing to "
                             "build; use --on original")
        stamp = self.dir / "coir.hash"
        want = _tree_hash()
        if stamp.exists() and stamp.read_text() == want:
            return
        print("building coir for", interpreter_tag(), flush=True)
        stamp.unlink(missing_ok=True)
        bin_dir = str(self.dir / "bin")
        os.environ["PATH"] = bin_dir + os.pathsep + os.environ["PATH"]
        build = self.dir / "build"
        # Meson refuses options that are new since it set up a directory.
        known = self.dir / "meson.options"
        options = (TREE / "meson.options").read_bytes()
        if not known.exists() or known.read_bytes() != options:
            shutil.rmtree(build, ignore_errors=True)
            known.write_bytes(options)
        self.pip("install", "--no-build-isolation", "--no-deps",
                 "--force-reinstall", "--no-cache-dir", "--no-index",
                 f"--config-settings=build-dir={build}",
                 str(TREE), what="building coir")
        stamp.write_text(want)


def variables(on: str) -> dict[str, str]:
    """The environment variables for a program that is to run on `on`.

    :param on: ``coir`` or ``original``.
    """
    env = dict(os.environ)
    for name in list(env):
        if name.startswith(("COIR_", "GREENLET_", "PYTHON")):
            del env[name]
    env["PYTHONFAULTHANDLER"] = "1"
    if on == "coir":
        env["COIR_AS"] = "greenlet"
    return env


#: run by a plain interpreter: tells whose greenlets `import greenlet` gives
PROBE = """\
import greenlet, json, sys
core = sys.modules.get('coir._core')
maps = open('/proc/self/maps').read()
print(json.dumps({
    'type': repr(greenlet.greenlet),
    'version': greenlet.__version__,
    'file': greenlet._greenlet.__file__,
    'coir': core is not None and core.greenlet is greenlet.greenlet,
    'original_mapped': '/greenlet/_greenlet.' in maps,
}))
"""


def origin_error(event: dict) -> str:
    """What is wrong with a run that was to use Coir's greenlets, or ""."""
    if event["coir"] and not event["original_mapped"]:
        return ""
    return "the tests ran on the original greenlet, not on Coir"


def check_origin(python: str, on: str) -> None:
    """Say whose greenlets a plain ``import greenlet`` gives under `on`.

    :raises SetupError: if they are not those asked for.
    """
    done = subprocess.run([python, "-P", "-c", PROBE], text=True,
                          capture_output=True, env=variables(on))
    if done.returncode:
        raise SetupError(f"import greenlet failed on {on}:\n{done.stderr}")
    event = json.loads(done.stdout)
    print(f"{on}: {event['type']} from {event['file']}, "
          f"version {event['version']}", flush=True)
    if on == "coir" and origin_error(event):
        raise SetupError(origin_error(event))
    if on == "original" and (event["coir"] or not event["original_mapped"]):
        raise SetupError("the original greenlet is not the original")


@dataclasses.dataclass
class Totals:
    """The counts of a suite's last line."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
