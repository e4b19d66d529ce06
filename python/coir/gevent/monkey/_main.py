"""The command ``python -m coir.gevent.monkey``."""

from __future__ import annotations

import os
import sys
from typing import Any

_USAGE = """\
gevent.monkey - run a program with the standard library patched

Usage: python -m gevent.monkey [OPTIONS] [--module] (SCRIPT|MODULE) [ARGS]

SCRIPT is what the interpreter takes: a file, or a directory or zip file with
a __main__.py. With --module, the name of a module follows instead.

Without options patch_all() is called. --no-NAME leaves one module alone;
--NAME patches that one, and only those so named.

OPTIONS: --verbose {options}
"""


def main() -> dict[str, Any] | None:
    """Patch the standard library as told, then run a script or a module.

    The arguments are those in ``sys.argv``, see its ``--help``.

    :returns: the globals of what was run, at its end.
    """
    from .. import monkey

    code = monkey.patch_all.__code__
    known = code.co_varnames[: code.co_argcount]
    modules = [name for name in known if hasattr(monkey, f"patch_{name}")]
    usage = _USAGE.format(
        options=" ".join(f"--[no-]{name}" for name in modules)
    )

    settings: dict[str, bool] = {}
    is_module = verbose = False
    argv = sys.argv[1:]
    while argv and argv[0].startswith("--"):
        option = argv.pop(0)[2:]
        if option == "":
            break
        if option == "help":
            print(usage)
            return None
        if option == "verbose":
            verbose = True
        elif option == "module":
            is_module = True
        elif option in known:
            settings[option] = True
            if option in modules:
                for name in modules:
                    settings.setdefault(name, False)
        elif option.removeprefix("no-") in known:
            settings[option.removeprefix("no-")] = False
        else:
            sys.exit(f"{usage}\nCannot patch {option!r}")

    if verbose:
        _tell(settings)
    if not argv:
        print(usage)
        return None

    sys.argv[:] = argv
    monkey.patch_all(**settings)

    import runpy

    if is_module:
        return runpy.run_module(argv[0], run_name="__main__", alter_sys=True)
    if os.path.isfile(argv[0]):
        # As the interpreter does; run_path() does it for directories only.
        sys.path.insert(0, os.path.dirname(os.path.abspath(argv[0])))
    return runpy.run_path(argv[0], run_name="__main__")


def _tell(settings: dict[str, bool]) -> None:
    from pprint import pformat

    text = ", ".join(f"{name}={value}" for name, value in settings.items())
    print(f"gevent.monkey.patch_all({text})")
    print(f"sys.version={' '.join(sys.version.split())}")
    print(f"sys.path={pformat(sys.path)}")
    print(f"sys.modules={pformat(sorted(sys.modules))}")
    print(f"cwd={os.getcwd()}")
