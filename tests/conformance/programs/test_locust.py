"""Locust without its web interface, as its command runs."""

import json
import os
import pathlib
import subprocess
import sys
import unittest

from helper import server

HERE = pathlib.Path(__file__).resolve().parent


def locust(*args, status=0):
    done = subprocess.run(
        [sys.executable, "-m", "locust", "-f", str(HERE / "locustfile.py"),
         "--headless", "--host", server("HTTP"), *args],
        capture_output=True, text=True, timeout=60,
        cwd=os.environ["TMPDIR"])
    assert done.returncode == status, done.stdout + done.stderr
    return done


class TestLocust(unittest.TestCase):

    def test_headless(self):
        done = locust("--users", "40", "--spawn-rate", "40", "--run-time",
                      "4s", "--stop-timeout", "2", "--json")
        stats = json.loads(done.stdout)
        names = {entry["name"] for entry in stats}
        self.assertEqual(names, {"/hello", "/slow?seconds=0.1"})
        for entry in stats:
            self.assertEqual(entry["num_failures"], 0, done.stderr)
            self.assertGreater(entry["num_requests"], 50)

    def test_master_and_workers(self):
        done = locust("--users", "10", "--spawn-rate", "10", "--run-time",
                      "3s", "--processes", "2", "--stop-timeout", "2",
                      "--csv", "stats")
        text = pathlib.Path(os.environ["TMPDIR"],
                            "stats_stats.csv").read_text()
        total = text.strip().splitlines()[-1].split(",")
        self.assertEqual(total[1], "Aggregated")
        self.assertGreater(int(total[2]), 20, done.stderr)
        self.assertEqual(int(total[3]), 0, done.stderr)

    def test_failures_are_counted(self):
        done = subprocess.run(
            [sys.executable, "-m", "locust", "-f",
             str(HERE / "locustfile.py"), "--headless", "--host",
             "http://127.0.0.1:1", "--users", "2", "--run-time", "2s",
             "--json"],
            capture_output=True, text=True, timeout=60,
            cwd=os.environ["TMPDIR"])
        self.assertEqual(done.returncode, 1, done.stderr)
        for entry in json.loads(done.stdout):
            self.assertEqual(entry["num_failures"], entry["num_requests"])


if __name__ == "__main__":
    unittest.main()
