"""Handlers of WebSocket packages, which override those of pywsgi."""

from gevent import monkey

monkey.patch_all()

import unittest  # noqa: E402

import requests  # noqa: E402
import websocket  # noqa: E402
from gevent.pywsgi import WSGIServer  # noqa: E402
from geventwebsocket.handler import WebSocketHandler  # noqa: E402


def app(environ, start_response):
    ws = environ.get("wsgi.websocket")
    if ws is None:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]
    while (message := ws.receive()) is not None:
        ws.send(message)
    return []


class TestGeventWebSocket(unittest.TestCase):

    def test_echo(self):
        server = WSGIServer(("127.0.0.1", 0), app, log=None,
                            handler_class=WebSocketHandler)
        server.start()
        try:
            url = f"127.0.0.1:{server.server_port}/"
            ws = websocket.create_connection(f"ws://{url}", timeout=20)
            for size in (1, 1000, 100_000):
                ws.send("x" * size)
                self.assertEqual(ws.recv(), "x" * size)
            ws.close()
            self.assertEqual(requests.get(f"http://{url}").text, "hello")
        finally:
            server.stop()


if __name__ == "__main__":
    unittest.main()
