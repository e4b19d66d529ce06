from gevent import monkey

monkey.patch_all()

import threading  # noqa: E402
import time  # noqa: E402
import unittest  # noqa: E402

import gevent  # noqa: E402
import redis  # noqa: E402
from helper import others_go_on, server, together  # noqa: E402

PORT = int(server("REDIS"))


class TestRedis(unittest.TestCase):

    def setUp(self):
        self.redis = redis.Redis(port=PORT)
        self.redis.flushall()
        self.addCleanup(self.redis.close)

    def test_commands(self):
        self.assertTrue(self.redis.set("a", b"1\r\n\0"))
        self.assertEqual(self.redis.get("a"), b"1\r\n\0")
        self.assertEqual(self.redis.incrby("n", 5), 5)

    def test_pool_of_many_greenlets(self):
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
        waiting = [gevent.spawn(self.redis.blpop, "list", 10)
                   for _ in range(10)]
        with others_go_on(5):
            gevent.sleep(0.2)
        self.redis.rpush("list", *range(10))
        gevent.joinall(waiting, timeout=5, raise_error=True)
        self.assertEqual(sorted(int(g.value[1]) for g in waiting),
                         list(range(10)))

    def test_blpop_times_out(self):
        start = time.monotonic()
        self.assertIsNone(self.redis.blpop("none", 1))
        self.assertLess(time.monotonic() - start, 3)

    def test_pubsub(self):
        pubsub = self.redis.pubsub()
        pubsub.subscribe("news")
        seen = []

        def listen():
            for message in pubsub.listen():
                if message["type"] == "message":
                    seen.append(int(message["data"]))
                    if len(seen) == 100:
                        return

        listener = gevent.spawn(listen)
        gevent.sleep(0.1)
        for i in range(100):
            self.redis.publish("news", i)
        listener.get(timeout=5)
        self.assertEqual(seen, list(range(100)))
        pubsub.close()

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

    def test_pipeline_and_transaction(self):
        def add(i):
            with self.redis.pipeline() as pipe:
                while True:
                    try:
                        pipe.watch("sum")
                        value = int(pipe.get("sum") or 0)
                        pipe.multi()
                        pipe.set("sum", value + i)
                        pipe.execute()
                        return
                    except redis.WatchError:
                        continue

        together(add, range(20), 20)
        self.assertEqual(int(self.redis.get("sum")), sum(range(20)))

    def test_big_value(self):
        value = bytes(range(256)) * 40000
        self.redis.set("big", value)
        self.assertEqual(self.redis.get("big"), value)

    def test_socket_timeout(self):
        client = redis.Redis(port=PORT, socket_timeout=0.3, retry=None)
        with self.assertRaises(redis.TimeoutError):
            client.blpop("none", 5)
        self.assertTrue(client.ping())
        client.close()

    def test_killed_while_waiting(self):
        """Nobody gets the answer to the question of one who was killed."""
        waiting = [gevent.spawn(self.redis.blpop, "q", 10) for _ in range(5)]
        gevent.sleep(0.2)
        gevent.killall(waiting)
        for i in range(50):
            self.assertEqual(self.redis.echo(f"x{i}"), f"x{i}".encode())

    def test_lock(self):
        order = []

        def work(i):
            with self.redis.lock("lock", timeout=10, sleep=0.01):
                order.append(("in", i))
                gevent.sleep(0.01)
                order.append(("out", i))

        together(work, range(5), 10)
        for before, after in zip(order[::2], order[1::2], strict=True):
            self.assertEqual((before[0], after[0]), ("in", "out"))
            self.assertEqual(before[1], after[1])


if __name__ == "__main__":
    unittest.main()
