"""An error poisons its own transaction, as far as production would, and no other (invariant 3)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

    from db_testing._sandbox._sandbox import Sandbox
    from db_testing._sandbox._virtual import VirtualConnection

    Connect = Callable[[], VirtualConnection]

INSERT = "INSERT INTO author (name, notes) VALUES ($1, '{}')"
NAMES = "SELECT array_agg(name ORDER BY name) FROM author"


async def test_a_failed_transaction_refuses_statements(connect: Connect) -> None:
    """After an error each statement is ignored until the rollback."""
    connection = connect()
    transaction = connection.transaction()
    await transaction.start()
    with pytest.raises(asyncpg.DivisionByZeroError):
        await connection.fetchval("SELECT 1/0")
    for _ in range(2):
        with pytest.raises(asyncpg.InFailedSQLTransactionError, match="transaction is aborted"):
            await connection.fetchval("SELECT 1")
    with pytest.raises(asyncpg.InFailedSQLTransactionError):
        await connection.execute("SAVEPOINT a")
    await transaction.rollback()
    assert await connection.fetchval("SELECT 1") == 1


async def test_a_failed_transaction_is_rolled_back_by_its_commit(connect: Connect) -> None:
    """COMMIT of a failed transaction is a rollback, and no error."""
    connection = connect()
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(INSERT, "a")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await connection.fetchval("SELECT 1/0")
    await transaction.commit()
    assert await connect().fetchval(NAMES) is None


async def test_a_failed_reader_is_committed(connect: Connect) -> None:
    """Nor does the failure of a transaction that only read outlive its commit."""
    connection = connect()
    transaction = connection.transaction()
    await transaction.start()
    with pytest.raises(asyncpg.DivisionByZeroError):
        await connection.fetchval("SELECT 1/0")
    await transaction.commit()
    await connect().execute(INSERT, "a")
    assert await connection.fetchval(NAMES) == ["a"]


async def test_rollback_to_a_savepoint_heals(connect: Connect) -> None:
    """A rollback to a savepoint makes a failed transaction usable, what it wrote before stays."""
    connection = connect()
    async with connection.transaction():
        await connection.execute(INSERT, "a")
        await connection.execute("SAVEPOINT s")
        await connection.execute(INSERT, "b")
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute(INSERT, "a")
        with pytest.raises(asyncpg.InFailedSQLTransactionError):
            await connection.execute("RELEASE s")
        await connection.execute("ROLLBACK TO s")
        await connection.execute(INSERT, "c")
    assert await connection.fetchval(NAMES) == ["a", "c"]


async def test_an_unknown_savepoint_aborts(connect: Connect) -> None:
    """ROLLBACK TO an unknown savepoint is an error like any other."""
    connection = connect()
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(INSERT, "a")
    with pytest.raises(
        asyncpg.InvalidSavepointSpecificationError, match='savepoint "s" does not exist'
    ):
        await connection.execute("ROLLBACK TO s")
    with pytest.raises(asyncpg.InFailedSQLTransactionError):
        await connection.fetchval("SELECT 1")
    await transaction.rollback()
    assert await connection.fetchval(NAMES) is None


async def test_a_wrong_argument_does_not_abort(connect: Connect) -> None:
    """An error that the driver finds before it sends anything aborts nothing."""
    connection = connect()
    async with connection.transaction():
        await connection.execute(INSERT, "a")
        with pytest.raises(asyncpg.DataError, match="invalid input for query argument"):
            await connection.execute(INSERT, 42)
        await connection.execute(INSERT, "b")
    assert await connection.fetchval(NAMES) == ["a", "b"]


async def test_too_few_arguments_do_not_abort(connect: Connect) -> None:
    """Nor does a call with the wrong number of arguments."""
    connection = connect()
    async with connection.transaction():
        with pytest.raises(asyncpg.InterfaceError, match="the server expects 1 argument"):
            await connection.execute(INSERT, "a", "b")
        await connection.execute(INSERT, "a")
    assert await connection.fetchval(NAMES) == ["a"]


async def test_a_statement_alone_fails_alone(connect: Connect) -> None:
    """Outside of transactions an error undoes its statement and nothing else."""
    connection = connect()
    await connection.execute(INSERT, "a")
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute(INSERT, "a")
    await connection.execute(INSERT, "b")
    assert await connection.fetchval(NAMES) == ["a", "b"]


async def test_others_work_while_one_is_aborted(connect: Connect) -> None:
    """A second connection reads, writes and commits while the first is aborted."""
    failed, other = connect(), connect()
    transaction = failed.transaction()
    await transaction.start()
    await failed.fetchval("SELECT 1")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await failed.fetchval("SELECT 1/0")
    async with other.transaction():
        await other.execute(INSERT, "a")
    assert await other.fetchval(NAMES) == ["a"]
    with pytest.raises(asyncpg.InFailedSQLTransactionError):
        await failed.fetchval("SELECT 1")
    await transaction.rollback()
    assert await failed.fetchval(NAMES) == ["a"]


async def test_others_work_in_other_tasks_while_one_is_aborted(connect: Connect) -> None:
    """An aborted transaction that wrote holds its turn; its rollback passes it on."""
    failed, other = connect(), connect()
    waiter = asyncio.create_task(other.execute(INSERT, "a"))
    transaction = failed.transaction()
    await transaction.start()
    await failed.execute(INSERT, "a")
    with pytest.raises(asyncpg.UniqueViolationError):
        await failed.execute(INSERT, "a")
    assert not waiter.done()
    await transaction.rollback()
    await waiter
    assert await other.fetchval(NAMES) == ["a"]


async def test_an_aborted_transaction_beneath_another(connect: Connect) -> None:
    """What an aborted transaction wrote before its error is undone by its rollback."""
    failed, other = connect(), connect()
    transaction = failed.transaction()
    await transaction.start()
    await failed.execute(INSERT, "lost")
    await failed.execute("SAVEPOINT s")
    with pytest.raises(asyncpg.UniqueViolationError):
        await failed.execute(INSERT, "lost")
    assert await other.fetchval(NAMES) == ["lost"]  # of this task, so they overlap
    await transaction.rollback()
    assert await other.fetchval(NAMES) is None


async def test_savepoint_outside_a_transaction(connect: Connect) -> None:
    """Savepoints need a transaction block, as they do in autocommit."""
    connection = connect()
    for sql, words in (
        ("SAVEPOINT a", "SAVEPOINT"),
        ("RELEASE a", "RELEASE SAVEPOINT"),
        ("ROLLBACK TO a", "ROLLBACK TO SAVEPOINT"),
    ):
        with pytest.raises(
            asyncpg.NoActiveSQLTransactionError,
            match=f"^{words} can only be used in transaction blocks",
        ):
            await connection.execute(sql)


async def test_through_sqlalchemy(sessions: async_sessionmaker[AsyncSession]) -> None:
    """SQLAlchemy's session sees the errors that it sees in production."""
    insert = text("INSERT INTO author (name, notes) VALUES ('a', '{}')")
    async with sessions() as session, sessions() as other:
        await session.execute(insert)
        await session.commit()
        with pytest.raises(IntegrityError):
            await session.execute(insert)
        assert (await other.execute(text(NAMES))).scalar_one() == ["a"]
        with pytest.raises(DBAPIError, match="current transaction is aborted"):
            await session.execute(text("SELECT 1"))
        await session.rollback()
        assert (await session.execute(text(NAMES))).scalar_one() == ["a"]


async def test_a_commit_that_passed_the_sandbox_by(sandbox: Sandbox, connect: Connect) -> None:
    """That it was one is known at the end of the test, though its wire is cut off then."""
    await connect().fetchval("SELECT 1")
    live = await sandbox.wire()
    await live.wire.execute("COMMIT")
    await sandbox.end_test()
    assert sandbox.committed
