from gevent import monkey

monkey.patch_all()

import logging  # noqa: E402
import unittest  # noqa: E402

import requests  # noqa: E402
import wsgi_apps  # noqa: E402
from gevent.pywsgi import WSGIServer  # noqa: E402
from helper import together  # noqa: E402

logging.disable(logging.CRITICAL)


class Common:
    """What each framework is to do on gevent.pywsgi."""

    # Others ignore a body without a Content-Length.
    takes_chunks = False

    def setUp(self):
        self.server = WSGIServer(("127.0.0.1", 0), self.make(), log=None)
        self.server.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.session = requests.Session()

    def tearDown(self):
        self.session.close()
        self.server.stop()

    def test_hello(self):
        for _ in range(20):
            answer = self.session.get(f"{self.url}/hello")
            self.assertEqual((answer.status_code, answer.text),
                             (200, "hello"))
        self.assertEqual(self.session.get(f"{self.url}/none").status_code,
                         404)

    def test_bodies(self):
        for size in (0, 1, 10_000, 1_000_000):
            data = b"x" * size
            answer = self.session.post(f"{self.url}/echo", data=data)
            self.assertEqual(answer.content, data)
        if self.takes_chunks:
            parts = [b"a" * 1000, b"b", b"c" * 100_000]
            answer = self.session.post(f"{self.url}/echo", data=iter(parts))
            self.assertEqual(answer.content, b"".join(parts))

    def test_one_waits_and_the_others_do_not(self):
        answers = together(
            lambda i: requests.get(f"{self.url}/slow").text, range(30), 4)
        self.assertEqual(set(answers), {"slow"})


class TestPlain(Common, unittest.TestCase):
    takes_chunks = True

    def make(self):
        return wsgi_apps.plain

    def test_hello(self):
        self.assertEqual(self.session.get(f"{self.url}/").text, "hello")
        answer = self.session.get(f"{self.url}/stream")
        self.assertEqual(len(answer.text.split()), 1000)


class TestFlask(Common, unittest.TestCase):
    takes_chunks = True

    def make(self):
        return wsgi_apps.flask()

    def test_more(self):
        answer = self.session.post(f"{self.url}/json",
                                   json={"numbers": [1, 2, 3]})
        self.assertEqual(answer.json(), {"sum": 6})
        answer = self.session.post(
            f"{self.url}/upload", data={"name": "n"},
            files={"file": ("f.bin", b"z" * 300_000)})
        self.assertEqual(answer.text, "f.bin 300000 n")
        answer = self.session.get(f"{self.url}/stream")
        self.assertEqual(answer.text.split(), [str(i) for i in range(100)])
        self.assertEqual(self.session.get(f"{self.url}/fails").status_code,
                         500)
        self.assertEqual(self.session.head(f"{self.url}/hello").text, "")
        self.assertEqual(self.session.get(f"{self.url}/hello").text, "hello")


class TestBottle(Common, unittest.TestCase):
    def make(self):
        return wsgi_apps.bottle()


class TestDjango(Common, unittest.TestCase):
    def make(self):
        return wsgi_apps.django()

    def test_stream(self):
        answer = self.session.get(f"{self.url}/stream")
        self.assertEqual(answer.text.split(), [str(i) for i in range(100)])


if __name__ == "__main__":
    unittest.main()
