from gevent import monkey

monkey.patch_all()

import time  # noqa: E402
import unittest  # noqa: E402

import gevent  # noqa: E402
import urllib3  # noqa: E402
from helper import others_go_on, server, together  # noqa: E402

HTTP = server("HTTP")
HTTPS = server("HTTPS")
CA = server("CA")


class TestUrllib3(unittest.TestCase):

    def test_pool_that_blocks(self):
        with urllib3.PoolManager(maxsize=5, block=True) as manager:
            start = time.monotonic()
            answers = together(
                lambda i: manager.request("GET", f"{HTTP}/slow?seconds=0.1"),
                range(30), 8)
            self.assertEqual({a.data for a in answers}, {b"slow"})
            # Five at a time, six times.
            self.assertGreater(time.monotonic() - start, 0.55)
            pool = manager.connection_from_url(HTTP)
            self.assertLessEqual(pool.num_connections, 5)

    def test_connections_are_kept(self):
        with urllib3.PoolManager() as manager:
            for _ in range(50):
                manager.request("GET", f"{HTTP}/hello")
            pool = manager.connection_from_url(HTTP)
            self.assertEqual(pool.num_connections, 1)
            self.assertEqual(pool.num_requests, 50)

    def test_retries(self):
        retries = urllib3.Retry(total=5, status_forcelist=[503],
                                backoff_factor=0.01)
        with urllib3.PoolManager(retries=retries) as manager:
            url = f"{HTTP}/fails?key={time.monotonic_ns()}&times=3"
            self.assertEqual(manager.request("GET", url).status, 200)

    def test_timeouts(self):
        with urllib3.PoolManager(retries=False) as manager:
            with others_go_on(10), self.assertRaises(
                    urllib3.exceptions.ReadTimeoutError):
                manager.request("GET", f"{HTTP}/slow?seconds=3",
                                timeout=urllib3.Timeout(read=0.3))
            # A connection that timed out must not be used again.
            self.assertEqual(
                manager.request("GET", f"{HTTP}/hello").data, b"hello")

    def test_waits_for_a_connection(self):
        host, port = HTTP.removeprefix("http://").split(":")
        pool = urllib3.HTTPConnectionPool(host, int(port), maxsize=1,
                                          block=True)
        greenlet = gevent.spawn(pool.request, "GET", "/slow?seconds=1")
        gevent.sleep(0.1)
        with self.assertRaises(urllib3.exceptions.EmptyPoolError):
            pool.request("GET", "/hello", pool_timeout=0.1, retries=False)
        self.assertEqual(greenlet.get().data, b"slow")

    def test_stream(self):
        with urllib3.PoolManager() as manager:
            answer = manager.request("GET", f"{HTTP}/big?size={1 << 20}",
                                     preload_content=False)
            self.assertEqual(sum(map(len, answer.stream(10000))), 1 << 20)
            answer.release_conn()

    def test_tls(self):
        with urllib3.PoolManager(ca_certs=CA, maxsize=20) as manager:
            answers = together(
                lambda i: manager.request("GET", f"{HTTPS}/slow?seconds=0.2"),
                range(20), 8)
            self.assertEqual({a.data for a in answers}, {b"slow"})


if __name__ == "__main__":
    unittest.main()
