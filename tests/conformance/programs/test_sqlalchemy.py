from gevent import monkey

monkey.patch_all()

import time  # noqa: E402
import unittest  # noqa: E402

import gevent  # noqa: E402
import sqlalchemy  # noqa: E402
from helper import others_go_on, server, together  # noqa: E402
from sqlalchemy import orm  # noqa: E402

URL = (f"mysql+pymysql://coir:secret@127.0.0.1:{server('MARIADB_PORT')}/coir")


class Base(orm.DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "items"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(sqlalchemy.String(50))


class TestSQLAlchemy(unittest.TestCase):

    def setUp(self):
        self.engine = sqlalchemy.create_engine(
            URL, pool_size=5, max_overflow=0, pool_timeout=10)
        self.addCleanup(self.engine.dispose)
        Base.metadata.drop_all(self.engine)
        Base.metadata.create_all(self.engine)

    def sleep(self, seconds):
        with self.engine.connect() as db:
            return db.scalar(sqlalchemy.text(f"SELECT SLEEP({seconds})"))

    def test_pool_is_shared(self):
        start = time.monotonic()
        with others_go_on(20):
            together(lambda i: self.sleep(0.2), range(20), 6)
        # Five at a time, four times.
        self.assertGreater(time.monotonic() - start, 0.75)
        self.assertLessEqual(self.engine.pool.checkedin(), 5)

    def test_pool_times_out(self):
        engine = sqlalchemy.create_engine(URL, pool_size=1, max_overflow=0,
                                          pool_timeout=0.2)
        with engine.connect(), self.assertRaises(
                sqlalchemy.exc.TimeoutError):
            engine.connect()
        engine.dispose()

    def test_session_of_each_greenlet(self):
        factory = orm.scoped_session(orm.sessionmaker(self.engine))
        sessions = set()

        def add(i):
            session = factory()
            sessions.add(session)
            session.add(Item(id=i, name=f"item {i}"))
            gevent.sleep(0.01)
            assert factory() is session
            session.commit()
            factory.remove()

        together(add, range(1, 31), 15)
        self.assertEqual(len(sessions), 30)
        with orm.Session(self.engine) as session:
            names = session.scalars(
                sqlalchemy.select(Item.name).order_by(Item.id)).all()
        self.assertEqual(names, [f"item {i}" for i in range(1, 31)])

    def test_killed_greenlets_give_connections_back(self):
        greenlets = [gevent.spawn(self.sleep, 5) for _ in range(10)]
        gevent.sleep(0.2)
        gevent.killall(greenlets)
        self.assertEqual(self.engine.pool.checkedout(), 0)
        with self.engine.connect() as db:
            self.assertEqual(
                db.scalar(sqlalchemy.text("SELECT 'mine'")), "mine")

    def test_events_and_threads(self):
        import threading

        seen = []

        def work():
            with self.engine.connect() as db:
                seen.append(db.scalar(sqlalchemy.text("SELECT 1")))

        threads = [threading.Thread(target=work) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(seen, [1] * 10)


if __name__ == "__main__":
    unittest.main()
