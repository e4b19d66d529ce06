"""Ask a thousand questions, a hundred at a time, and wait for none too long.

One question in fifty goes to a server that never answers; a Timeout gives it
up. Run it with ``coir run --as gevent gevent_fan_out.py``; it brings servers
of its own, unless it is given the ports of an echo server and of a silent one
and a number of questions.
"""

import sys
from collections import Counter

from gevent import Timeout, sleep, socket
from gevent.pool import Pool
from gevent.server import StreamServer

PATIENCE = 1  # seconds
AT_ONCE = 100


def ask(port, question):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(question)
        answer = b""
        while len(answer) < len(question):
            answer += connection.recv(4096)
        return answer


def ask_patiently(port, number):
    question = b"question %d" % number
    with Timeout(PATIENCE, False):
        return "right" if ask(port, question) == question else "wrong"
    return "given up"


def fan_out(port, silent_port, count):
    ports = [port if n % 50 else silent_port for n in range(count)]
    answers = Pool(AT_ONCE).imap_unordered(ask_patiently, ports, range(count))
    return Counter(answers)


def echo(connection, address):
    while data := connection.recv(4096):
        connection.sendall(data)


def say_nothing(connection, address):
    sleep(60)


def main(arguments):
    if arguments:
        port, silent_port, count = map(int, arguments)
    else:
        server = StreamServer(("127.0.0.1", 0), echo, backlog=AT_ONCE)
        silent = StreamServer(("127.0.0.1", 0), say_nothing, backlog=AT_ONCE)
        server.start()
        silent.start()
        port, silent_port = server.server_port, silent.server_port
        count = 1000
    for answer, times in sorted(fan_out(port, silent_port, count).items()):
        print(f"{answer}: {times}")


if __name__ == "__main__":
    main(sys.argv[1:])
