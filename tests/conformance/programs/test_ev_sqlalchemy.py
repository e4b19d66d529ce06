import eventlet

eventlet.monkey_patch()

import unittest  # noqa: E402

import pymysql  # noqa: E402
import sqlalchemy as sa  # noqa: E402
from helper_eventlet import (  # noqa: E402
    Whose,  # noqa: F401
    others_go_on,
    server,
    together,
)

PORT = int(server("MARIADB_PORT"))


class TestPyMySQL(unittest.TestCase):

    def connect(self):
        return pymysql.connect(host="127.0.0.1", port=PORT, user="coir",
                               password="secret", database="coir")

    def test_many_at_once(self):
        def work(i):
            with self.connect() as connection:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT SLEEP(0.5), %s", (i,))
                    return cursor.fetchone()[1]

        with others_go_on(5):
            self.assertEqual(together(work, range(20), 8), list(range(20)))

    def test_killed_by_timeout(self):
        with self.connect() as connection, connection.cursor() as cursor:
            with self.assertRaises(eventlet.Timeout), eventlet.Timeout(0.3):
                cursor.execute("SELECT SLEEP(5)")


class TestSQLAlchemy(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.engine = sa.create_engine(
            f"mysql+pymysql://coir:secret@127.0.0.1:{PORT}/coir",
            pool_size=5, max_overflow=0, pool_timeout=20)
        cls.addClassCleanup(cls.engine.dispose)
        cls.meta = sa.MetaData()
        cls.table = sa.Table(
            "ev_numbers", cls.meta,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("value", sa.Integer))
        cls.meta.drop_all(cls.engine)
        cls.meta.create_all(cls.engine)

    def test_pool_is_waited_for(self):
        def work(i):
            with self.engine.begin() as connection:
                connection.execute(sa.text("SELECT SLEEP(0.1)"))
                connection.execute(self.table.insert(),
                                   {"id": i + 1, "value": i * i})

        together(work, range(30), 20)
        with self.engine.connect() as connection:
            rows = connection.execute(
                sa.select(self.table).order_by("id")).all()
        self.assertEqual(rows, [(i + 1, i * i) for i in range(30)])
        self.assertLessEqual(self.engine.pool.checkedin(), 5)


if __name__ == "__main__":
    unittest.main()
