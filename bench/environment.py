"""What a run needs and where it ran: builds, virtual environments, facts.

Everything is kept under ``${XDG_CACHE_HOME:-~/.cache}/coir/bench/`` and made
again when the sources change.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from targets import C_PROGRAMS, GO_PROGRAMS, PARSE_PEERS

ROOT = Path(__file__).resolve().parent.parent


class SetupError(Exception):
    """The text says what is missing and what to do."""


def cache_dir():
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "coir" / "bench"


def run_logged(argv, log, **options):
    """Run a set-up step; its output goes to `log`, and its end to the user if
    it fails."""
    with open(log, "ab") as out:
        out.write(f"$ {' '.join(map(str, argv))}\n".encode())
        out.flush()
        done = subprocess.run(
            [str(a) for a in argv], stdout=out, stderr=out, **options
        )
    if done.returncode:
        tail = Path(log).read_text(errors="replace").splitlines()[-15:]
        raise SetupError(
            f"{argv[0]} failed (all of it: {log}):\n  " + "\n  ".join(tail)
        )


def source_digest():
    """Changes when anything changes that the Python package is built from."""
    digest = hashlib.sha256()
    files = [ROOT / "meson.build", ROOT / "meson.options"]
    files += [ROOT / "pyproject.toml"]
    for directory in ("include", "src", "python"):
        files += sorted((ROOT / directory).rglob("*"))
    for path in files:
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(str(path.relative_to(ROOT)).encode() + b"\0")
            digest.update(path.read_bytes())
    return digest.hexdigest()


def find_python(name):
    """An interpreter named by its path, or by its version as in ``3.13``."""
    path = shutil.which(name) or shutil.which(f"python{name}")
    if path is None:
        raise SetupError(f"no interpreter {name} (nor python{name}) in PATH")
    return path


def python_environment(python, kind, peers):
    """A virtual environment with peers and with Coir built from this tree.

    :param kind: a word for its name.
    :param peers: package -> what pip is asked for.
    :returns: its interpreter, and package -> why it cannot be used.
    """
    what = subprocess.run(
        [python, "-c", "import sys; print(sys.version, sys.base_prefix)"],
        capture_output=True, text=True, check=True,
    ).stdout.split()
    key = hashlib.sha256(" ".join(what).encode()).hexdigest()[:8]
    home = cache_dir() / f"venv-{kind}-{what[0]}-{key}"
    interpreter = home / "bin" / "python"
    home.mkdir(parents=True, exist_ok=True)
    log = home / "setup.log"
    stamp = home / "installed.json"
    have = json.loads(stamp.read_text()) if stamp.exists() else {}
    pip = [interpreter, "-m", "pip", "--disable-pip-version-check", "install"]
    missing = {}

    def install(name, wanted, *argv):
        if have.get(name) == wanted:
            return
        have.pop(name, None)
        print(f"installing {name} for Python {what[0]} ...", flush=True)
        try:
            run_logged([*pip, *argv], log)
            have[name] = wanted
        except SetupError as error:
            missing[name] = str(error)

    if not interpreter.exists():
        print(f"setting up {home} ...", flush=True)
        run_logged([python, "-m", "venv", home], log)
        have = {}
    for name, requirement in peers.items():
        install(name, requirement, requirement)
    install("coir", source_digest(), "--no-deps", "--force-reinstall", ROOT)
    stamp.write_text(json.dumps(have))
    return interpreter, missing


def find_tool(name):
    """A build tool: of this interpreter's environment, else in PATH."""
    here = Path(sys.executable).parent / name
    found = str(here) if here.exists() else shutil.which(name)
    if found is None:
        raise SetupError(f"{name} is missing: pip install {name}")
    return found


