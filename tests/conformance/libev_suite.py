"""libev's API: the same programs on libev and on Coir's ev.h.

Every function and macro that libev documents has a case, a small program in
C, in ``libev/*.c``. Each is compiled and run on libev, as Debian has it, and
on Coir: what they print and how they end must be the same. They are run

- as C and as C++;
- compiled for a program without ``EV_MULTIPLICITY``, which is compared with
  libev's run with it: libev is a library for one of the two only;
- on each of Coir's backends, against libev's own where it has that.

Where Coir differs on purpose, ``libev/deviations.toml`` has the reason and
what Coir prints instead: such a case counts as skipped. Then come whole
programs that were written for libev (``libev_programs.py``).
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import dataclasses
import difflib
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import textwrap
import tomllib

import libev_programs
from _env import HERE, TREE, Environment, SetupError, Totals
from libev_programs import Outcome, Side

DATA = HERE / "libev"

#: times that a case whose outputs differ is run again on both sides
RETRIES = 2
#: seconds after which a case has hung; its own alarm comes sooner
TIMEOUT = 60

C_FLAGS = ["-std=gnu11"]
CXX_FLAGS = ["-x", "c++", "-std=gnu++17"]
#: with Coir's header, which is to be clean under them
WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Wno-unused-parameter",
            "-Wno-unused-function", "-Werror"]


#: the backends that all cases are run on besides the default one, and what
#: ev_backend() says on them
BACKENDS = {"poll": 0x02, "select": 0x01, "io_uring": 0x80}


@dataclasses.dataclass(frozen=True)
class Variant:
    """A way to compile and run all cases."""

    name: str
    flags: tuple[str, ...] = ()
    cxx: bool = False
    bare: bool = False  # without EV_MULTIPLICITY
    backend: str = ""

    def variables(self, on_coir: bool) -> dict[str, str]:
        """The environment, with the backend that is asked for."""
        env = {name: value for name, value in os.environ.items()
               if not name.startswith(("COIR_", "LIBEV_"))}
        if self.backend and on_coir:
            env["COIR_BACKEND"] = self.backend
        elif self.backend in ("select", "poll"):
            env["LIBEV_FLAGS"] = str(BACKENDS[self.backend])
        return env


VARIANTS = (
    Variant("c"),
    Variant("c++", cxx=True),
    Variant("bare", bare=True, flags=("-DEV_MULTIPLICITY=0",)),
    *(Variant(name, backend=name) for name in BACKENDS),
)


@dataclasses.dataclass(frozen=True)
class Deviation:
    """What Coir prints in a case instead of what libev does, and why."""

    reason: str
    output: str


def load_deviations() -> tuple[dict[str, Deviation], dict[str, str]]:
    """Deviations by case, and names without a case with the reason."""
    with open(DATA / "deviations.toml", "rb") as file:
        data = tomllib.load(file)
    deviations = {
        entry["case"]: Deviation(entry["reason"],
                                 f"{entry['coir']}status 0\n")
        for entry in data["deviation"]}
    return deviations, {entry["name"]: entry["reason"]
                        for entry in data["untested"]}


# --- set-up ----------------------------------------------------------------


def debian_package(package: str) -> bool:
    """Install it if we may; the message of a failure is on stderr."""
    script = 'source "$0"; apt_install "$1"'
    return subprocess.run(
        ["bash", "-c", script, str(TREE / "tools" / "lib.sh"), package],
        stdin=subprocess.DEVNULL).returncode == 0


def run_program(cc: str, text: str, side: Side | None = None,
                **variables: str) -> int | None:
    """The status of a small program, None if it cannot be compiled."""
    flags = [*side.cflags, *side.ldflags] if side else []
    with tempfile.TemporaryDirectory() as tmp:
        done = subprocess.run(
            [cc, "-x", "c", "-", "-o", f"{tmp}/a", *flags, "-lev"],
            input=text, text=True, capture_output=True)
        if done.returncode:
            return None
        return subprocess.run([f"{tmp}/a"],
                              env={**os.environ, **variables}).returncode


def has_libev(cc: str) -> bool:
    """Whether programs can be compiled for libev."""
    return run_program(cc, """\
        #include <ev.h>
        int main(void) { return ev_version_major() - EV_VERSION_MAJOR; }
        """) == 0


def has_backend(side: Side, name: str) -> bool:
    """Whether Coir takes a backend here: the kernel may refuse io_uring."""
    return run_program(side.cc, """\
        #include <ev.h>
        int main(void) { return (int)ev_backend(EV_DEFAULT); }
        """, side, COIR_BACKEND=name) == BACKENDS[name]


def build_coir(env: Environment, top: pathlib.Path, jobs: int) -> Side:
    """Build libcoir, and make it look like libev.

    A directory has an ``ev.h`` of one line, and a ``libev.so`` that is a
    linker's script: ``#include <ev.h>`` and ``-lev`` then mean Coir.
    """
    build = top / "build"
    path = {"PATH": f"{env.dir / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    meson = [env.python, "-m", "mesonbuild.mesonmain"]
    print("building libcoir", flush=True)
    for command in (
            [*meson, "setup", str(build), str(TREE),
             "-Dtests=disabled", "-Dpython=disabled", "-Dbench=disabled",
             "-Ddefault_library=static"],
            [*meson, "compile", "-C", str(build), "-j", str(jobs)]):
        done = subprocess.run(command, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT,
                              stdin=subprocess.DEVNULL,
                              env={**os.environ, **path})
        if done.returncode:
            raise SetupError(f"building libcoir failed:\n{done.stdout}")
    needs = (build / "meson-private" / "coir.pc").read_text()
    libs = (" -luring" if "liburing" in needs else "") + (
        " -lcares" if "libcares" in needs else "")
    face = top / "face"
    (face / "include").mkdir(parents=True, exist_ok=True)
    (face / "lib").mkdir(exist_ok=True)
    (face / "include" / "ev.h").write_text("#include <coir/ev.h>\n")
    (face / "lib" / "libev.so").write_text(
        f"INPUT({build}/src/libcoir.a{libs})\n")
    return Side("coir", (f"-I{face}/include", f"-I{TREE}/include"),
                (f"-L{face}/lib",))


# --- compiling -------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Program:
    """A file of cases, compiled for one side."""

    source: pathlib.Path
    exe: pathlib.Path
    error: str = ""

    def names(self) -> list[str]:
        out = subprocess.run([self.exe], capture_output=True, text=True,
                             check=True)
        return sorted(out.stdout.split())


def compile_program(source: pathlib.Path, side: Side, variant: Variant,
                    to: pathlib.Path) -> Program:
    """Compile a file of cases; the messages of a failure are in `error`."""
    exe = to / f"{source.stem}-{side.name}-{variant.name}"
    language = CXX_FLAGS if variant.cxx else C_FLAGS
    # Not libev's own header for C++, which has warnings itself.
    warnings = (WARNINGS if side.name == "coir" and source.suffix == ".c"
                else ["-w"])
    done = subprocess.run(
        [side.cxx if variant.cxx else side.cc, "-g", "-O2", *language,
         *warnings, *variant.flags, "-DEV_H=<ev.h>", *side.cflags,
         str(source), "-o", str(exe), *side.ldflags, "-x", "none",
         "-lev", "-lm", "-lpthread"],
        capture_output=True, text=True)
    return Program(source, exe, done.stderr if done.returncode else "")


def sources(variant: Variant, walk: bool, text: str) -> list[pathlib.Path]:
    """The files of cases that have a text in them."""
    found = sorted(DATA.glob("*.c"))
    if variant.cxx:
        found += sorted(DATA.glob("*.cc"))
    return [path for path in found
            if (path.stem == "walk") == walk and text in path.read_text()]


def libev_with_walk(top: pathlib.Path, side: Side) -> Side:
    """libev compiled from Debian's source with EV_WALK_ENABLE.

    :raises SetupError: if its source cannot be fetched.
    """
    source = libev_programs.debian_source("libev")
    lib = top / "walk"
    lib.mkdir(exist_ok=True)
    done = subprocess.run(
        [side.cc, "-w", "-O1", "-shared", "-fPIC", "-DEV_STANDALONE=1",
         "-DEV_WALK_ENABLE=1", f"-I{source}", str(source / "ev.c"), "-o",
         str(lib / "libev.so"), "-lm"], capture_output=True, text=True)
    if done.returncode:
        raise SetupError(f"libev's source does not compile:\n{done.stderr}")
    return dataclasses.replace(
        side, cflags=(f"-I{source}",),
        ldflags=(f"-L{lib}", f"-Wl,-rpath,{lib}"))


# --- running ---------------------------------------------------------------


def run_case(program: Program, name: str, env: dict[str, str]
             ) -> tuple[str, str]:
    """What a case printed, with how it ended; and its messages."""
    try:
        done = subprocess.run([program.exe, name], env=env, text=True,
                              errors="replace", stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired as err:
        return f"still running after {TIMEOUT} s\n", str(err)
    return f"{done.stdout}status {done.returncode}\n", done.stderr


def compare(ours: Program, theirs: Program, name: str, variant: Variant,
            deviation: Deviation | None, on_coir: bool) -> Outcome:
    """Run one case on both sides, again if they differ."""
    label = f"{ours.source.name}/{name} [{variant.name}]"
    why = ""
    for _attempt in range(1 + RETRIES):
        expected, _ = run_case(theirs, name, variant.variables(False))
        got, messages = run_case(ours, name, variant.variables(on_coir))
        if got == expected:
            return Outcome(label, "passed", why and "unsteady")
        if deviation and got == deviation.output:
            return Outcome(label, "skipped", deviation.reason)
        why = "".join(difflib.unified_diff(
            expected.splitlines(keepends=True),
            got.splitlines(keepends=True), "libev", "Coir", n=20))
        why += messages
    return Outcome(label, "failed", why)


def run_variant(variant: Variant, ours: Side, theirs: Side, walk: bool,
                deviations: dict[str, Deviation], top: pathlib.Path,
                options: argparse.Namespace) -> list[Outcome]:
    """Compile, then run, all cases of a variant."""
    # libev is a library with EV_MULTIPLICITY: a program without cannot run
    # on it, but must do the same.
    plain = dataclasses.replace(variant, flags=()) if variant.bare else variant
    on_coir = options.on == "coir"
    files = sources(variant, walk, options.k or "")
    outcomes = []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        mine = pool.map(lambda path: compile_program(
            path, ours, variant if on_coir else plain, top), files)
        others = pool.map(lambda path: compile_program(
            path, theirs, plain, top), files)
        jobs = []
        for my, other in zip(list(mine), others):
            error = my.error or other.error
            if error:
                outcomes.append(Outcome(
                    f"{my.source.name} [{variant.name}]", "failed",
                    f"does not compile:\n{error}"))
                continue
            for name in my.names():
                if options.k and options.k not in name:
                    continue
                key = f"{my.source.name}/{name}"
                jobs.append(pool.submit(compare, my, other, name, variant,
                                        deviations.get(key), on_coir))
        outcomes += [job.result() for job in jobs]
    return outcomes


# --- what is covered -------------------------------------------------------


def check_coverage(side: Side, untested: dict[str, str]) -> Outcome:
    """Every name that libev's header has occurs in a case."""
    found = subprocess.run(
        [side.cc, "-E", "-H", *side.cflags, "-x", "c", "-"],
        input="#include <ev.h>\n", text=True, capture_output=True)
    header = re.search(r"^\. (.*/ev\.h)$", found.stderr, re.M)
    if header is None:
        return Outcome("coverage", "failed", "libev's ev.h was not found")
    text = re.sub(r"/\*.*?\*/", "", pathlib.Path(header[1]).read_text(),
                  flags=re.S)
    names = set(re.findall(r"\b(?:ev|EV\w*)_\w+", text))
    cases = "".join(path.read_text() for path in DATA.glob("*.c"))
    used = set(re.findall(r"\w+", cases))
    missing = sorted(names - used - untested.keys())
    stale = sorted(untested.keys() & used | untested.keys() - names)
    if missing or stale:
        return Outcome("coverage", "failed", textwrap.dedent(f"""\
            without a case: {', '.join(missing) or 'none'}
            needlessly in deviations.toml: {', '.join(stale) or 'none'}
            """))
    return Outcome("coverage", "passed",
                   f"{len(names) - len(untested)} names")


