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
}


@pytest.mark.parametrize("name", EXPECTED)
def test_prints(name):
    done = subprocess.run(
        [sys.executable, EXAMPLES / name],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert done.stdout == EXPECTED[name]
    assert done.returncode == 0


def test_every_example_is_run():
    names = {path.name for path in EXAMPLES.glob("*.py")}
    assert names == {*EXPECTED, "echo_gevent.py"}


def test_echo_gevent():
    pytest.importorskip("gevent")
    server = subprocess.Popen(
        [sys.executable, "-m", "coir", "run", EXAMPLES / "echo_gevent.py"],
        stdout=subprocess.PIPE,
        text=True,
    )
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
