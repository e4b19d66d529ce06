"""A gevent program: an echo server, clients, a pool, events, a timeout."""

import gevent
from gevent import monkey

monkey.patch_all()

import queue  # noqa: E402
import socket  # noqa: E402
import threading  # noqa: E402

import greenlet  # noqa: E402
from gevent.event import AsyncResult  # noqa: E402
from gevent.pool import Pool  # noqa: E402
from gevent.server import StreamServer  # noqa: E402


def echo(sock, address):
    while data := sock.recv(4096):
        sock.sendall(data)


def client(port, n):
    with socket.create_connection(("127.0.0.1", port)) as sock:
        for i in range(10):
            message = f"{n}:{i}".encode()
            sock.sendall(message)
            assert sock.recv(100) == message
    return n


def main():
    assert issubclass(gevent.Greenlet, greenlet.greenlet)
    server = StreamServer(("127.0.0.1", 0), echo)
    server.start()
    pool = Pool(50)
    done = pool.map(lambda n: client(server.server_port, n), range(200))
    print("clients", sum(done))
    server.stop()

    result = AsyncResult()
    gevent.spawn_later(0.01, result.set, "brought")
    print("event", result.get())

    try:
        with gevent.Timeout(0.01):
            gevent.sleep(5)
    except gevent.Timeout as timeout:
        print("timeout", timeout.seconds)

    items = queue.Queue(2)
    got = []
    reader = threading.Thread(
        target=lambda: got.extend(items.get() for _ in range(10)))
    reader.start()
    for i in range(10):
        items.put(i)
    reader.join()
    print("queue", got)

    sleeper = gevent.spawn(gevent.sleep, 60)
    gevent.sleep(0)
    sleeper.kill()
    print("killed", sleeper.dead, type(sleeper.value).__name__)

    failing = gevent.spawn(lambda: 1 / 0)
    failing.join()
    print("failed", repr(failing.exception))

    print("threadpool", gevent.get_hub().threadpool.apply(sum, ([1, 2, 3],)))


main()
