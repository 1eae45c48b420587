"""What rollback isolation cannot honour is refused, never faked (invariant 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest
from sqlalchemy import text

from db_testing.errors import SandboxRefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncEngine

    from db_testing._sandbox._sandbox import Sandbox
    from db_testing._sandbox._virtual import VirtualConnection

    Connect = Callable[[], VirtualConnection]

INSERT = "INSERT INTO author (name, notes) VALUES ($1, '{}')"
ROUTINE = "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; END"
MARKER = r'add @pytest\.mark\.db\(isolation="commit"\) to the test'


@pytest.mark.parametrize(
    "sql",
    [
        "BEGIN",
        "START TRANSACTION",
        "COMMIT",
        "ROLLBACK",
        "END",
        "/* hi */ commit; -- there",
        "PREPARE TRANSACTION 'x'",
        "COMMIT PREPARED 'x'",
        "INSERT INTO author (name, notes) VALUES ('a', '{}'); COMMIT",
        "SAVEPOINT a; SELECT 1",
        "LISTEN channel",
        "SELECT 1; LISTEN channel",
        "DEALLOCATE ALL",
        "DEALLOCATE PREPARE ALL",
        "VACUUM",
        "CREATE DATABASE other",
        "CREATE INDEX CONCURRENTLY i ON author (name)",
        "DO $$ BEGIN COMMIT; END $$",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET default_transaction_isolation = serializable",
        "SELECT 1; SET default_transaction_isolation = serializable",
    ],
)
async def test_statements(sandbox: Sandbox, connect: Connect, sql: str) -> None:
    """The error says what, where, why and the marker; the test goes on."""
    connection = connect()
    await connection.execute(INSERT, "kept")
    with pytest.raises(SandboxRefusedError, match=MARKER) as caught:
        await connection.execute(sql)
    assert __file__ in str(caught.value)
    assert await connection.fetchval("SELECT array_agg(name) FROM author") == ["kept"]
    assert not sandbox.committed


@pytest.mark.parametrize(
    "sql", ["COMMIT", "ROLLBACK", "LISTEN channel", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"]
)
async def test_statements_in_a_transaction(connect: Connect, sql: str) -> None:
    """Nor is any of this honoured inside of a transaction."""
    connection = connect()
    async with connection.transaction():
        await connection.fetchval("SELECT 1")
        await connection.execute("SAVEPOINT a")
        with pytest.raises(SandboxRefusedError, match=MARKER):
            await connection.execute(sql)
        await connection.execute("ROLLBACK TO a")


@pytest.mark.parametrize(
    "refused",
    [
        lambda connection: connection.execute("LISTEN channel"),
        lambda connection: connection.execute("COMMIT"),
        lambda connection: connection.transaction(isolation="serializable").start(),
    ],
    ids=["LISTEN", "COMMIT", "isolation"],
)
async def test_outside_of_tests(
    sandbox: Sandbox, connect: Connect, refused: Callable[[VirtualConnection], Awaitable[None]]
) -> None:
    """There is no test to mark: the error says where that belongs."""
    await sandbox.end_test()
    with pytest.raises(SandboxRefusedError, match="Do it in a function-scoped fixture") as caught:
        await refused(connect())
    assert "None" not in str(caught.value)


@pytest.mark.parametrize("sql", ["COMMIT", "BEGIN", "ROLLBACK"])
async def test_prepared_statements(connect: Connect, sql: str) -> None:
    """A prepared COMMIT is refused when it is executed, at the latest."""
    statement = await connect().prepare(sql)
    with pytest.raises(SandboxRefusedError, match="would end the outer transaction"):
        await statement.fetch()


@pytest.mark.parametrize("fetch", ["fetch", "fetchrow", "fetchval"])
async def test_control_that_is_fetched(sandbox: Sandbox, connect: Connect, fetch: str) -> None:
    """COMMIT is refused, and a savepoint obeyed, also by methods that are meant for queries."""
    connection = connect()
    run = getattr(connection, fetch)
    with pytest.raises(SandboxRefusedError, match="would end the outer transaction"):
        await run("COMMIT")
    async with connection.transaction():
        await run("SAVEPOINT a")
        await connection.execute(INSERT, "lost")
        await run("ROLLBACK TO a")
    assert await connection.fetchval("SELECT count(*) FROM author") == 0
    assert not sandbox.committed


async def test_production_errors_stay(connect: Connect) -> None:
    """What production refuses in a transaction is production's error there."""
    connection = connect()
    transaction = connection.transaction()
    await transaction.start()
    with pytest.raises(asyncpg.ActiveSQLTransactionError, match="VACUUM cannot run inside"):
        await connection.execute("VACUUM")
    await transaction.rollback()


