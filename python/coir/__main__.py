"""The command ``coir``, also ``python -m coir``."""

from __future__ import annotations

import argparse
import os
import platform
import site
import sys
from typing import NoReturn

import coir
from coir import _alias

_DESCRIPTION = "Green threads on a C engine."

_RUN_DESCRIPTION = """\
Run a Python program on Coir's greenlets.

What follows the options is given to the same Python as it is, so that
"coir run app.py --port 80" is "python app.py --port 80", except that
"import greenlet" gives coir.greenlet, and with "--as gevent" "import gevent"
gives coir.gevent, too; in this process and, through the environment variable
COIR_AS, in all Pythons that it starts.
"""

_RUN_EPILOG = """\
examples:
  coir run app.py --port 80
  coir run -m pytest -x
  coir run --as gevent -m gunicorn -k gevent app:app
"""

_RUN_USAGE = "coir run [-h] [--as NAMES] (script.py | -m MODULE | -c CODE) ..."

_INFO_DESCRIPTION = """\
Show what this installation of Coir is made of and how it is set up here. To
be included in reports of problems.
"""

_EPILOG = """\
environment:
  COIR_AS          names to answer to, "gevent" or "greenlet", in every Python
                   that has Coir installed
  COIR_STACK_SIZE  stack of a greenlet, in bytes, or with suffix K or M
  COIR_STACK       "auto", "dedicated" or "slice": how greenlets get their
                   stacks
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    :param argv: the arguments; ``None`` for those of the process.
    :returns: the exit status. ``coir run`` does not return: the program it
        runs takes the place of this process.
    """
    args = sys.argv[1:] if argv is None else argv
    parser, run_parser, serve_parser = _make_parsers("serve" in args[:1])
    # The program's arguments are its own business: argparse only sees what
    # comes before them.
    tail: list[str] = []
    if args[:1] == ["run"]:
        count = 1 + _count_run_options(args[1:])
        args, tail = args[:count], args[count:]
    options, unknown = parser.parse_known_args(args)
    if unknown:
        # Of the command's parser, whose usage and name help more.
        by_name = {"run": run_parser, "serve": serve_parser}
        by_name.get(options.command, parser).error(
            f"unrecognized arguments: {' '.join(unknown)}"
        )
    if options.command == "run":
        if not tail:
            run_parser.error("nothing to run: name a script, or -m or -c")
        flags = _interpreter_options() if argv is None else []
        _run(run_parser, options.names, [*flags, *tail])
    if options.command == "info":
        return _info()
    if options.command == "serve":
        from coir.http import _cli

        return _cli.main(options)
    parser.print_help()
    return 0


