"""SQLAlchemy's sessions, connections and transactions, several at a time, on one wire."""

# ruff: noqa: ANN401  # what a driver takes and returns is whatever it is
from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError, InvalidRequestError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

    from db_testing._sandbox._sandbox import Sandbox

INSERT = text("INSERT INTO author (name, notes) VALUES (:name, '{}')")
NAMES = text("SELECT name FROM author ORDER BY name")


class Base(DeclarativeBase):
    """The tables of the tests, as these tests use them."""

    type_annotation_map = {dict[str, Any]: JSONB}  # noqa: RUF012  # as SQLAlchemy declares it


class Person(Base):
    """The table `author`."""

    __tablename__ = "author"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    notes: Mapped[dict[str, Any]] = mapped_column(default=dict)


async def names(session: AsyncSession) -> list[str]:
    """Return the names of all authors."""
    return list((await session.execute(NAMES)).scalars())


async def test_committed_rows_are_seen_by_another_session(
    sessions: async_sessionmaker[AsyncSession],
) -> None:
    """What one session commits, the next sees."""
    async with sessions.begin() as one:
        await one.execute(INSERT, {"name": "a"})
    async with sessions() as other:
        assert await names(other) == ["a"]


async def test_rolled_back_rows_are_gone(sessions: async_sessionmaker[AsyncSession]) -> None:
    """A rollback undoes its own session and no other."""
    async with sessions() as session:
        await session.execute(INSERT, {"name": "kept"})
        await session.commit()
        await session.execute(INSERT, {"name": "lost"})
        await session.rollback()
        assert await names(session) == ["kept"]


async def test_a_session_goes_on_after_its_commit(
    sessions: async_sessionmaker[AsyncSession],
) -> None:
    """One session has as many transactions as it likes."""
    async with sessions() as session:
        for name in "abc":
            await session.execute(INSERT, {"name": name})
            await session.commit()
        assert await names(session) == ["a", "b", "c"]


async def test_closing_rolls_back(sessions: async_sessionmaker[AsyncSession]) -> None:
    """A session that is closed without a commit leaves nothing."""
    async with sessions() as session:
        await session.execute(INSERT, {"name": "a"})
    async with sessions() as session:
        assert await names(session) == []


async def test_engine_begin(engine: AsyncEngine) -> None:
    """`engine.begin()` commits, and rolls back on an exception."""
    async with engine.begin() as connection:
        await connection.execute(INSERT, {"name": "kept"})
    with pytest.raises(ZeroDivisionError):  # noqa: PT012  # the end of the block is the point
        async with engine.begin() as connection:
            await connection.execute(INSERT, {"name": "lost"})
            raise ZeroDivisionError
    async with engine.connect() as connection:
        assert list((await connection.execute(NAMES)).scalars()) == ["kept"]


async def test_three_nested_savepoints(sessions: async_sessionmaker[AsyncSession]) -> None:
    """Each level of `begin_nested` is undone alone, whatever is inside it with it."""
    async with sessions.begin() as session:
        await session.execute(INSERT, {"name": "outer"})
        async with session.begin_nested():
            await session.execute(INSERT, {"name": "first"})
            second = await session.begin_nested()
            await session.execute(INSERT, {"name": "second"})
            async with session.begin_nested():
                await session.execute(INSERT, {"name": "third"})
            assert await names(session) == ["first", "outer", "second", "third"]
            await second.rollback()
            await session.execute(INSERT, {"name": "after"})
    async with sessions() as session:
        assert await names(session) == ["after", "first", "outer"]


async def test_a_violation_inside_a_savepoint(sessions: async_sessionmaker[AsyncSession]) -> None:
    """The usual get-or-create: the savepoint fails, the transaction goes on."""
    async with sessions.begin() as session:
        await session.execute(INSERT, {"name": "a"})
        with pytest.raises(IntegrityError):
            async with session.begin_nested():
                await session.execute(INSERT, {"name": "a"})
        await session.execute(INSERT, {"name": "b"})
    async with sessions() as session:
        assert await names(session) == ["a", "b"]


async def test_savepoints_of_an_outer_rollback(sessions: async_sessionmaker[AsyncSession]) -> None:
    """A rollback takes the released savepoints inside it along."""
    async with sessions() as session:
        async with session.begin_nested():
            await session.execute(INSERT, {"name": "a"})
        await session.rollback()
        assert await names(session) == []


