import eventlet

eventlet.monkey_patch()

import threading  # noqa: E402
import unittest  # noqa: E402

import redis  # noqa: E402
from helper_eventlet import (  # noqa: E402
    Whose,  # noqa: F401
    others_go_on,
    server,
    together,
)

PORT = int(server("REDIS"))


class TestRedis(unittest.TestCase):

    def setUp(self):
        self.redis = redis.Redis(port=PORT)
        self.redis.flushall()
        self.addCleanup(self.redis.close)

    def test_many_green_threads(self):
        def work(i):
            for j in range(20):
                self.redis.set(f"k{i}", f"{i}-{j}")
                assert self.redis.get(f"k{i}") == f"{i}-{j}".encode()
            return i

        self.assertEqual(together(work, range(50), 20), list(range(50)))

    def test_pool_that_blocks(self):
        pool = redis.BlockingConnectionPool(port=PORT, max_connections=3,
                                            timeout=10)
        client = redis.Redis(connection_pool=pool)
        self.assertEqual(together(lambda i: client.echo(str(i)), range(60),
                                  10), [b"%d" % i for i in range(60)])
        pool.disconnect()

    def test_blpop_is_woken(self):
        waiting = [eventlet.spawn(self.redis.blpop, "list", 10)
                   for _ in range(10)]
        with others_go_on(5):
            eventlet.sleep(0.2)
        self.redis.rpush("list", *range(10))
        with eventlet.Timeout(5):
            values = [thread.wait() for thread in waiting]
        self.assertEqual(sorted(int(v[1]) for v in values), list(range(10)))

    def test_pubsub_thread(self):
        seen = threading.Event()
        pubsub = self.redis.pubsub()
        pubsub.subscribe(news=lambda message: seen.set())
        thread = pubsub.run_in_thread(sleep_time=0.01)
        self.redis.publish("news", "x")
        self.assertTrue(seen.wait(5))
        thread.stop()
        thread.join(5)
        self.assertFalse(thread.is_alive())

    def test_socket_timeout(self):
        client = redis.Redis(port=PORT, socket_timeout=0.3, retry=None)
        with self.assertRaises(redis.TimeoutError):
            client.blpop("none", 5)
        self.assertTrue(client.ping())
        client.close()

    def test_big_value(self):
        value = bytes(range(256)) * 40000
        self.redis.set("big", value)
        self.assertEqual(self.redis.get("big"), value)


if __name__ == "__main__":
    unittest.main()
