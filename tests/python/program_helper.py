"""Tests that are programs of their own."""

import os
import subprocess
import sys
import textwrap


def run(program, *args, env=None, cwd=None):
    """Run a program, which must succeed; returns what it prints."""
    environ = {k: v for k, v in os.environ.items() if k != "COIR_AS"}
    environ["PYTHONDONTWRITEBYTECODE"] = "1"
    environ.update(env or {})
    if not isinstance(program, list):
        program = ["-c", textwrap.dedent(program)]
    res = subprocess.run(
        [sys.executable, *program, *args],
        env=environ,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert res.returncode == 0, res.stdout + res.stderr
    return res.stdout
