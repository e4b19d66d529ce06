"""The command ``coir``: running programs, version, help, info."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

COIR = [sys.executable, "-m", "coir"]


def run(*command, env=None, **options):
    environ = {k: v for k, v in os.environ.items() if k != "COIR_AS"}
    environ["PYTHONDONTWRITEBYTECODE"] = "1"
    environ.update(env or {})
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run(
        command,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


PROBE = """\
import sys
__file__ = globals().get("__file__")
print(__name__, __file__, __spec__ and __spec__.name, __package__)
print(sys.argv, sys.path[0])
print(sys.modules["__main__"].__dict__ is globals())
print(sys.flags.dev_mode, sys.flags.optimize, sys.warnoptions)
def fail():
    raise RuntimeError("here")
if sys.argv[1:] == ["fail"]:
    fail()
if sys.argv[1:2] == ["exit"]:
    sys.exit(7)
"""


@pytest.fixture
def program(tmp_path):
    (tmp_path / "sub").mkdir()
    path = tmp_path / "sub" / "program.py"
    path.write_text(PROBE)
    return path


@pytest.mark.parametrize(
    "args",
    [
        ["sub/program.py", "a", "--as", "b", "-h"],
        ["sub/program.py", "fail"],
        ["sub/program.py", "exit", "--"],
        ["-m", "sub.program", "-x"],
        ["-m", "sub.program", "fail"],
        ["-c", PROBE, "a"],
        ["-c", PROBE, "fail"],
        ["-X", "dev", "-OW", "error", "sub/program.py"],
        ["no_such_file.py"],
        ["-m", "no_such_module"],
        ["sub"],
    ],
    ids=lambda args: " ".join(args).replace(PROBE, "CODE"),
)
def test_runs_as_python_would(args, program):
    theirs = run(sys.executable, *args, cwd=program.parent.parent)
    ours = run(*COIR, "run", *args, cwd=program.parent.parent)
    assert ours.returncode == theirs.returncode
    assert ours.stdout == theirs.stdout
    assert ours.stderr == theirs.stderr


@pytest.mark.parametrize(
    ("options", "plain"),
    [
        (["-X", "dev", "-m", "coir"], ["-X", "dev"]),
        (["-Om", "coir"], ["-O"]),
        (["-mcoir"], []),
        (["-W", "error", "-mcoir.__main__"], ["-W", "error"]),
        (["-bmcoir"], ["-b"]),
    ],
)
def test_options_of_the_interpreter_are_kept(options, plain, program):
    theirs = run(sys.executable, *plain, str(program))
    ours = run(sys.executable, *options, "run", str(program))
    assert theirs.returncode == 0
    assert ours.stdout == theirs.stdout
    assert ours.stderr == theirs.stderr


def test_greenlet_is_ours_here_and_in_children(tmp_path):
    child = (
        "import greenlet, os; print(greenlet.__file__, os.environ['COIR_AS'])"
    )
    text = f"""
        import subprocess, sys
        import greenlet
        print(greenlet.__file__, flush=True)
        subprocess.run([sys.executable, "-c", {child!r}], check=True)
    """
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(text))
    for options in [], ["--as", "greenlet"], ["--as=greenlet"]:
        done = run(*COIR, "run", *options, str(path))
        assert done.returncode == 0, done.stderr
        ours, childs = done.stdout.split("\n")[:2]
        assert os.path.join("coir", "greenlet") in ours
        assert childs == f"{ours} greenlet"


def test_names_from_the_environment_and_option_over_them():
    code = "import os; print(os.environ['COIR_AS'])"
    done = run(*COIR, "run", "-c", code, env={"COIR_AS": " greenlet ,"})
    assert done.stdout == "greenlet\n"
    done = run(*COIR, "run", "-c", code, env={"COIR_AS": "no_such"})
    assert done.returncode == 2
    assert "'no_such'" in done.stderr
    env = {"COIR_AS": "no_such"}
    done = run(*COIR, "run", "--as", "greenlet", "-c", code, env=env)
    assert done.stdout == "greenlet\n"


def test_standard_input_is_the_programs():
    done = run(*COIR, "run", "-", "a", stdin=None, input="print(__name__)")
    assert done.stdout == "__main__\n", done.stderr


def test_killed_by_a_signal():
    code = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    assert run(*COIR, "run", "-c", code).returncode == -signal.SIGTERM


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["run"], "nothing to run"),
        (["run", "--as", "greenlet"], "nothing to run"),
        (["run", "--as"], "expected one argument"),
        (["run", "--as", ",", "x.py"], "--as needs a name"),
        (["run", "--as", "foo", "x.py"], "does not stand in for 'foo'"),
        (["walk"], "invalid choice: 'walk'"),
        (["--frobnicate"], "unrecognized arguments"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_told(args, message):
    done = run(*COIR, *args)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("usage: coir")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_run_without_the_start_up_file_is_refused(tmp_path):
    import coir

    package = os.path.dirname(os.path.dirname(os.path.abspath(coir.__file__)))
    done = run(
        sys.executable, "-S", "-m", "coir", "run", "x.py",
        env={"PYTHONPATH": package},
    )  # fmt: skip
    assert done.returncode == 2
    assert "coir_as.pth" in done.stderr


def test_started_from_a_script_of_any_name(tmp_path):
    text = "import sys, coir.__main__\nsys.exit(coir.__main__.main())\n"
    for name in "coir", "starter.py":
        (tmp_path / name).write_text(text)
        code = "import sys; print(sys.flags.dev_mode)"
        command = [sys.executable, "-X", "dev", name, "run", "-c", code]
        done = run(*command, cwd=tmp_path)
        assert (done.stdout, done.stderr) == ("True\n", "")


def test_version():
    import coir

    done = run(*COIR, "--version")
    assert done.stdout == f"coir {coir.__version__}\n"


def test_info():
    import platform

    import coir
    from coir import _core

    env = {"COIR_STACK_SIZE": "256K", "COIR_STACK": "slice"}
    done = run(*COIR, "info", env=env)
    assert done.returncode == 0 and done.stderr == ""
    info = dict(line.split(None, 1) for line in done.stdout.splitlines())
    assert info["coir"] == coir.__version__
    assert platform.python_version() in info["python"]
    assert info["context"] == _core._info()["context"]
    assert info["stacks"] == "256 KB, slice"
    assert info["COIR_AS"] == "not set"
    assert "coir_as.pth" in info["start-up"]
    assert run(*COIR, "info", env={"COIR_AS": "greenlet"}).returncode == 0


def test_help_names_everything():
    done = run(*COIR, "--help")
    assert done.returncode == 0
    for word in ("run", "info", "COIR_AS", "COIR_STACK_SIZE", "COIR_STACK"):
        assert word in done.stdout
    assert run(*COIR).stdout == done.stdout
    done = run(*COIR, "run", "--help")
    assert done.returncode == 0
    for word in ("--as", "-m MODULE", "-c CODE", "script.py", "COIR_AS"):
        assert word in done.stdout


def test_installed_command_is_the_same():
    script = os.path.join(os.path.dirname(sys.executable), "coir")
    if not os.path.exists(script):
        pytest.skip("no script beside this interpreter")
    assert run(script, "--help").stdout == run(*COIR, "--help").stdout
    done = run(
        script, "run", "-c", "import greenlet; print(greenlet.__file__)"
    )
    assert "coir" in done.stdout
