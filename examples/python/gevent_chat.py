"""A chat: a green thread that reads and one that writes for each member.

What a member says goes into the queues of all others, so that a slow reader
holds up nobody. Run it with ``coir run --as gevent gevent_chat.py PORT`` and
connect with ``nc``: the first line is your name. Without a port it talks to
itself.
"""

import sys

from gevent import socket, spawn
from gevent.queue import Queue
from gevent.server import StreamServer


class Room:
    def __init__(self):
        self.queues = {}  # name -> what is to be written

    def tell(self, text, but=None):
        for name, queue in self.queues.items():
            if name != but:
                queue.put(text)

    def serve(self, connection, address):
        with connection, connection.makefile("r") as lines:
            name = lines.readline().strip()
            if not name or name in self.queues:
                return
            self.tell(f"{name} comes in")
            queue = self.queues[name] = Queue()
            queue.put(f"welcome, {name}")
            writer = spawn(self.write, connection, queue)
            try:
                for line in lines:
                    self.tell(f"{name}: {line.strip()}", but=name)
            finally:
                del self.queues[name]
                writer.kill()
                self.tell(f"{name} goes out")

    def write(self, connection, queue):
        for text in queue:
            connection.sendall(text.encode() + b"\n")


class Member:
    def __init__(self, port, name):
        self.name = name
        self.connection = socket.create_connection(("127.0.0.1", port))
        self.lines = self.connection.makefile("r")
        self.say(name)
        self.hear()

    def say(self, text):
        self.connection.sendall(text.encode() + b"\n")

    def hear(self):
        print(f"[{self.name}] {self.lines.readline().strip()}")

    def leave(self):
        self.lines.close()
        self.connection.close()


def talk(port):
    ann = Member(port, "Ann")
    bob = Member(port, "Bob")
    ann.hear()
    cat = Member(port, "Cat")
    ann.hear()
    bob.hear()
    ann.say("hello, both")
    bob.hear()
    cat.hear()
    cat.leave()
    ann.hear()
    bob.hear()
    bob.say("now it is the two of us")
    ann.hear()
    ann.leave()
    bob.leave()


def main(arguments):
    port = int(arguments[0]) if arguments else 0
    server = StreamServer(("127.0.0.1", port), Room().serve)
    if arguments:
        server.serve_forever()
    server.start()
    talk(server.server_port)


if __name__ == "__main__":
    main(sys.argv[1:])
