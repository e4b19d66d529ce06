import os

os.environ["PSYCOPG_IMPL"] = "python"

from gevent import monkey  # noqa: E402

monkey.patch_all()

import time  # noqa: E402
import unittest  # noqa: E402

import gevent  # noqa: E402
import psycopg  # noqa: E402
from helper import others_go_on, server, together  # noqa: E402


def connect(**options):
    return psycopg.connect(server("POSTGRESQL"), **options)


class TestPsycopg(unittest.TestCase):

    def setUp(self):
        self.db = connect(autocommit=True)
        self.addCleanup(self.db.close)
        self.db.execute("DROP TABLE IF EXISTS t")
        self.db.execute("CREATE TABLE t (id int PRIMARY KEY, data bytea)")

    def test_pure_python(self):
        self.assertEqual(psycopg.pq.__impl__, "python")

    def test_query(self):
        found = self.db.execute("SELECT %s::int, 'x'", (42,)).fetchall()
        self.assertEqual(found, [(42, "x")])

    def test_many_at_once(self):
        def work(i):
            with connect() as db:
                return db.execute("SELECT pg_sleep(0.5), %s::int",
                                  (i,)).fetchone()[1]

        with others_go_on(20):
            found = together(work, range(20), 6)
        self.assertEqual(found, list(range(20)))

    def test_transactions(self):
        self.db.execute("INSERT INTO t VALUES (1, '0')")

        def add(i):
            with connect() as db:
                value = int(db.execute("SELECT data FROM t WHERE id=1 "
                                       "FOR UPDATE").fetchone()[0])
                gevent.sleep(0.01)
                db.execute("UPDATE t SET data=%s WHERE id=1",
                           (str(value + 1).encode(),))

        together(add, range(15), 15)
        self.assertEqual(self.db.execute("SELECT data FROM t").fetchone(),
                         (b"15",))

    def test_big_value(self):
        data = os.urandom(2 << 20)
        self.db.execute("INSERT INTO t VALUES (1, %b)", (data,))
        self.assertEqual(self.db.execute("SELECT data FROM t").fetchone()[0],
                         data)

    def test_copy(self):
        with self.db.cursor() as cursor:
            with cursor.copy("COPY t (id) FROM STDIN") as copy:
                for i in range(5000):
                    copy.write_row((i,))
            with cursor.copy("COPY t (id) TO STDOUT") as copy:
                rows = [int(row[0]) for row in copy.rows()]
        self.assertEqual(rows, list(range(5000)))

    def test_notifications(self):
        self.db.execute("LISTEN news")

        def send():
            with connect(autocommit=True) as other:
                for i in range(10):
                    other.execute(f"NOTIFY news, '{i}'")

        sender = gevent.spawn(send)
        found = [int(note.payload)
                 for note in self.db.notifies(timeout=5, stop_after=10)]
        self.assertEqual(found, list(range(10)))
        sender.get()

    def test_pipeline(self):
        with self.db.pipeline():
            cursors = [self.db.execute("SELECT %s::int", (i,))
                       for i in range(50)]
        self.assertEqual([c.fetchone()[0] for c in cursors], list(range(50)))

    def test_one_connection_of_many_greenlets(self):
        """Its lock is a threading.Lock."""
        found = together(lambda i: self.db.execute(
            "SELECT pg_sleep(0.01), %s::int", (i,)).fetchone()[1],
            range(20), 10)
        self.assertEqual(found, list(range(20)))

    def test_timeout_of_gevent_and_cancel(self):
        start = time.monotonic()
        with self.assertRaises(gevent.Timeout), gevent.Timeout(0.2):
            self.db.execute("SELECT pg_sleep(10)")
        self.assertLess(time.monotonic() - start, 5)

    def test_statement_timeout(self):
        self.db.execute("SET statement_timeout = '200ms'")
        with self.assertRaises(psycopg.errors.QueryCanceled):
            self.db.execute("SELECT pg_sleep(10)")


if __name__ == "__main__":
    unittest.main()
