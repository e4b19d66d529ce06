"""Print, as JSON, the public surface of the eventlet that is imported.

Of each module, by its name: the public names in it but for modules and what
Python itself has; of functions and methods the parameters with their defaults,
where these can be found out; of classes the attributes, too, and of numbers,
strings and other plain data the value. With the argument ``-`` only of the
modules and names that the standard input has, as JSON.
"""

import importlib
import inspect
import json
import pkgutil
import sys
import warnings

warnings.simplefilter("ignore")

import eventlet  # noqa: E402

#: not to be imported: they patch, or are programs
SKIPPED = ("eventlet.support.psycopg2_patcher",)
PLAIN = (bool, int, float, str, bytes, type(None), tuple)


def plain(value):
    return (isinstance(value, PLAIN)
            and (not isinstance(value, tuple)
                 or all(isinstance(item, PLAIN) for item in value)))


def parameters(func, is_method=False):
    """[name, kind, default] of each, or None if nobody knows."""
    try:
        found = inspect.signature(func).parameters.values()
    except (TypeError, ValueError):
        return None
    result = []
    for param in found:
        default = param.default
        if default is param.empty:
            text = ""
        elif plain(default):
            text = f"={default!r}"
        else:
            text = "=..."
        result.append([param.name, param.kind.name, text])
    if result and (result[0][0] == "self"
                   or is_method and inspect.isfunction(func)):
        del result[0]
    kinds = [kind for _, kind, _ in result]
    # None: it hands them on.
    return result if kinds != ["VAR_POSITIONAL", "VAR_KEYWORD"] else None


def describe(value, depth=0):
    if isinstance(value, type) and depth == 0:
        found = {"type": "class", "names": {}}
        for name in dir(value):
            if name.startswith("_"):
                continue
            try:
                attribute = getattr(value, name)
            except AttributeError:
                continue
            found["names"][name] = describe(attribute, depth + 1)
        if issubclass(value, BaseException):
            found["bases"] = sorted(
                base.__name__ for base in value.__mro__
                if base.__module__ == "builtins")
        found["parameters"] = parameters(value)
        return found
    if callable(value):
        return {"type": "callable", "parameters": parameters(value, depth > 0)}
    if plain(value):
        return {"type": "value", "value": repr(value)}
    return {"type": "other"}


def is_python(value):
    """Is it of the standard library, or of somebody else?"""
    module = getattr(value, "__module__", None) or ""
    top = module.partition(".")[0]
    return bool(top) and top not in ("eventlet", "coir", "gevent")


def is_copy(module, name, value):
    """Was it taken over from the module of Python of the same name?"""
    own = module.__name__.removeprefix("eventlet.green.")
    original = sys.modules.get({"httplib": "http.client"}.get(own, own))
    return getattr(original, name, module) is value


def names(module, wanted=None):
    if wanted is not None:
        return {name: describe(getattr(module, name)) for name in wanted
                if hasattr(module, name)}
    listed = set(getattr(module, "__all__", ()))
    found = {}
    for name, value in sorted(vars(module).items()):
        if name.startswith("_") and name not in listed:
            continue
        if inspect.ismodule(value):
            continue
        if name in listed or not (is_python(value) or plain(value)
                                  and module.__name__ != "eventlet"
                                  and is_copy(module, name, value)):
            found[name] = describe(value)
    return found


def modules():
    found = ["eventlet"]
    for info in pkgutil.walk_packages(eventlet.__path__, "eventlet.",
                                      onerror=lambda name: None):
        if info.name not in SKIPPED and "._" not in info.name:
            found.append(info.name)
    return found


def main():
    found = {}
    wanted = json.load(sys.stdin) if sys.argv[1:] else {}
    for name in wanted or modules():
        try:
            found[name] = names(importlib.import_module(name),
                                wanted.get(name))
        except Exception as err:
            if not sys.argv[1:]:
                continue
            found[name] = {"import failed": {
                "type": "value", "value": f"{type(err).__name__}: {err}"}}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