def check_deviations(deviations: dict[str, Deviation],
                     outcomes: list[Outcome]) -> Outcome:
    """Every deviation is one, in some variant."""
    seen = {o.name.split(" ")[0] for o in outcomes if o.outcome == "skipped"}
    stale = sorted(deviations.keys() - seen)
    if stale:
        return Outcome("deviations", "failed",
                       "do not deviate: " + ", ".join(stale))
    return Outcome("deviations", "passed", f"{len(deviations)} cases")


# --- the suite -------------------------------------------------------------


def run_cases(options: argparse.Namespace, coir: Side, libev: Side,
              top: pathlib.Path) -> list[Outcome]:
    """All variants of all cases, and what holds for the whole of them."""
    deviations, untested = load_deviations()
    ours = coir if options.on == "coir" else dataclasses.replace(
        libev, name="libev-again")
    outcomes = []
    walk = None
    try:
        walk = libev_with_walk(top, libev)
    except SetupError as err:
        outcomes.append(Outcome("walk.c", "skipped", str(err)))
    for variant in VARIANTS:
        if variant.cxx and shutil.which(libev.cxx) is None:
            outcomes.append(Outcome("all cases [c++]", "skipped",
                                    f"no {libev.cxx}: install Debian package "
                                    "g++"))
            continue
        if (variant.backend and options.on == "coir"
                and not has_backend(coir, variant.backend)):
            outcomes.append(Outcome(f"all cases [{variant.name}]", "skipped",
                                    "this system does not have it"))
            continue
        found = run_variant(variant, ours, libev, False, deviations, top,
                            options)
        if walk is not None and options.on == "coir":
            found += run_variant(variant, ours, walk, True, deviations, top,
                                 options)
        outcomes += found
        count = collections.Counter(o.outcome for o in found)
        print(f"  {variant.name:9} {len(found):4} cases: "
              f"{count['passed']} the same, {count['skipped']} deviate on "
              f"purpose, {count['failed']} failed", flush=True)
    if options.on == "coir" and not options.k:
        outcomes.append(check_coverage(libev, untested))
        outcomes.append(check_deviations(deviations, outcomes))
    return outcomes


