"""An eventlet program: a pool, a server, queues, timeouts, real threads."""

import eventlet

eventlet.monkey_patch()

import socket  # noqa: E402

import eventlet.tpool  # noqa: E402
import greenlet  # noqa: E402


def echo(sock):
    while data := sock.recv(4096):
        sock.sendall(data)


def client(address, n):
    with socket.create_connection(address) as sock:
        for i in range(10):
            message = f"{n}:{i}".encode()
            sock.sendall(message)
            assert sock.recv(100) == message
    return n


def main():
    thread = eventlet.spawn(lambda: 42)
    assert isinstance(thread, greenlet.greenlet)
    print("spawn", thread.wait())

    listener = eventlet.listen(("127.0.0.1", 0))
    address = listener.getsockname()
    server = eventlet.spawn(eventlet.serve, listener,
                            lambda sock, addr: echo(sock))
    pool = eventlet.GreenPool(50)
    print("clients", sum(pool.imap(lambda n: client(address, n), range(200))))
    server.kill()

    queue = eventlet.Queue(2)
    eventlet.spawn(lambda: [queue.put(i) for i in range(10)])
    print("queue", [queue.get() for _ in range(10)])

    try:
        with eventlet.Timeout(0.01):
            eventlet.sleep(5)
    except eventlet.Timeout as timeout:
        print("timeout", timeout.seconds)

    sleeper = eventlet.spawn(eventlet.sleep, 60)
    eventlet.sleep(0)
    sleeper.kill()
    print("killed", sleeper.dead)

    failing = eventlet.spawn(lambda: 1 / 0)
    try:
        failing.wait()
    except ZeroDivisionError as err:
        print("failed", err)

    print("tpool", eventlet.tpool.execute(sum, [1, 2, 3]))


main()