async def test_autocommit(engine: AsyncEngine) -> None:
    """Under AUTOCOMMIT each statement is kept, and an error undoes only its own."""
    async with engine.connect() as connection:
        connection = await connection.execution_options(isolation_level="AUTOCOMMIT")  # noqa: PLW2901
        await connection.execute(INSERT, {"name": "a"})
        with pytest.raises(IntegrityError):
            await connection.execute(INSERT, {"name": "a"})
        await connection.execute(INSERT, {"name": "b"})
    async with engine.connect() as connection:
        assert list((await connection.execute(NAMES)).scalars()) == ["a", "b"]


async def test_two_sessions_in_one_task(sessions: async_sessionmaker[AsyncSession]) -> None:
    """Open transactions of one task do not wait for each other, and each commits its own."""
    async with sessions() as one, sessions() as other:
        await one.execute(INSERT, {"name": "one"})
        await other.execute(INSERT, {"name": "other"})
        await other.commit()
        await one.execute(INSERT, {"name": "one more"})
        await one.commit()
        assert await names(other) == ["one", "one more", "other"]


async def test_gathered_sessions(sessions: async_sessionmaker[AsyncSession]) -> None:
    """Sessions under gather commit and roll back as if each had run alone."""

    async def work(number: int) -> None:
        async with sessions() as session:
            await session.execute(NAMES)
            for step in range(3):
                await session.execute(INSERT, {"name": f"{number}.{step}"})
            await (session.rollback() if number % 2 else session.commit())

    await asyncio.gather(*(work(number) for number in range(8)))
    async with sessions() as session:
        assert await names(session) == [f"{n}.{step}" for n in (0, 2, 4, 6) for step in range(3)]


async def test_task_group_inside_an_open_transaction(
    sessions: async_sessionmaker[AsyncSession],
) -> None:
    """Tasks started by the holder of the turn see its rows, and do not wait for it."""
    async with sessions() as outer:
        await outer.execute(INSERT, {"name": "outer"})

        async def work(number: int) -> list[str]:
            async with sessions.begin() as session:
                seen = await names(session)
                await session.execute(INSERT, {"name": f"inner {number}"})
            return seen

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work(number)) for number in range(3)]
        await outer.commit()
        assert all("outer" in task.result() for task in tasks)
        assert await names(outer) == ["inner 0", "inner 1", "inner 2", "outer"]


async def test_a_failing_task_group(sessions: async_sessionmaker[AsyncSession]) -> None:
    """A task that fails cancels its siblings, and what each had not committed is undone."""
    written = asyncio.Event()

    async def hold() -> None:
        async with sessions.begin() as session:
            await session.execute(INSERT, {"name": "held"})
            written.set()
            await asyncio.Event().wait()

    async def fail() -> None:
        await written.wait()
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup):  # noqa: PT012  # the end of the block is the point
        async with asyncio.TaskGroup() as group:
            group.create_task(hold())
            group.create_task(fail())
    async with sessions() as session:
        assert await names(session) == []


async def test_streaming(sessions: async_sessionmaker[AsyncSession]) -> None:
    """A server-side cursor goes on while another session reads and writes."""
    async with sessions.begin() as session:
        await session.execute(INSERT, [{"name": f"{n:03}"} for n in range(120)])
    seen = []
    async with sessions() as reader, sessions() as writer:
        rows = await reader.stream(NAMES.execution_options(yield_per=10))
        async for row in rows.scalars():
            seen.append(row)
            if len(seen) in (15, 35):
                await writer.execute(INSERT, {"name": f"x{len(seen)}"})
                await writer.commit()
    assert seen == [f"{n:03}" for n in range(120)]


async def test_executemany(sessions: async_sessionmaker[AsyncSession]) -> None:
    """Many parameter sets are one statement: kept together or not at all."""
    async with sessions() as session:
        await session.execute(INSERT, [{"name": "a"}, {"name": "b"}])
        await session.commit()
        with pytest.raises(IntegrityError):
            await session.execute(INSERT, [{"name": "c"}, {"name": "a"}])
        await session.rollback()
        assert await names(session) == ["a", "b"]


async def test_insertmanyvalues(sessions: async_sessionmaker[AsyncSession]) -> None:
    """The unit of work's bulk insert returns ids that the rows really have."""
    async with sessions() as session:
        people = [Person(name=f"{number:04}") for number in range(1500)]
        session.add_all(people)
        await session.commit()
        found = (await session.execute(select(Person.id, Person.name))).all()
    assert {person.id: person.name for person in people} == {row.id: row.name for row in found}


