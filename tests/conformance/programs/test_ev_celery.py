"""A worker with the pool of eventlet, in a process of its own."""

import os
import pathlib
import subprocess
import sys
import time
import unittest

import celery_app

HERE = pathlib.Path(__file__).resolve().parent


class TestCelery(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.log = open(os.path.join(os.environ["TMPDIR"], "celery.log"), "w+")
        cls.addClassCleanup(cls.log.close)
        cls.worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "--app", "celery_app",
             "--workdir", str(HERE), "worker", "--pool", "eventlet",
             "--concurrency", "100", "--loglevel", "INFO"],
            stdout=cls.log, stderr=cls.log, cwd=os.environ["TMPDIR"],
            env=dict(os.environ, PYTHONPATH=str(HERE)))
        cls.addClassCleanup(cls.stop)
        try:
            celery_app.sleep.delay(0, 0).get(timeout=40)
        except Exception:
            with open(cls.log.name) as file:
                print(file.read())
            raise

    @classmethod
    def stop(cls):
        if cls.worker.poll() is None:
            cls.worker.kill()
            cls.worker.wait()

    def test_01_on_whose_eventlet(self):
        file = celery_app.whose_eventlet.delay().get(timeout=10)
        ours = "eventlet" in os.environ.get("COIR_AS", "")
        self.assertEqual("/coir/eventlet/" in file, ours)

    def test_02_many_at_once(self):
        start = time.monotonic()
        results = [celery_app.sleep.delay(1, i) for i in range(60)]
        self.assertEqual([r.get(timeout=30) for r in results],
                         list(range(60)))
        self.assertLess(time.monotonic() - start, 20)

    def test_03_retry(self):
        self.assertEqual(celery_app.flaky.delay().get(timeout=10), 2)

    def test_04_failure(self):
        with self.assertRaisesRegex(ValueError, "on purpose"):
            celery_app.fail.delay().get(timeout=10)

    def test_05_countdown(self):
        start = time.monotonic()
        result = celery_app.sleep.apply_async((0, "x"), countdown=1)
        self.assertEqual(result.get(timeout=10), "x")
        self.assertGreater(time.monotonic() - start, 0.9)

    def test_06_revoke_and_ping(self):
        result = celery_app.sleep.apply_async((0, "x"), countdown=60)
        result.revoke()
        self.assertTrue(celery_app.app.control.ping(timeout=5))


if __name__ == "__main__":
    unittest.main()
