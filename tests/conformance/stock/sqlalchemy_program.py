"""SQLAlchemy's greenlet_spawn and await_only, alone and under aiosqlite."""

import asyncio
import contextvars

import greenlet
from sqlalchemy import ForeignKey, func, select
from sqlalchemy.ext.asyncio import (
    AsyncAttrs,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    mapped_column,
    relationship,
)
from sqlalchemy.util import await_only, greenlet_spawn

variable = contextvars.ContextVar("variable", default="unset")


class Base(AsyncAttrs, DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    posts: Mapped[list["Post"]] = relationship(back_populates="user")


class Post(Base):
    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"))
    user: Mapped[User] = relationship(back_populates="posts")


async def answer(value):
    await asyncio.sleep(0)
    if value < 0:
        raise ValueError(value)
    return value * 2


def blocking(n):
    variable.set("set inside")
    try:
        await_only(answer(-1))
    except ValueError as err:
        caught = str(err)
    return sum(await_only(answer(i)) for i in range(n)), caught


async def engine():
    db = create_async_engine("sqlite+aiosqlite://")
    async with db.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    new_session = async_sessionmaker(db, expire_on_commit=False)
    async with new_session() as session:
        for i in range(20):
            session.add(User(name=f"user {i}", posts=[Post(), Post()]))
        await session.commit()
    async with new_session() as session:
        print("count", await session.scalar(select(func.count(Post.id))))
        user = await session.get(User, 7)
        posts = await user.awaitable_attrs.posts
        print("lazy", user.name, len(posts))
        rows = await session.stream_scalars(select(User.id))
        print("stream", sum([i async for i in rows]))
    await db.dispose()


async def main():
    assert greenlet.getcurrent() is not None
    print("spawn", await greenlet_spawn(blocking, 100))
    print("context", variable.get())
    many = await asyncio.gather(
        *(greenlet_spawn(blocking, n) for n in range(200)))
    print("gather", sum(total for total, _ in many))

    task = asyncio.create_task(
        greenlet_spawn(lambda: await_only(asyncio.sleep(60))))
    await asyncio.sleep(0.01)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        print("cancelled")
    await engine()


asyncio.run(main())
