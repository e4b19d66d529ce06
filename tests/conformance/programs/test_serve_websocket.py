"""WebSocket clients of the registry with `coir serve`, also through nginx.

On the original the server is that of the `websockets` package.
"""

import contextlib
import os
import pathlib
import signal
import tempfile
import unittest

import serving
import websocket
from serving import coir_serve, free_port, in_threads, until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

ON_COIR = "COIR_AS" in os.environ
TEXTS = ("", "hello", "x" * 200, "\N{SNOWMAN}" * 70_000)
DATA = bytes(range(256)) * 8000


class Common:

    @classmethod
    def setUpClass(cls):
        cls.tmp = pathlib.Path(cls.enterClassContext(
            tempfile.TemporaryDirectory()))
        cls.log = cls.tmp / "log"
        cls.port = free_port()
        cls.start()
        until(lambda: serving.accepts(cls.port), cls.log)
        cls.url = f"ws://127.0.0.1:{cls.port}"

    @classmethod
    def serve(cls, address):
        cls.proc = cls.enterClassContext(serving.running(
            coir_serve("wsgi_apps:websocket", address, "-w", "2", "--patch"),
            cls.log))

    def test_websockets(self):
        for compression in "deflate", None:
            with connect(self.url, compression=compression,
                         max_size=None) as ws:
                for message in *TEXTS, DATA, b"":
                    ws.send(message)
                    self.assertEqual(ws.recv(60), message)
                ws.send(["in ", "some ", "parts"])
                self.assertEqual(ws.recv(60), "in some parts")
                self.assertTrue(ws.ping().wait(60))
            self.assertEqual(ws.close_code, 1000)

    def test_that_the_server_closes(self):
        with connect(f"{self.url}/count") as ws:
            self.assertEqual(list(ws), [str(i) for i in range(100)])
            with self.assertRaises(ConnectionClosed):
                ws.recv(60)
        self.assertEqual(ws.close_code, 1000)

    def test_websocket_client(self):
        with contextlib.closing(websocket.create_connection(
                self.url, timeout=60)) as ws:
            for text in TEXTS:
                ws.send(text)
                self.assertEqual(ws.recv(), text)
            ws.send_binary(DATA)
            self.assertEqual(ws.recv(), DATA)
            ws.ping("here")
            self.assertEqual(ws.recv_data(control_frame=True),
                             (websocket.ABNF.OPCODE_PONG, b"here"))

    def test_app(self):
        seen, ends = [], []
        websocket.WebSocketApp(
            f"{self.url}/count",
            on_message=lambda app, message: seen.append(int(message)),
            on_close=lambda app, code, reason: ends.append(code),
        ).run_forever()
        self.assertEqual(seen, list(range(100)))
        self.assertEqual(ends, [1000])

    def test_many_at_once(self):
        def talk(i):
            with connect(f"{self.url}/slow", open_timeout=60) as ws:
                ws.send(str(i))
                return ws.recv(60)

        self.assertEqual(in_threads(talk, 40), [str(i) for i in range(40)])


class TestDirectly(Common, unittest.TestCase):

    @classmethod
    def start(cls):
        if ON_COIR:
            cls.serve(cls.port)
        else:
            cls.port = int(os.environ["COIR_PROGRAMS_WEBSOCKET"])

    @unittest.skipUnless(ON_COIR, "of Coir's")
    def test_that_is_open_at_a_reload(self):
        # Their pings would wake the server.
        quiet = {"ping_interval": None}
        with (connect(self.url, **quiet) as ws,
              connect(self.url, **quiet) as other):
            ws.send("before")
            self.assertEqual(ws.recv(60), "before")
            self.proc.send_signal(signal.SIGHUP)
            for one in ws, other:
                with self.assertRaises(ConnectionClosed):
                    one.recv(60)
                self.assertEqual(one.close_code, 1001)
        with connect(self.url) as ws:
            ws.send("after")
            self.assertEqual(ws.recv(60), "after")


@unittest.skipUnless(ON_COIR, "of Coir's")
@unittest.skipIf(serving.NGINX is None,
                 "no nginx: install Debian package nginx")
class TestBehindNginx(Common, unittest.TestCase):

    @classmethod
    def start(cls):
        unix = cls.tmp / "socket"
        cls.serve(unix)
        until(lambda: serving.accepts(unix), cls.log)
        cls.enterClassContext(serving.nginx(
            cls.tmp, cls.port, unix, cls.log))


if __name__ == "__main__":
    unittest.main()
