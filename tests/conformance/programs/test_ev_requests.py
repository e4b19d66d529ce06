import eventlet

eventlet.monkey_patch()

import unittest  # noqa: E402

import requests  # noqa: E402
from helper_eventlet import (  # noqa: E402
    Whose,  # noqa: F401
    others_go_on,
    server,
    together,
)

URL = server("HTTP")


class TestRequests(unittest.TestCase):

    def test_get(self):
        answer = requests.get(f"{URL}/hello", timeout=10)
        self.assertEqual(answer.status_code, 200)

    def test_many_at_once(self):
        with requests.Session() as session, others_go_on(5):
            codes = together(
                lambda i: session.get(f"{URL}/slow?seconds=1",
                                      timeout=10).status_code,
                range(20), 8)
        self.assertEqual(codes, [200] * 20)

    def test_timeout(self):
        with self.assertRaises(requests.ReadTimeout):
            requests.get(f"{URL}/slow?seconds=5", timeout=0.3)

    def test_timeout_of_eventlet(self):
        with self.assertRaises(eventlet.Timeout), eventlet.Timeout(0.3):
            requests.get(f"{URL}/slow?seconds=5", timeout=20)

    def test_tls(self):
        for answer in together(
                lambda i: requests.get(f"{server('HTTPS')}/hello", timeout=10,
                                       verify=server("CA")), range(5), 10):
            self.assertEqual(answer.status_code, 200)

    def test_refused(self):
        with self.assertRaises(requests.ConnectionError):
            requests.get("http://127.0.0.1:1/", timeout=5)


if __name__ == "__main__":
    unittest.main()
