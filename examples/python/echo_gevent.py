"""An echo server, written for gevent as it comes.

Nothing in it knows of Coir. Run it with ``coir run echo_gevent.py`` and the
greenlets below gevent are Coir's.
"""

import sys

from gevent.server import StreamServer


def echo(socket, address):
    while data := socket.recv(4096):
        socket.sendall(data)


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    server = StreamServer(("127.0.0.1", port), echo, backlog=1024)
    server.start()
    print("listening on port", server.server_port, flush=True)
    server.serve_forever()
