"""The programs in examples/python print what they promise."""

import pathlib
import socket
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples" / "python"

EXPECTED = {
    "1_switch.py": "12\n56\n34\nend\n",
    "2_parent.py": "12\n56\n34\n78\n",
    "3_values.py": "12\n56\n34\n",
    "4_arguments.py": "test1: 2\ntest2: 32\ntest1: over\n",
    "5_result.py": (
        "enter func1()\nenter func2()\nout func2()\nreturn from func2\n"
    ),
    "generator.py": "1 2 3 4 5 6 7\n28\n",
    "eventlet_fan_out.py": "given up: 20\nright: 980\n",
    "gevent_fan_out.py": "given up: 20\nright: 980\n",
    "gevent_chat.py": """\
[Ann] welcome, Ann
[Bob] welcome, Bob
[Ann] Bob comes in
[Cat] welcome, Cat
[Ann] Cat comes in
[Bob] Cat comes in
[Bob] Ann: hello, both
[Cat] Ann: hello, both
[Ann] Cat goes out
[Bob] Cat goes out
[Ann] Bob: now it is the two of us
""",
    "first_answer.py": (
        "down: Connection refused\nslow: too late\n"
        "fast: WHAT TIME IS IT?\n"
    ),
    "gevent_crawler.py": """\
91 pages read, 93 seen
/13: HTTP Error 404: Not Found
/50: timed out
""",
}


def command(name):
    """Those for gevent are run on ours, as their texts say."""
    package, has_package, _ = name.partition("_")
    if has_package and package in ("eventlet", "gevent"):
        run = ["-m", "coir", "run", "--as", f"greenlet,{package}"]
        return [sys.executable, *run, EXAMPLES / name]
    return [sys.executable, EXAMPLES / name]


@pytest.mark.parametrize("name", EXPECTED)
def test_prints(name):
    done = subprocess.run(
        command(name),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert done.stdout == EXPECTED[name]
    assert done.returncode == 0


def test_every_example_is_run():
    names = {path.name for path in EXAMPLES.glob("*.py")}
    assert names == {
        *EXPECTED, "echo_gevent.py", "gevent_echo.py", "gevent_deadlock.py",
        "http_app.py",  # needs Flask: `make demo` runs it
    }  # fmt: skip


def test_deadlock_report():
    done = subprocess.run(
        command("gevent_deadlock.py"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert "would block forever" in done.stdout
    for name in ("transfer", "report"):
        assert name in done.stdout, done.stdout
    assert done.returncode == 0


def test_echo_gevent():
    pytest.importorskip("gevent")
    path = EXAMPLES / "echo_gevent.py"
    check_echo([sys.executable, "-m", "coir", "run", path])


def test_patched_echo():
    check_echo(command("gevent_echo.py"))


def check_echo(argv):
    server = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    with server:
        try:
            port = int(server.stdout.readline().split()[-1])
            address = ("127.0.0.1", port)
            clients = [
                socket.create_connection(address, 30) for _ in range(20)
            ]
            for number, client in enumerate(clients):
                client.sendall(b"%d" % number)
            for number, client in enumerate(clients):
                assert client.recv(100) == b"%d" % number
                client.close()
        finally:
            server.terminate()