@pytest.mark.parametrize("level", ["serializable", "repeatable_read"])
async def test_levels(connect: Connect, level: str) -> None:
    """Levels above the outer one are refused."""
    with pytest.raises(SandboxRefusedError, match=level):
        connect().transaction(isolation=level)


@pytest.mark.parametrize("level", ["SERIALIZABLE", "REPEATABLE READ"])
async def test_levels_through_sqlalchemy(engine: AsyncEngine, level: str) -> None:
    """Also when they are an execution option."""
    async with engine.connect() as connection:
        connection = await connection.execution_options(isolation_level=level)  # noqa: PLW2901
        with pytest.raises(SandboxRefusedError, match=MARKER):
            await connection.execute(text("SELECT 1"))


async def test_read_committed_through_sqlalchemy(engine: AsyncEngine) -> None:
    """The level that there is may be asked for."""
    async with engine.connect() as connection:
        connection = await connection.execution_options(isolation_level="READ COMMITTED")  # noqa: PLW2901
        assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1


@pytest.mark.parametrize(
    "call",
    [lambda c: c.add_listener("channel", print), lambda c: c.reset()],
    ids=["add_listener", "reset"],
)
async def test_methods(
    connect: Connect, call: Callable[[VirtualConnection], Awaitable[object]]
) -> None:
    """Methods of the driver that mean such statements are refused alike."""
    with pytest.raises(SandboxRefusedError, match=MARKER):
        await call(connect())


@pytest.mark.parametrize(
    "script",
    [
        f"{ROUTINE}; COMMIT",
        f"{ROUTINE}; COMMIT; SELECT 1/0",
    ],
)
async def test_a_commit_that_escapes_is_noticed(
    sandbox: Sandbox,
    connect: Connect,
    plain: asyncpg.Connection[asyncpg.Record],
    script: str,
) -> None:
    """A script whose COMMIT could not be read costs the test, and is not taken for undone."""
    connection = connect()
    await connection.execute(INSERT, "escaped")
    try:
        with pytest.raises((SandboxRefusedError, asyncpg.DivisionByZeroError)):
            await connection.execute(script)
        assert sandbox.committed
        assert isinstance(sandbox.failure, SandboxRefusedError)
        assert "what the test wrote is really committed" in str(sandbox.failure)
        with pytest.raises(SandboxRefusedError):
            await connection.fetchval("SELECT 1")
        await sandbox.end_test()
        assert sandbox.committed
    finally:
        await restore(plain)


@pytest.mark.parametrize("ends", ["at once", "after another statement"])
async def test_a_commit_that_hides_is_noticed(
    sandbox: Sandbox,
    connect: Connect,
    plain: asyncpg.Connection[asyncpg.Record],
    ends: str,
) -> None:
    """A script that commits and begins anew is noticed at the end of the test, at the latest."""
    connection = connect()
    await connection.execute(INSERT, "escaped")
    try:
        await connection.transaction().start()
        await connection.execute(f"{ROUTINE}; COMMIT; BEGIN")
        if ends != "at once":
            connection.terminate()
            with pytest.raises((asyncpg.PostgresError, SandboxRefusedError)):
                await connect().fetchval("SELECT 1")
        await sandbox.end_test()
        assert sandbox.committed
        sandbox.begin_test("the next test")
        assert not sandbox.committed
    finally:
        await restore(plain)


async def restore(plain: asyncpg.Connection[asyncpg.Record]) -> None:
    """Undo what was really committed, as a new clone of the database would."""
    await plain.execute(
        "DELETE FROM book; DELETE FROM author; SELECT setval('author_id_seq', 1, false);"
        "DROP FUNCTION f"
    )
