"""Print, as JSON, the public names of the gevent that is imported.

Of each public module: the names in its ``__all__``, and what else it defines
itself; of classes their methods; of functions their parameters, by name,
where these can be found out. With an argument, JSON of modules and names, only
of these.
"""

import importlib
import inspect
import json
import pkgutil
import sys
import warnings

warnings.simplefilter("ignore")

import gevent  # noqa: E402


def parameters(func):
    try:
        found = inspect.signature(func).parameters.values()
    except (TypeError, ValueError):
        return None
    names = [param.name for param in found
             if param.kind not in (param.VAR_POSITIONAL, param.VAR_KEYWORD)]
    names = names if names[:1] != ["self"] else names[1:]
    # Since CPython 3.13 it is what the argument of C functions that do not
    # tell its name is called.
    return names if names != ["object"] else None


def methods(cls):
    found = {}
    for name in dir(cls):
        value = getattr(cls, name, None)
        if not name.startswith("_") and callable(value):
            found[name] = parameters(value)
    return found


def describe(value):
    if isinstance(value, type):
        # What a class takes is known by the methods that it has.
        return {"parameters": None, "methods": methods(value)}
    if callable(value):
        return {"parameters": parameters(value), "methods": {}}
    return {"parameters": None, "methods": {}}


def names(module, wanted):
    if wanted:
        return {name: describe(getattr(module, name)) for name in wanted
                if hasattr(module, name)}
    public = set(getattr(module, "__all__", ()))
    for name, value in vars(module).items():
        if (not name.startswith("_") and not inspect.ismodule(value)
                and getattr(value, "__module__", None) == module.__name__):
            public.add(name)
    return {name: describe(getattr(module, name)) for name in sorted(public)}


def main():
    wanted = json.loads(sys.argv[1]) if sys.argv[1:] else {}
    found = {}
    for name in wanted or modules():
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        found[name] = names(module, wanted.get(name))
    json.dump(found, sys.stdout)


def modules():
    """Public ones."""
    found = ["gevent"]
    for info in pkgutil.walk_packages(gevent.__path__, "gevent."):
        parts = info.name.split(".")[1:]
        if (not any(part.startswith("_") for part in parts)
                and parts[0] not in ("tests", "testing")):
            found.append(info.name)
    return found


if __name__ == "__main__":
    main()