async def test_jsonb_over_several_connections(sessions: async_sessionmaker[AsyncSession]) -> None:
    """Every connection of the pool converts JSONB, whichever set the codec first."""
    async with sessions.begin() as session:
        session.add(Person(name="a", notes={"deep": [1, {"x": None}]}))

    async def read() -> dict[str, Any]:
        async with sessions() as session:
            notes: dict[str, Any] = (await session.execute(select(Person.notes))).scalar_one()
            return notes

    assert await asyncio.gather(*(read() for _ in range(5))) == [{"deep": [1, {"x": None}]}] * 5


async def test_one_wire(sandbox: Sandbox, engine: AsyncEngine) -> None:
    """Sessions that start at the same moment share one connection, also the first of a run."""

    async def pid() -> Any:
        async with engine.connect() as connection:
            return (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()

    assert len(set(await asyncio.gather(*(pid() for _ in range(6))))) == 1


async def test_engine_events(engine: AsyncEngine) -> None:
    """The engine's commit and rollback events fire as in production."""
    seen: list[str] = []
    event.listen(engine.sync_engine, "commit", lambda _: seen.append("commit"))
    event.listen(engine.sync_engine, "rollback", lambda _: seen.append("rollback"))
    async with engine.begin() as connection:
        await connection.execute(INSERT, {"name": "a"})
    async with engine.connect() as connection:
        await connection.execute(INSERT, {"name": "b"})
    assert seen == ["commit", "rollback"]


async def test_savepoints_in_raw_sql(engine: AsyncEngine) -> None:
    """SAVEPOINT, ROLLBACK TO and RELEASE sent as text are the transaction's own."""
    async with engine.begin() as connection:
        await connection.execute(text('SAVEPOINT "A b" -- traced'))
        await connection.execute(INSERT, {"name": "lost"})
        await connection.execute(text('ROLLBACK TO SAVEPOINT "A b" /* traced */'))
        await connection.execute(INSERT, {"name": "kept"})
        await connection.execute(text('RELEASE "A b"'))
    async with engine.connect() as connection:
        assert list((await connection.execute(NAMES)).scalars()) == ["kept"]


async def test_prepared_statements_of_the_pool_survive_a_test(
    sandbox: Sandbox, sessions: async_sessionmaker[AsyncSession]
) -> None:
    """The pool's connections and their statements are used again in the next test."""
    for name in ("first", "second"):
        async with sessions.begin() as session:
            session.add(Person(name="a"))
        await sandbox.end_test()
        sandbox.begin_test(name)
    async with sessions() as session:
        assert await names(session) == []


async def test_prepared_statements_of_the_pool_survive_a_new_wire(
    sandbox: Sandbox, sessions: async_sessionmaker[AsyncSession]
) -> None:
    """When the wire is replaced, the pool's connections prepare their statements again."""
    pids = set()
    for name in ("first", "second"):
        async with sessions.begin() as session:
            session.add(Person(name="a"))
            await session.flush()
            pids.add((await session.execute(text("SELECT pg_backend_pid()"))).scalar_one())
            await session.execute(text("DEALLOCATE db_testing_reset"))
        await sandbox.end_test()
        sandbox.begin_test(name)
    assert len(pids) == 2


async def test_a_closed_transaction_of_sqlalchemy(
    sessions: async_sessionmaker[AsyncSession],
) -> None:
    """SQLAlchemy's own checks are met as ever."""
    async with sessions() as session:
        nested = await session.begin_nested()
        await nested.commit()
        with pytest.raises(InvalidRequestError):
            await nested.rollback()


async def test_pre_ping_takes_no_turn(
    sandbox: Sandbox, engine: AsyncEngine, sessions: async_sessionmaker[AsyncSession]
) -> None:
    """SQLAlchemy's ping is a reader."""
    async with sessions() as holder:
        await holder.execute(NAMES)
        async with engine.connect() as connection:
            raw = await connection.get_raw_connection()
            await connection.run_sync(lambda _: raw.dbapi_connection.ping())  # type: ignore[union-attr]
        await holder.execute(INSERT, {"name": "a"})
        await holder.commit()
    async with sessions() as session:
        assert await names(session) == ["a"]
