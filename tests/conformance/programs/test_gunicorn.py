"""gunicorn's workers for gevent, as a process, and behind nginx."""

from gevent import monkey

monkey.patch_all()

import contextlib  # noqa: E402
import pathlib  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import unittest  # noqa: E402

import gevent  # noqa: E402
import requests  # noqa: E402
import serving  # noqa: E402
from helper import together  # noqa: E402
from serving import free_port, running, until  # noqa: E402


def answers(port):
    with contextlib.suppress(OSError):
        return requests.get(f"http://127.0.0.1:{port}/", timeout=10).ok
    return False


class Common:
    worker = ""
    options: tuple = ()

    def setUp(self):
        self.tmp = pathlib.Path(self.enterContext(
            tempfile.TemporaryDirectory()))
        self.log = self.tmp / "log"
        self.access = self.tmp / "access"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()
        until(lambda: answers(self.port), self.log)

    def start(self):
        self.proc = self.enterContext(running(
            serving.gunicorn(
                self.worker, "wsgi_apps:plain", self.port,
                "--graceful-timeout", "20",
                "--access-logfile", str(self.access), *self.options),
            self.log))

    def test_requests(self):
        with requests.Session() as session:
            for size in (0, 100, 500_000):
                answer = session.post(f"{self.url}/echo", data=b"x" * size)
                self.assertEqual(answer.content, b"x" * size)
            answer = session.get(f"{self.url}/stream")
            self.assertEqual(len(answer.text.split()), 1000)
        got = together(lambda i: requests.get(f"{self.url}/slow").text,
                       range(30), 8)
        self.assertEqual(set(got), {"slow"})
        self.assertIn('"POST /echo HTTP/1.1" 200', self.access.read_text())

    def test_graceful_stop(self):
        slow = [gevent.spawn(requests.get, f"{self.url}/slow")
                for _ in range(5)]
        gevent.sleep(0.1)
        self.proc.send_signal(signal.SIGTERM)
        gevent.joinall(slow, raise_error=True)
        self.assertEqual({g.value.text for g in slow}, {"slow"})
        self.assertEqual(self.proc.wait(60), 0)

    def test_reload(self):
        before = requests.get(f"{self.url}/pid").text
        self.proc.send_signal(signal.SIGHUP)

        def is_new():
            with contextlib.suppress(OSError):
                return requests.get(f"{self.url}/pid").text != before
            return False

        until(is_new, self.log)


class TestGevent(Common, unittest.TestCase):
    worker = "gevent"


class TestPywsgi(Common, unittest.TestCase):
    worker = "gevent_pywsgi"


class TestTwoWorkers(Common, unittest.TestCase):
    worker = "gevent"
    options = ("-w", "2", "--max-requests", "1000")


@unittest.skipIf(serving.NGINX is None,
                 "no nginx: install Debian package nginx")
class TestBehindNginx(Common, unittest.TestCase):
    """pywsgi, on a Unix socket."""

    def start(self):
        unix = self.tmp / "socket"
        script = ("from gevent import monkey; monkey.patch_all()\n"
                  "import gevent, signal, socket, sys, wsgi_apps\n"
                  "from gevent.pywsgi import WSGIServer\n"
                  "listener = socket.socket(socket.AF_UNIX)\n"
                  "listener.bind(sys.argv[1])\n"
                  "listener.listen(128)\n"
                  "log = open(sys.argv[2], 'a', buffering=1)\n"
                  "server = WSGIServer(listener, wsgi_apps.plain, log=log,\n"
                  "                    spawn=100)\n"
                  "gevent.signal_handler(signal.SIGTERM, server.stop, 20)\n"
                  "server.serve_forever()\n")
        self.proc = self.enterContext(running(
            [sys.executable, "-c", script, str(unix), str(self.access)],
            self.log))
        until(unix.exists, self.log)
        self.enterContext(serving.nginx(
            self.tmp, self.port, unix, self.log))

    def test_reload(self):
        self.skipTest("is gunicorn's")


if __name__ == "__main__":
    unittest.main()
