"""A worker with the pool of gevent, in a process of its own."""

import os
import pathlib
import signal
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
        cls.worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "--app", "celery_app",
             "--workdir", str(HERE), "worker", "--pool", "gevent",
             "--concurrency", "100", "--loglevel", "INFO"],
            stdout=cls.log, stderr=cls.log, cwd=os.environ["TMPDIR"],
            env=dict(os.environ, PYTHONPATH=str(HERE)))
        cls.addClassCleanup(cls.stop)
        try:
            celery_app.sleep.delay(0, 0).get(timeout=40)
        except Exception:
            print(cls.output())
            raise

    @classmethod
    def stop(cls):
        if cls.worker.poll() is None:
            cls.worker.kill()
            cls.worker.wait()

    @classmethod
    def output(cls):
        with open(cls.log.name) as file:
            return file.read()

    def test_01_on_whose_gevent(self):
        file = celery_app.whose.delay().get(timeout=10)[0]
        import gevent

        self.assertEqual(file, gevent.__file__)

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

    def test_06_inspect(self):
        stats = celery_app.app.control.inspect(timeout=5).stats()
        [worker] = stats.values()
        self.assertIn("gevent", worker["pool"]["implementation"])

    def test_07_revoke(self):
        result = celery_app.sleep.apply_async((0, "x"), countdown=60)
        result.revoke()
        self.assertTrue(celery_app.app.control.ping(timeout=2))

    def test_08_warm_shutdown(self):
        results = [celery_app.sleep.delay(1, i) for i in range(10)]
        time.sleep(0.5)
        self.worker.send_signal(signal.SIGTERM)
        status = self.worker.wait(30)
        self.assertEqual(status, 0, self.output())
        self.assertEqual([r.get(timeout=10) for r in results],
                         list(range(10)))


if __name__ == "__main__":
    unittest.main()
