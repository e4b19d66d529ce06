import eventlet

eventlet.monkey_patch()

import unittest  # noqa: E402

import kombu  # noqa: E402
from helper_eventlet import (  # noqa: E402
    Whose,  # noqa: F401
    others_go_on,
    server,
    together,
)

URL = f"amqp://guest:guest@127.0.0.1:{server('RABBITMQ')}//"


class TestKombu(unittest.TestCase):

    def test_queues(self):
        """Requests and answers, over a connection for each green thread."""
        stopped = eventlet.Event()

        def work():
            with kombu.Connection(URL) as connection:
                with connection.SimpleQueue("requests") as requests:
                    while not stopped.ready():
                        try:
                            message = requests.get(timeout=0.5)
                        except requests.Empty:
                            continue
                        number, answers = message.payload
                        with connection.SimpleQueue(answers) as queue:
                            queue.put(number * number)
                        message.ack()

        def ask(i):
            with kombu.Connection(URL) as connection:
                with connection.SimpleQueue("requests") as requests:
                    requests.put([i, f"answers-{i}"])
                with connection.SimpleQueue(f"answers-{i}") as answers:
                    message = answers.get(timeout=20)
                    message.ack()
                    return message.payload

        workers = [eventlet.spawn(work) for _ in range(3)]
        try:
            self.assertEqual(together(ask, range(20), 30),
                             [i * i for i in range(20)])
        finally:
            stopped.send()
            for worker in workers:
                worker.wait()

    def test_waits_for_nothing(self):
        with kombu.Connection(URL) as connection:
            with connection.SimpleQueue("empty") as queue, others_go_on(5):
                with self.assertRaises(queue.Empty):
                    queue.get(timeout=0.5)

    def test_heartbeat(self):
        with kombu.Connection(URL, heartbeat=2) as connection:
            connection.connect()
            for _ in range(4):
                eventlet.sleep(0.5)
                connection.heartbeat_check()
            self.assertTrue(connection.connected)


if __name__ == "__main__":
    unittest.main()
