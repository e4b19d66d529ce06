"""gunicorn's worker for eventlet, in the last releases that have it."""

import concurrent.futures
import os
import pathlib
import signal
import subprocess
import sys
import time
import unittest

import requests
from helper_eventlet import free_port, wait_for

HERE = pathlib.Path(__file__).resolve().parent


class TestGunicorn(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        port = free_port()
        cls.server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--worker-class", "eventlet",
             "--workers", "2", "--bind", f"127.0.0.1:{port}",
             "--graceful-timeout", "5", "--chdir", str(HERE),
             "gunicorn_app:app"], cwd=os.environ["TMPDIR"])
        cls.addClassCleanup(cls.server.wait)
        cls.addClassCleanup(cls.server.kill)
        cls.url = f"http://127.0.0.1:{port}"
        wait_for(port, cls.server)

    def test_whose_eventlet(self):
        file = requests.get(self.url, timeout=10).text
        ours = "eventlet" in os.environ.get("COIR_AS", "")
        self.assertEqual("/coir/eventlet/" in file, ours)

    def test_many_at_once(self):
        start = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(30) as pool:
            answers = list(pool.map(
                lambda i: requests.get(f"{self.url}/slow", timeout=20),
                range(30)))
        self.assertEqual({a.status_code for a in answers}, {200})
        self.assertLess(time.monotonic() - start, 12)

    def test_body(self):
        data = os.urandom(1_000_000)
        answer = requests.post(f"{self.url}/echo", data, timeout=20)
        self.assertEqual(answer.content, data)

    def test_keep_alive(self):
        with requests.Session() as session:
            for _ in range(50):
                self.assertEqual(session.get(self.url, timeout=10)
                                 .status_code, 200)

    def test_z_graceful_end(self):
        """A request that is served is answered when the server is ended."""
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            future = pool.submit(requests.get, f"{self.url}/slow", timeout=20)
            time.sleep(0.5)
            self.server.send_signal(signal.SIGTERM)
            self.assertEqual(future.result().status_code, 200)
        self.assertEqual(self.server.wait(20), 0)


if __name__ == "__main__":
    unittest.main()
