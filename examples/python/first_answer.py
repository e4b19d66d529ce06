"""Ask three mirrors at once, take the first answer, cancel the others.

Prints who answered, and who was not waited for. Brings the mirrors itself: one
is down, one is slow, and one answers.
"""

import coir
from coir.gevent import socket
from coir.gevent.server import StreamServer


def mirror(seconds):
    """Start a server that takes so long; returns its port."""

    def answer(connection, address):
        question = connection.recv(100)
        coir.sleep(seconds)
        connection.sendall(question.upper())

    server = StreamServer(("127.0.0.1", 0), answer)
    server.start()
    return server.server_port


def ask(port, question):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(question)
        return connection.recv(100)


def first_answer(mirrors, question):
    """(name, answer) of the mirror that is first.

    :raises TimeoutError: if none answers within five seconds.
    """
    first = []

    def compete(name, port):
        try:
            answer = ask(port, question)
        except OSError as error:
            print(f"{name}: {error.strerror}")
            return
        except coir.Cancelled:
            print(f"{name}: too late")
            raise
        first.append((name, answer))
        nursery.cancel()

    with coir.deadline(5), coir.Nursery() as nursery:
        for name, port in mirrors.items():
            nursery.spawn(compete, name, port)
    return first[0]


def main():
    with socket.socket() as nobody:  # bound, but it does not listen
        nobody.bind(("127.0.0.1", 0))
        mirrors = {
            "down": nobody.getsockname()[1],
            "slow": mirror(60),
            "fast": mirror(0.01),
        }
        name, answer = first_answer(mirrors, b"what time is it?")
    print(f"{name}: {answer.decode()}")


if __name__ == "__main__":
    main()