def _make_parsers(
    serves: bool,
) -> tuple[argparse.ArgumentParser, ...]:
    """The whole, and those of ``run`` and ``serve``."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="coir",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=raw,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version", action="version", version=f"coir {coir.__version__}"
    )
    commands = parser.add_subparsers(dest="command", metavar="command")
    run = commands.add_parser(
        "run",
        help="run a program on Coir's greenlets",
        usage=_RUN_USAGE,
        description=_RUN_DESCRIPTION,
        epilog=_RUN_EPILOG,
        formatter_class=raw,
        allow_abbrev=False,
    )
    run.add_argument(
        "--as",
        dest="names",
        metavar="NAMES",
        help="packages to stand in for, separated by commas "
        "(default: what COIR_AS says, else greenlet)",
    )
    commands.add_parser(
        "info",
        help="show build, platform and settings",
        description=_INFO_DESCRIPTION,
        formatter_class=raw,
    )
    if serves:
        from coir.http import _cli

        serve = _cli.add_parser(commands)
    else:  # its options are many, and not needed to list the commands
        serve = commands.add_parser("serve", help="serve a WSGI application")
    return parser, run, serve


def _count_run_options(args: list[str]) -> int:
    """How many of the arguments of ``coir run`` are its own."""
    count = 0
    while count < len(args):
        arg = args[count]
        if arg == "--as":
            count += 2
        elif arg in ("-h", "--help") or arg.startswith("--as="):
            count += 1
        else:
            break
    return min(count, len(args))


def _run(
    parser: argparse.ArgumentParser, names: str | None, command: list[str]
) -> NoReturn:
    if names is None:
        names = os.environ.get(_alias.VARIABLE) or "greenlet"
    wanted = _alias.split_names(names)
    try:
        if not wanted:
            raise ValueError("--as needs a name")
        for name in wanted:
            _alias.check_name(name)
    except ValueError as exc:
        parser.error(str(exc))
    if not sys.executable:
        parser.error("cannot find the Python to run it with")
    if _hook() is None:
        parser.error(
            f"the start-up file {_alias.HOOK} is in none of the directories "
            f"where {sys.executable} looks for such files, or it was started "
            f"without them; install coir with pip, or call "
            f"coir.install_as() in the program"
        )
    os.environ[_alias.VARIABLE] = ",".join(wanted)
    # A fresh start of the interpreter is the only way for the program to have
    # everything, from sys.path to tracebacks, as if Coir was not there.
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execv(sys.executable, [sys.executable, *command])
    except OSError as exc:
        parser.error(f"cannot run {sys.executable}: {exc.strerror}")


def _hook() -> str | None:
    """Path of our start-up file, if Python runs it when it starts."""
    if sys.flags.no_site:
        return None
    directories = site.getsitepackages()
    if site.ENABLE_USER_SITE:
        directories.append(site.getusersitepackages())
    for directory in directories:
        path = os.path.join(directory, _alias.HOOK)
        if os.path.exists(path):
            return path
    return None


def _interpreter_options() -> list[str]:
    """Options that this interpreter was started with, such as ``-X dev``.

    In its arguments they stand before the script or the ``-m coir``.
    """
    head = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1]
    last = head.pop()
    if sys.modules["__main__"].__spec__ is None:
        return head  # the last was the path of a script
    if not last.startswith("-"):
        last = head.pop() + last
    flags = last[: last.rindex("mcoir")]  # -Im coir: there is an -I
    return [*head, flags] if len(flags) > 1 else head


def _info() -> int:
    rows = [("coir", coir.__version__), ("python", _python()), *_engine()]
    rows += [
        ("COIR_AS", os.environ.get(_alias.VARIABLE) or "not set"),
        ("start-up file", _hook() or f"missing: {_alias.HOOK}"),
        ("greenlet", _original_version("greenlet")),
        ("gevent", _original_version("gevent")),
        ("system", f"{platform.platform()}, {platform.machine()}"),
        ("limits", _limits()),
    ]
    for title, text in rows:
        print(f"{title:14} {text}")
    return 0


def _python() -> str:
    return (
        f"{platform.python_implementation()} {platform.python_version()} "
        f"({', '.join(platform.python_build())}), {sys.executable}"
    )


def _engine() -> list[tuple[str, str]]:
    """What there is to say about the extension, if it can be loaded."""
    try:
        from coir import _core
    except ImportError as exc:
        return [("engine", f"cannot be loaded: {exc}")]
    _core.greenlet(int).switch()  # it takes a stack to know its guard
    info = _core._info()
    size = _core.get_stack_size() // 1024
    return [
        ("built for", f"CPython {info['python']} by {info['compiler']}"),
        ("context", f"{info['context']}"),
        ("stacks", f"{size} KB, {_core.get_stack_policy()}"),
        ("guards", f"{info['guard'] or 'not used'}"),
    ]


def _original_version(name: str) -> str:
    """Version of the installed package of that name that is not ours."""
    from importlib import metadata

    # With a path given, the finder of _alias keeps out of it.
    for found in metadata.distributions(name=name, path=sys.path):
        return f"{found.version} is installed"
    return "is not installed"


def _limits() -> str:
    """What limits the number of stacks and their size."""
    import resource

    parts = []
    for name in "STACK", "AS":
        soft, _ = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))
        infinite = soft == resource.RLIM_INFINITY
        text = "unlimited" if infinite else f"{soft // 1024} KB"
        parts.append(f"RLIMIT_{name} {text}")
    try:
        with open("/proc/sys/vm/max_map_count") as file:
            parts.append(f"vm.max_map_count {file.read().strip()}")
    except OSError:
        pass  # not Linux
    return ", ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
