"""Echo servers in Python, for the gevent suite.

    python echo_servers.py NAME

listens on a port of its own, prints it, and serves until it is killed. NAME is
a package with gevent's API, or one of ``eventlet``, ``asyncio``, ``uvloop``
and ``uvloop-protocol``. All but the last are written as blocking programs are:
read, write, again.
"""

import importlib
import sys

BACKLOG = 4096
SIZE = 2048  # of a read; as the servers in C do it


def say(port):
    print("listening on port", port, flush=True)


def echo(connection, address=None):
    """In a green thread."""
    recv, sendall = connection.recv, connection.sendall
    while data := recv(SIZE):
        sendall(data)


def serve_gevent(package):
    server = importlib.import_module(f"{package}.server").StreamServer(
        ("127.0.0.1", 0), echo, backlog=BACKLOG)
    server.start()
    say(server.server_port)
    server.serve_forever()


def serve_eventlet(package):
    eventlet = importlib.import_module(package)
    listener = eventlet.listen(("127.0.0.1", 0), backlog=BACKLOG)
    say(listener.getsockname()[1])
    eventlet.serve(listener, echo, concurrency=100_000)


async def echo_streams(reader, writer):
    while data := await reader.read(SIZE):
        writer.write(data)
        await writer.drain()
    writer.close()


async def serve_streams():
    import asyncio

    server = await asyncio.start_server(
        echo_streams, "127.0.0.1", 0, backlog=BACKLOG)
    say(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def serve_protocol():
    import asyncio

    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data)

    server = await asyncio.get_running_loop().create_server(
        Echo, "127.0.0.1", 0, backlog=BACKLOG)
    say(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def serve_tasks(package, function):
    import asyncio

    loop = importlib.import_module(package).new_event_loop
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(function())


def main(name):
    package, _, kind = name.partition("-")
    if package.rpartition(".")[2] == "eventlet":
        serve_eventlet(package)
    elif package in ("asyncio", "uvloop"):
        serve_tasks(package, serve_protocol if kind else serve_streams)
    else:
        serve_gevent(package)


if __name__ == "__main__":
    main(sys.argv[1])
