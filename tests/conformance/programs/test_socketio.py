"""Flask-SocketIO, in its mode gevent, by long polling and by WebSocket; and
WebSockets of flask-sock."""

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402
import unittest  # noqa: E402

# engineio would prefer that, if it is installed for another program.
sys.modules["geventwebsocket"] = None

import flask  # noqa: E402
import flask_sock  # noqa: E402
import flask_socketio  # noqa: E402
import gevent  # noqa: E402
import socketio  # noqa: E402
import websocket  # noqa: E402
from gevent.event import Event  # noqa: E402
from gevent.pywsgi import WSGIServer  # noqa: E402


class TestFlaskSocketIO(unittest.TestCase):

    def setUp(self):
        app = flask.Flask(__name__)
        app.config["SECRET_KEY"] = "x"
        sio = flask_socketio.SocketIO(app, async_mode="gevent")
        self.assertEqual(sio.async_mode, "gevent")

        @sio.on("ask")
        def ask(data):
            gevent.sleep(0.01)
            flask_socketio.emit("answer", {"was": data})
            return "done"

        @sio.on("all")
        def everybody(data):
            flask_socketio.emit("news", data, broadcast=True)

        self.server = WSGIServer(("127.0.0.1", 0), app, log=None)
        self.server.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.clients = []

    def tearDown(self):
        for client in self.clients:
            client.disconnect()
        self.server.stop(timeout=1)

    def connect(self, transports):
        client = socketio.Client(reconnection=False)
        client.got = []
        client.arrived = Event()

        @client.on("*")
        def catch(event, data):
            client.got.append((event, data))
            client.arrived.set()

        client.connect(self.url, transports=transports, wait_timeout=20)
        self.clients.append(client)
        return client

    def check(self, transports, transport):
        client = self.connect(transports)
        for i in range(20):
            client.arrived.clear()
            self.assertEqual(client.call("ask", i, timeout=20), "done")
            self.assertTrue(client.arrived.wait(20))
            self.assertEqual(client.got[-1], ("answer", {"was": i}))
        self.assertEqual(client.transport(), transport)

    def test_polling(self):
        self.check(["polling"], "polling")

    def test_websocket(self):
        self.check(["websocket"], "websocket")

    def test_upgrade(self):
        self.check(["polling", "websocket"], "websocket")

    def test_broadcast(self):
        clients = [self.connect([kind])
                   for kind in ("polling", "websocket") * 3]
        clients[0].emit("all", "x" * 10_000)
        for client in clients:
            self.assertTrue(client.arrived.wait(20))
            self.assertEqual(client.got, [("news", "x" * 10_000)])


class TestFlaskSock(unittest.TestCase):

    def test_echo(self):
        app = flask.Flask(__name__)
        sock = flask_sock.Sock(app)
        ended = Event()

        @sock.route("/echo")
        def echo(ws):
            try:
                while True:
                    ws.send(ws.receive())
            finally:
                ended.set()

        server = WSGIServer(("127.0.0.1", 0), app, log=None)
        server.start()
        try:
            ws = websocket.create_connection(
                f"ws://127.0.0.1:{server.server_port}/echo", timeout=20)
            for size in (1, 1000, 100_000):
                ws.send("x" * size)
                self.assertEqual(ws.recv(), "x" * size)
            ws.close()
            self.assertTrue(ended.wait(20))
        finally:
            server.stop()


if __name__ == "__main__":
    unittest.main()
