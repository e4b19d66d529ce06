"""Is every public name of one package in another one that stands for it?"""

from __future__ import annotations

from collections.abc import Iterable

from _report import Deviations, Report, show


def missing(theirs: dict, mine: dict) -> dict[str, str]:
    """Names that are not there, or take other parameters, and what is wrong.

    :param theirs: of each module what `stock/gevent_names.py` tells of it.
    """
    found = {}
    for module, names in theirs.items():
        if module not in mine:
            found[module] = "no such module"
            continue
        for name, what in names.items():
            if name not in mine[module]:
                found[f"{module}.{name}"] = "no such name"
                continue
            have = mine[module][name]
            found |= _differs(f"{module}.{name}", what["parameters"],
                              have["parameters"])
            for method, parameters in what["methods"].items():
                full = f"{module}.{name}.{method}"
                if method not in have["methods"]:
                    found[full] = "no such method"
                    continue
                found |= _differs(full, parameters, have["methods"][method])
    return found


def _differs(name: str, theirs: list | None, mine: list | None
             ) -> dict[str, str]:
    if theirs is None or mine is None or not set(theirs) - set(mine):
        return {}
    return {name: f"takes {mine}, not {theirs}"}


def judge(wrong: dict[str, str], modules: Iterable[str],
          deviations: Deviations, report: Report) -> None:
    """Note a test for each name that is wrong, and each module without any.

    :param wrong: full names, and what is wrong with them.
    """
    modules = set(modules)
    spoilt = set()
    for name, text in wrong.items():
        module = name
        while module not in modules:
            module = module.rpartition(".")[0]
        spoilt.add(module)
        entry = deviations.find(f"names.{name}")
        if entry is not None:
            report.note(f"names.{name}", "deviation", entry["reason"])
            report.lines["deviations"].append(f"names.{name}")
        else:
            report.note(f"names.{name}", "failed", text)
            show("FAILED", f"names.{name}", text)
    for module in sorted(modules - spoilt):
        report.note(f"names.{module}", "passed")
