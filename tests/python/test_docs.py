"""The documents: links lead somewhere, and snippets print what they say."""

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    [ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md")]
)
PYTHON_PAGES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("docs/guide/*.md")),
    ROOT / "docs/reference/greenlet.md",
    *sorted(ROOT.glob("docs/reference/python/*.md")),
]
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# Comments that do not show say more of a snippet: `<!-- prints -->`, that its
# trailing comments are all that it prints, with a comma for the end of a line;
# `<!-- not run -->`, that it cannot be run by itself.
SNIPPET = re.compile(
    r"(?:^<!-- (prints|not run) -->\n)?^```python\n(.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
PRELUDE = "from coir.greenlet import *\n"


def name(path):
    return str(path.relative_to(ROOT))


def anchors(path):
    """The anchors that the headings of a page get."""
    text = FENCE.sub("", path.read_text())
    found = set()
    for title in re.findall(r"^#+ +(.*)$", text, re.MULTILINE):
        title = re.sub(r"[^\w\- ]", "", title.lower())
        found.add(title.strip().replace(" ", "-"))
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_links(path):
    broken = []
    for link in LINK.findall(FENCE.sub("", path.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        if not target.exists():
            broken.append(link)
        elif anchor and anchor not in anchors(target):
            broken.append(link)
    assert broken == []


def snippets():
    return [
        pytest.param(mark, code, id=f"{name(path)}-{number}")
        for path in PYTHON_PAGES
        for number, (mark, code) in enumerate(
            SNIPPET.findall(path.read_text()), 1
        )
        if mark != "not run"
    ]


@pytest.mark.parametrize(("mark", "code"), snippets())
def test_snippet(mark, code):
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + code],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    if mark == "prints":
        said = re.findall(r"  # (.*)$", code, re.MULTILINE)
        assert done.stdout.splitlines() == ", ".join(said).split(", ")
    else:
        assert done.stdout == ""
