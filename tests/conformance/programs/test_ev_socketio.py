"""Flask-SocketIO in its eventlet mode, with clients of python-socketio."""

import os
import pathlib
import queue
import subprocess
import sys
import unittest

import requests
import socketio
from helper_eventlet import free_port, wait_for

HERE = pathlib.Path(__file__).resolve().parent


class TestSocketIO(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        port = free_port()
        cls.server = subprocess.Popen(
            [sys.executable, str(HERE / "socketio_app.py"), str(port)],
            cwd=os.environ["TMPDIR"])
        cls.addClassCleanup(cls.server.wait)
        cls.addClassCleanup(cls.server.kill)
        cls.url = f"http://127.0.0.1:{port}"
        wait_for(port, cls.server)

    def client(self, *transports):
        client = socketio.Client(reconnection=False)
        client.received = queue.Queue()
        for name in ("answer", "number"):
            client.on(name, client.received.put)
        client.connect(self.url, transports=list(transports), wait_timeout=20)
        self.addCleanup(client.disconnect)
        return client

    def test_whose_eventlet(self):
        file = requests.get(self.url, timeout=10).text
        ours = "eventlet" in os.environ.get("COIR_AS", "")
        self.assertEqual("/coir/eventlet/" in file, ours)

    def test_websocket(self):
        client = self.client("websocket")
        self.assertEqual(client.transport(), "websocket")
        client.emit("upper", "hello")
        self.assertEqual(client.received.get(timeout=10), "HELLO")

    def test_polling(self):
        client = self.client("polling")
        client.emit("upper", "hello")
        self.assertEqual(client.received.get(timeout=10), "HELLO")

    def test_big_message(self):
        client = self.client("websocket")
        client.emit("upper", "x" * 500_000)
        self.assertEqual(client.received.get(timeout=10), "X" * 500_000)

    def test_others_go_on_while_one_waits(self):
        one, other = self.client("websocket"), self.client("websocket")
        called = []
        one.emit("later", 1, callback=called.append)
        other.emit("upper", "a")
        self.assertEqual(other.received.get(timeout=10), "A")
        self.assertEqual(called, [])
        self.assertEqual(one.call("later", 0, timeout=10), "done")

    def test_background_task(self):
        client = self.client("websocket")
        client.emit("count", 20)
        self.assertEqual([client.received.get(timeout=10)
                          for _ in range(20)], list(range(20)))


if __name__ == "__main__":
    unittest.main()
