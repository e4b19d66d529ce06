from gevent import monkey

monkey.patch_all()

import hashlib  # noqa: E402
import io  # noqa: E402
import os  # noqa: E402
import time  # noqa: E402
import unittest  # noqa: E402

import gevent  # noqa: E402
import gevent.pool  # noqa: E402
import requests  # noqa: E402
from helper import others_go_on, server, together  # noqa: E402

HTTP = server("HTTP")
HTTPS = server("HTTPS")
CA = server("CA")


class TestRequests(unittest.TestCase):

    def test_get(self):
        answer = requests.get(f"{HTTP}/hello", timeout=5)
        self.assertEqual((answer.status_code, answer.text), (200, "hello"))

    def test_many_at_once(self):
        answers = together(
            lambda i: requests.get(f"{HTTP}/slow?seconds=0.3", timeout=10),
            range(50), 5)
        self.assertEqual({answer.text for answer in answers}, {"slow"})

    def test_one_session_of_many_greenlets(self):
        with requests.Session() as session:
            session.mount("http://", requests.adapters.HTTPAdapter(
                pool_maxsize=5, pool_block=True))
            pool = gevent.pool.Pool(20)
            texts = pool.map(
                lambda i: session.get(f"{HTTP}/hello", timeout=5).text,
                range(200))
        self.assertEqual(texts, ["hello"] * 200)

    def test_big_body_as_a_stream(self):
        size = 8 << 20
        want = hashlib.sha256(bytes(range(256)) * (size // 256)).hexdigest()

        def fetch(i):
            digest = hashlib.sha256()
            with requests.get(f"{HTTP}/big?size={size}", stream=True,
                              timeout=20) as answer:
                for part in answer.iter_content(50000):
                    digest.update(part)
            return digest.hexdigest()

        self.assertEqual(together(fetch, range(4), 30), [want] * 4)

    def test_chunks(self):
        answer = requests.get(f"{HTTP}/chunked?count=500", stream=True,
                              timeout=5)
        self.assertEqual([int(line) for line in answer.iter_lines()],
                         list(range(500)))

    def test_upload(self):
        data = os.urandom(3 << 20)
        want = hashlib.sha256(data).hexdigest()
        self.assertEqual(requests.post(HTTP, data=data, timeout=20).text, want)
        self.assertEqual(
            requests.post(HTTP, data=io.BytesIO(data), timeout=20).text, want)

    def test_read_timeout(self):
        with others_go_on(10), self.assertRaises(
                requests.exceptions.ReadTimeout):
            requests.get(f"{HTTP}/slow?seconds=3", timeout=0.3)

    def test_gevent_timeout(self):
        start = time.monotonic()
        with self.assertRaises(gevent.Timeout), gevent.Timeout(0.2):
            requests.get(f"{HTTP}/slow?seconds=3", timeout=10)
        self.assertLess(time.monotonic() - start, 1.5)

    def test_kill_leaves_the_session_usable(self):
        with requests.Session() as session:
            greenlets = [
                gevent.spawn(session.get, f"{HTTP}/slow?seconds=2",
                             timeout=10) for _ in range(10)]
            gevent.sleep(0.2)
            gevent.killall(greenlets)
            self.assertEqual(session.get(f"{HTTP}/hello", timeout=5).text,
                             "hello")

    def test_refused(self):
        with self.assertRaises(requests.exceptions.ConnectionError):
            requests.get("http://127.0.0.1:1/", timeout=5)

    def test_redirect(self):
        answer = requests.get(f"{HTTP}/redirect", timeout=5)
        self.assertEqual(answer.text, "hello")
        self.assertEqual(len(answer.history), 1)

    def test_tls(self):
        texts = together(
            lambda i: requests.get(f"{HTTPS}/slow?seconds=0.2", verify=CA,
                                   timeout=10).text, range(20), 8)
        self.assertEqual(texts, ["slow"] * 20)

    def test_tls_big_body(self):
        size = 4 << 20
        body = requests.get(f"{HTTPS}/big?size={size}", verify=CA,
                            timeout=20).content
        self.assertEqual(body, bytes(range(256)) * (size // 256))

    def test_tls_not_trusted(self):
        with self.assertRaises(requests.exceptions.SSLError):
            requests.get(HTTPS, timeout=5)


if __name__ == "__main__":
    unittest.main()
