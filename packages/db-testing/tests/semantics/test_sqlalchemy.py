"""SQLAlchemy's engine, events and sessions."""

# what a driver takes and returns is whatever it is
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import event, inspect, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from .table import attempt, same

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import World

AREA = "SQLAlchemy"


class Base(DeclarativeBase):
    """The mapping of the table that is always there."""


class Item(Base):
    """Its rows."""

    __tablename__ = "item"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    n: Mapped[int] = mapped_column(default=0)


@same(gives=["begin", "commit", "begin", "rollback", "begin", "savepoint", "release", "commit"])
async def test_engine_events(w: World) -> object:
    """The engine's begin, commit, rollback and savepoint events."""
    heard: list[str] = []

    def hear(name: str) -> Callable[..., None]:
        return lambda *_: heard.append(name)

    target = w.engine.sync_engine
    for name in ("begin", "commit", "rollback", "savepoint"):
        event.listen(target, name, hear(name))
    event.listen(target, "release_savepoint", hear("release"))
    async with w.engine.begin() as connection:
        await connection.execute(text("SELECT 1"))
    async with w.engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    async with w.engine.begin() as connection, connection.begin_nested():
        await connection.execute(text("SELECT 1"))
    return heard


@same(gives=["before_commit", "after_flush", "after_commit", "after_rollback"])
async def test_session_events(w: World) -> object:
    """The session's flush, commit and rollback events."""
    heard: list[str] = []

    def hear(name: str) -> Callable[..., None]:
        return lambda *_: heard.append(name)

    async with w.session() as session:
        for name in ("before_commit", "after_flush", "after_commit", "after_rollback"):
            event.listen(session.sync_session, name, hear(name))
        session.add(Item(name="a"))
        await session.commit()
        await session.execute(text("SELECT 1"))
        await session.rollback()
    return heard


@same(gives=[True, False])
async def test_expire_on_commit(w: World) -> object:
    """expire_on_commit."""
    found = []
    for expire in (True, False):
        async with w.session(expire_on_commit=expire) as session:
            item = Item(name=str(expire))
            session.add(item)
            await session.commit()
            state: Any = inspect(item)
            found.append(state.expired)
    return found


@same(gives=[0, 0, 1])
async def test_identity_maps(w: World) -> object:
    """Two sessions' identity maps: a session keeps what it has read until it is told otherwise."""
    async with w.session() as one, w.session(expire_on_commit=False) as two:
        one.add(Item(name="a"))
        await one.commit()
        item = await two.get_one(Item, 1)
        found = [item.n]
        await two.commit()
        other = await one.get_one(Item, 1)
        other.n = 1
        await one.commit()
        found.append((await two.get_one(Item, 1)).n)
        await two.refresh(item)
        return [*found, item.n]


@same(gives=["IntegrityError", ["a", "c"]])
async def test_begin_nested(w: World) -> object:
    """begin_nested() around what may fail."""
    async with w.session() as session:
        session.add(Item(name="a"))

        async def add(name: str) -> None:
            async with session.begin_nested():
                session.add(Item(name=name))

        failed = await attempt(add("a"))
        await add("c")
        await session.commit()
        names = await session.execute(text("SELECT array_agg(name ORDER BY name) FROM item"))
        return [failed, names.scalar_one()]


@same(gives=["IntegrityError", ["a"]])
async def test_failed_flush(w: World) -> object:
    """A failed flush rolls back, and a session that is rolled back goes on."""
    async with w.session() as session:
        session.add(Item(name="a"))
        await session.commit()
        session.add(Item(name="a"))
        failed = await attempt(session.commit())
        await session.rollback()
        names = await session.execute(text("SELECT array_agg(name) FROM item"))
        return [failed, names.scalar_one()]


@same(gives=[1, "a"])
async def test_stream(w: World) -> object:
    """Streaming results, by a cursor on the server."""
    async with w.session() as session:
        session.add(Item(name="a"))
        await session.commit()
        result = await session.stream_scalars(text("SELECT name FROM item"))
        names = [name async for name in result]
        return [len(names), names[0]]
