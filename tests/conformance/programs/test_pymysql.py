from gevent import monkey

monkey.patch_all()

import os  # noqa: E402
import time  # noqa: E402
import unittest  # noqa: E402

import gevent  # noqa: E402
import pymysql  # noqa: E402
from helper import others_go_on, server, together  # noqa: E402


def connect(**options):
    return pymysql.connect(unix_socket=server("MARIADB"), user="coir",
                           password="secret", database="coir", **options)


def connect_tcp(**options):
    return pymysql.connect(host="127.0.0.1",
                           port=int(server("MARIADB_PORT")), user="coir",
                           password="secret", database="coir", **options)


class TestPyMySQL(unittest.TestCase):

    def setUp(self):
        self.db = connect_tcp()
        self.addCleanup(self.db.close)
        with self.db.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS t")
            cursor.execute("CREATE TABLE t (id INT PRIMARY KEY, data "
                           "LONGBLOB) ENGINE=InnoDB")

    def test_query(self):
        for db in (self.db, connect()):
            with db.cursor() as cursor:
                cursor.execute("SELECT %s, 'x'", (42,))
                self.assertEqual(cursor.fetchall(), ((42, "x"),))

    def test_many_at_once(self):
        def work(i):
            with connect_tcp() as db, db.cursor() as cursor:
                cursor.execute("SELECT SLEEP(0.5), %s", (i,))
                return cursor.fetchone()[1]

        self.assertEqual(together(work, range(20), 5), list(range(20)))

    def test_insert_and_commit(self):
        with self.db.cursor() as cursor:
            cursor.executemany("INSERT INTO t VALUES (%s, %s)",
                               [(i, b"x" * i) for i in range(500)])
        self.db.commit()
        with connect() as other, other.cursor() as cursor:
            cursor.execute("SELECT COUNT(*), SUM(LENGTH(data)) FROM t")
            self.assertEqual(cursor.fetchone(), (500, sum(range(500))))

    def test_row_lock_between_greenlets(self):
        with self.db.cursor() as cursor:
            cursor.execute("INSERT INTO t VALUES (1, '0')")
        self.db.commit()

        def add(i):
            with connect_tcp() as db, db.cursor() as cursor:
                db.begin()
                cursor.execute("SELECT data FROM t WHERE id=1 FOR UPDATE")
                value = int(cursor.fetchone()[0])
                gevent.sleep(0.01)
                cursor.execute("UPDATE t SET data=%s WHERE id=1",
                               (str(value + 1),))
                db.commit()

        together(add, range(15), 15)
        self.db.commit()
        with self.db.cursor() as cursor:
            cursor.execute("SELECT data FROM t WHERE id=1")
            self.assertEqual(cursor.fetchone(), (b"15",))

    def test_big_blob(self):
        data = os.urandom(3 << 20)
        with self.db.cursor() as cursor:
            cursor.execute("INSERT INTO t VALUES (1, %s)", (data,))
            cursor.execute("SELECT data FROM t")
            self.assertEqual(cursor.fetchone()[0], data)

    def test_read_timeout(self):
        db = connect_tcp(read_timeout=1)
        start = time.monotonic()
        with others_go_on(20), self.assertRaises(pymysql.OperationalError):
            with db.cursor() as cursor:
                cursor.execute("SELECT SLEEP(10)")
        self.assertLess(time.monotonic() - start, 5)

    def test_streamed_rows(self):
        with self.db.cursor() as cursor:
            cursor.executemany("INSERT INTO t VALUES (%s, 'abc')",
                               [(i,) for i in range(3000)])
        with self.db.cursor(pymysql.cursors.SSCursor) as cursor:
            cursor.execute("SELECT id FROM t ORDER BY id")
            self.assertEqual([row[0] for row in cursor], list(range(3000)))

    def test_timeout_of_gevent(self):
        db = connect_tcp()
        with self.assertRaises(gevent.Timeout), gevent.Timeout(0.2):
            with db.cursor() as cursor:
                cursor.execute("SELECT SLEEP(10)")
        with connect_tcp() as other, other.cursor() as cursor:
            cursor.execute("SELECT 1")
            self.assertEqual(cursor.fetchone(), (1,))

    def test_refused(self):
        with self.assertRaises(pymysql.OperationalError):
            pymysql.connect(host="127.0.0.1", port=1, connect_timeout=5)


if __name__ == "__main__":
    unittest.main()
