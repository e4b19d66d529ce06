"""Ask a thousand questions, a hundred at a time, and wait for none too long.

One question in fifty goes to a server that never answers; a Timeout gives it
up. Run it with ``coir run --as eventlet eventlet_fan_out.py``; it brings
servers of its own, unless it is given the ports of an echo server and of a
silent one and a number of questions.
"""

import sys
from collections import Counter

import eventlet

PATIENCE = 1  # seconds
AT_ONCE = 100


def ask(port, question):
    connection = eventlet.connect(("127.0.0.1", port))
    try:
        connection.sendall(question)
        answer = b""
        while len(answer) < len(question):
            answer += connection.recv(4096)
        return answer
    finally:
        connection.close()


def ask_patiently(port, number):
    question = b"question %d" % number
    with eventlet.Timeout(PATIENCE, False):
        return "right" if ask(port, question) == question else "wrong"
    return "given up"


def fan_out(port, silent_port, count):
    answers = Counter()

    def note_answer(port, number):
        answers[ask_patiently(port, number)] += 1

    pool = eventlet.GreenPool(AT_ONCE)
    for n in range(count):
        pool.spawn_n(note_answer, port if n % 50 else silent_port, n)
    pool.waitall()
    return answers


def echo(connection, address):
    while data := connection.recv(4096):
        connection.sendall(data)


def say_nothing(connection, address):
    eventlet.sleep(60)


def start(handle):
    listener = eventlet.listen(("127.0.0.1", 0), backlog=AT_ONCE)
    eventlet.spawn(eventlet.serve, listener, handle)
    return listener.getsockname()[1]


def main(arguments):
    if arguments:
        port, silent_port, count = map(int, arguments)
    else:
        port, silent_port, count = start(echo), start(say_nothing), 1000
    for answer, times in sorted(fan_out(port, silent_port, count).items()):
        print(f"{answer}: {times}")


if __name__ == "__main__":
    main(sys.argv[1:])
