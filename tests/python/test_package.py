"""What the installed package holds, and what it shows to the linker."""

import importlib.metadata
import importlib.util
import pathlib
import shutil
import subprocess

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2] / "python"


def installed():
    """Paths of the installed files, relative to site-packages."""
    files = importlib.metadata.files("coir")
    assert files
    return {str(file) for file in files if "__pycache__" not in file.parts}


def extension():
    """The extension's path, found without importing it."""
    return importlib.util.find_spec("coir._core").origin


def binutils(*argv):
    if shutil.which(argv[0]) is None:
        pytest.skip(f"{argv[0]} is missing: install Debian package binutils")
    return subprocess.run(
        argv, check=True, capture_output=True, text=True
    ).stdout


def test_extension_exports_only_its_init():
    names = binutils("nm", "-D", "--defined-only", "--format=just-symbols",
                     extension())
    assert names.split() == ["PyInit__core"]


def test_extension_needs_no_libcoir():
    needed = [line for line in binutils("readelf", "-d", extension())
              .splitlines() if "(NEEDED)" in line]
    assert needed
    assert not [line for line in needed if "coir" in line]


def test_extension_does_not_ask_for_an_executable_stack():
    segments = binutils("readelf", "-lW", extension())
    (stack,) = [line for line in segments.splitlines() if "GNU_STACK" in line]
    assert "RWE" not in stack


def test_every_module_is_installed():
    ours = {
        str(path.relative_to(SOURCE))
        for path in (SOURCE / "coir").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert ours
    assert ours <= installed()


def test_nothing_of_libcoir_is_installed():
    suffixes = (".a", ".h", ".pc", ".c", ".build")
    extras = {
        path for path in installed()
        if path.endswith(suffixes) or "libcoir" in path
    }
    # The header of the C API, for extensions written for greenlet.
    assert extras <= {"coir/greenlet/include/greenlet/greenlet.h"}
