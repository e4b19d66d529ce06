"""An echo server of plain blocking sockets and threads, patched.

Below the first two lines nothing knows of green threads: it is a server with
a thread for each connection. Patched, ten thousand of them are no effort. Run
it with ``coir run --as gevent gevent_echo.py [PORT]``.
"""

from gevent import monkey

monkey.patch_all()

import contextlib  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402


def echo(connection):
    with connection, contextlib.suppress(ConnectionError):
        while data := connection.recv(4096):
            connection.sendall(data)


def main(port):
    with socket.create_server(("127.0.0.1", port), backlog=4096) as listener:
        print("listening on port", listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            threading.Thread(
                target=echo, args=[connection], daemon=True
            ).start()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