def core_build():
    """The directory that holds the C programs of all suites."""
    key = hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]
    build = cache_dir() / f"core-{key}"
    log = cache_dir() / f"core-{key}.log"
    cache_dir().mkdir(parents=True, exist_ok=True)
    environ = dict(os.environ, NINJA=find_tool("ninja"))
    # Where tools/run.sh puts a peer that it has built.
    peer = cache_dir() / "st" / "obj"
    for name in ("C_INCLUDE_PATH", "LIBRARY_PATH"):
        environ[name] = f"{peer}:{environ.get(name, '')}".rstrip(":")
    setup = [find_tool("meson"), "setup", build, ROOT, "--buildtype=release",
             "-Dbench=enabled", "-Dtests=disabled", "-Dpython=disabled"]
    if not (build / "build.ninja").exists():
        run_logged(setup, log, env=environ)
    elif not all((build / "bench" / "c" / program).exists()
                 for program in C_PROGRAMS):
        # The library that one needs may have been installed since.
        run_logged([*setup, "--reconfigure", "--clearcache"], log,
                   env=environ)
    print("building the C programs ...", flush=True)
    run_logged([find_tool("ninja"), "-C", build], log, env=environ)
    return build / "bench" / "c"


def go_build(programs):
    """Build the programs in Go into the directory `programs`.

    :returns: why they cannot be used, or None.
    """
    go = shutil.which("go")
    if go is None:
        return "without Go: install Debian package golang-go"
    environ = dict(os.environ, GO111MODULE="off", GOTOOLCHAIN="local")
    try:
        for program, directory in GO_PROGRAMS.items():
            run_logged([go, "build", "-o", programs / program,
                        ROOT / "bench" / "go" / directory / "main.go"],
                       cache_dir() / "go.log", env=environ)
    except SetupError as error:
        return str(error)
    return None


def parse_build(programs):
    """Build the peers of the suite of parsers into `programs`, those whose
    sources tools/run.sh has fetched, with the options they are meant for."""
    cc = os.environ.get("CC", "cc")
    here = ROOT / "bench" / "c"
    for program, (name, include, sources) in PARSE_PEERS.items():
        top = cache_dir() / name
        if top.exists():
            run_logged([*cc.split(), "-O3", "-DNDEBUG", "-D_GNU_SOURCE",
                        f"-I{top / include}", here / f"{program}.c",
                        here / "bench.c", *sorted(top.glob(sources)),
                        "-o", programs / program],
                       cache_dir() / "parse.log")


def command_output(argv):
    try:
        done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def cpu_model():
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith(("model name", "CPU part", "Model")):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def memory_available():
    with open("/proc/meminfo") as f:
        for line in f:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0


def facts():
    """Where this runs, for the head of a report."""
    commit = command_output(["git", "rev-parse", "--short", "HEAD"])
    if commit and command_output(["git", "status", "--porcelain"]):
        commit += " with changes"
    return {
        "kernel": f"{platform.system()} {platform.release()}",
        "cpu": f"{cpu_model()}, {os.cpu_count()} CPUs, {platform.machine()}",
        "libc": " ".join(platform.libc_ver()),
        "commit": commit or "unknown",
        "load": f"{os.getloadavg()[0]:.1f}",
        "environment": {
            k: v for k, v in sorted(os.environ.items())
            if k.startswith("COIR_") or k == "PYTHONMALLOC"
        },
    }


VERSIONS = """
import json, platform, sys, sysconfig
facts = {"python": sys.version.split()[0],
         "compiler": platform.python_compiler(),
         "optimised": "--enable-optimizations" in
                      (sysconfig.get_config_var("CONFIG_ARGS") or "")}
for name in sys.argv[1:]:
    try:
        facts[name] = __import__(name).__version__
    except ImportError as error:
        facts[name] = f"not available: {error}"
if "gevent" in sys.argv:
    import gevent.core
    facts["gevent"] += ", " + gevent.core.loop.__module__.split(".")[1]
print(json.dumps(facts))
"""


def python_facts(interpreter, packages):
    """Versions of the interpreter and of packages."""
    done = subprocess.run(
        [interpreter, "-c", VERSIONS, *packages],
        capture_output=True, text=True,
    )
    if done.returncode:
        raise SetupError(f"{interpreter}: {done.stderr.strip()}")
    return json.loads(done.stdout)
