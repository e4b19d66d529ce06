from gevent import monkey

monkey.patch_all()

import threading  # noqa: E402
import unittest  # noqa: E402

import gevent  # noqa: E402
import websocket  # noqa: E402
from helper import others_go_on, server, together  # noqa: E402

URL = f"ws://127.0.0.1:{server('WEBSOCKET')}"


class TestWebSocketClient(unittest.TestCase):

    def test_echo(self):
        ws = websocket.create_connection(URL, timeout=5)
        for text in ("", "hello", "x" * 70000):
            ws.send(text)
            self.assertEqual(ws.recv(), text)
        ws.send_binary(bytes(range(256)) * 5000)
        self.assertEqual(ws.recv(), bytes(range(256)) * 5000)
        ws.close()

    def test_many_at_once(self):
        def talk(i):
            ws = websocket.create_connection(f"{URL}/slow", timeout=10)
            ws.send(str(i))
            text = ws.recv()
            ws.close()
            return text

        with others_go_on(20):
            found = together(talk, range(50), 10)
        self.assertEqual(found, [str(i) for i in range(50)])

    def test_timeout(self):
        ws = websocket.create_connection(URL, timeout=0.2)
        with self.assertRaises(websocket.WebSocketTimeoutException):
            ws.recv()
        ws.send("still there")
        self.assertEqual(ws.recv(), "still there")
        ws.close()

    def test_sender_and_receiver_are_two_greenlets(self):
        ws = websocket.create_connection(URL, timeout=10,
                                         enable_multithread=True)

        def send():
            for i in range(500):
                ws.send(str(i))

        sender = gevent.spawn(send)
        self.assertEqual([ws.recv() for _ in range(500)],
                         [str(i) for i in range(500)])
        sender.get()
        ws.close()

    def test_app(self):
        seen = []
        app = websocket.WebSocketApp(
            f"{URL}/count",
            on_message=lambda app, message: seen.append(int(message)))
        thread = threading.Thread(target=app.run_forever)
        thread.start()
        thread.join(10)
        self.assertFalse(thread.is_alive())
        self.assertEqual(seen, list(range(100)))

    def test_app_is_closed_by_another(self):
        opened = threading.Event()
        app = websocket.WebSocketApp(URL, on_open=lambda app: opened.set())
        greenlet = gevent.spawn(app.run_forever, ping_interval=1,
                                ping_timeout=0.5)
        self.assertTrue(opened.wait(5))
        gevent.sleep(1.5)
        app.close()
        greenlet.join(5)
        self.assertTrue(greenlet.ready())

    def test_killed(self):
        ws = websocket.create_connection(URL, timeout=10)
        greenlet = gevent.spawn(ws.recv)
        gevent.sleep(0.1)
        greenlet.kill()
        self.assertIsInstance(greenlet.value, gevent.GreenletExit)
        ws.close()


if __name__ == "__main__":
    unittest.main()