def report(outcomes: list[Outcome], deviations: dict[str, Deviation]
           ) -> Totals:
    for outcome in outcomes:
        if outcome.outcome == "failed":
            print(f"\nFAILED {outcome.name}")
            print(textwrap.indent(outcome.text, "    "))
        elif outcome.text == "unsteady":
            print(f"unsteady: {outcome.name} was the same when run again")
        elif (outcome.outcome == "skipped"
              and outcome.name.split(" ")[0] not in deviations):
            print(f"skipped: {outcome.name}: {outcome.text}")
    count = collections.Counter(o.outcome for o in outcomes)
    return Totals(count["passed"], count["failed"], count["skipped"])


def run(options: argparse.Namespace) -> tuple[Totals, dict]:
    """Run the suite.

    :returns: the counts of cases and programs, and outcomes for ``--json``.
    :raises SetupError: if Coir cannot be built.
    """
    cc = os.environ.get("CC") or "cc"
    libev = Side("libev", (), (), cc, os.environ.get("CXX") or "c++")
    if not has_libev(cc) and not (debian_package("libev-dev")
                                  and has_libev(cc)):
        print("skipped: libev itself is missing: install Debian package "
              "libev-dev")
        return Totals(skipped=1), {}
    if shutil.which(libev.cxx) is None:
        debian_package("g++")
    env = Environment("libev", DATA / "requirements.txt")
    env.prepare(coir=False)
    with tempfile.TemporaryDirectory(prefix="coir-libev-") as tmp:
        top = pathlib.Path(tmp)
        coir = dataclasses.replace(build_coir(env, top, options.jobs), cc=cc,
                                   cxx=libev.cxx)
        outcomes = run_cases(options, coir, libev, top)
        if options.on == "coir":
            outcomes += libev_programs.run(env, coir, libev, top, options.k)
    totals = report(outcomes, load_deviations()[0])
    return totals, {o.name: {"outcome": o.outcome, "text": o.text}
                    for o in outcomes}
