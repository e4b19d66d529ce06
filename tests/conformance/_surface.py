"""Does one package have all that is public in another one it stands for?"""

from __future__ import annotations

POSITIONAL = ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD")


def _taken(parameters: list, kind: str) -> bool:
    return any(param[1] == kind for param in parameters)


def _parameters(theirs: list | None, mine: list | None) -> str:
    """What calls with ``theirs`` would notice, or ""."""
    if theirs is None or mine is None:
        return ""
    nameless = {name for name, kind, _ in mine if kind == "POSITIONAL_ONLY"}
    wrong = [f"{name} by position only" for name, kind, _ in theirs
             if kind != "POSITIONAL_ONLY" and name in nameless]
    if _taken(mine, "VAR_POSITIONAL") and _taken(mine, "VAR_KEYWORD"):
        return "; ".join(wrong)
    have = {name: default for name, _, default in mine}
    for name, kind, default in theirs:
        if kind.startswith("VAR_"):
            if not _taken(mine, kind):
                wrong.append(f"takes no more ({kind})")
        elif kind == "POSITIONAL_ONLY":
            pass
        elif name not in have and not _taken(mine, "VAR_KEYWORD"):
            wrong.append(f"no {name}")
        elif (default != have.get(name, default)
                and "=..." not in (default, have[name])):
            wrong.append(f"{name}{have[name]}, not {name}{default}")
    places = [name for name, kind, _ in theirs if kind in POSITIONAL]
    others = [name for name, kind, _ in mine if kind in POSITIONAL]
    if not wrong and places != others[:len(places)] and not _taken(
            mine, "VAR_POSITIONAL"):
        wrong.append(f"takes {others}, not {places}")
    return "; ".join(wrong)


def _differs(theirs: dict, mine: dict) -> str:
    if theirs["type"] == "value":
        if mine != theirs:
            return f"is {mine.get('value', mine['type'])}, not " + (
                theirs["value"])
    elif theirs["type"] in ("class", "callable"):
        if mine["type"] not in ("class", "callable"):
            return f"is no {theirs['type']}"
        lacks = set(theirs.get("bases", ())) - set(mine.get("bases", ()))
        if lacks:
            return f"is no {', '.join(sorted(lacks))}"
        return _parameters(theirs["parameters"], mine["parameters"])
    return ""


def differences(theirs: dict, mine: dict) -> dict[str, str]:
    """Full names of what is not the same, and what is wrong."""
    found = {}
    for module, names in theirs.items():
        for name, what in names.items():
            full = f"{module}.{name}"
            have = mine.get(module, {}).get(name)
            if have is None:
                found[full] = "no such name"
                continue
            text = _differs(what, have)
            if text:
                found[full] = text
            for member, about in what.get("names", {}).items():
                other = have.get("names", {}).get(member)
                text = ("no such attribute" if other is None
                        else _differs(about, other))
                if text and "names" in have:
                    found[f"{full}.{member}"] = text
    return found
