"""Transactions and savepoints."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sqlalchemy import text

from .table import attempt, refused, same

if TYPE_CHECKING:
    from .conftest import World

AREA = "Transactions"

ADD = "INSERT INTO item (name) VALUES ($1)"
NAMES = "SELECT array_agg(name ORDER BY name) FROM item"


@same(gives=["a"])
async def test_commit(w: World) -> object:
    """A committed row is seen by another connection."""
    one, two = await w.connect(), await w.connect()
    async with one.transaction():
        await one.execute(ADD, "a")
    return await two.fetchval(NAMES)


@same(gives=None)
async def test_rollback(w: World) -> object:
    """A row that was rolled back is gone."""
    one = await w.connect()
    transaction = one.transaction()
    await transaction.start()
    await one.execute(ADD, "a")
    await transaction.rollback()
    return await one.fetchval(NAMES)


@same(gives=[["InFailedSQLTransactionError"], None])
async def test_error(w: World) -> object:
    """After an error a transaction refuses statements, and its COMMIT is a rollback."""
    one = await w.connect()
    transaction = one.transaction()
    await transaction.start()
    await one.execute(ADD, "a")
    await attempt(one.fetchval("SELECT 1/0"))
    after = [await attempt(one.fetchval("SELECT 1"))]
    await transaction.commit()
    return [after, await one.fetchval(NAMES)]


@same(gives=["a"])
async def test_error_in_savepoint(w: World) -> object:
    """An error in a savepoint costs the savepoint only."""
    one = await w.connect()
    async with one.transaction():
        await one.execute(ADD, "a")
        inner = one.transaction()
        await inner.start()
        await one.execute(ADD, "b")
        await attempt(one.fetchval("SELECT 1/0"))
        await inner.rollback()
    return await one.fetchval(NAMES)


@same(gives=["ZeroDivisionError", ["b"]])
async def test_rollback_beside_commit(w: World) -> object:
    """A rollback does not touch what another connection has committed before it began."""
    one, two = await w.connect(), await w.connect()
    await two.execute(ADD, "b")

    async def fail() -> None:
        async with one.transaction():
            await one.execute(ADD, "a")
            raise ZeroDivisionError

    caught = ""
    try:
        await fail()
    except ZeroDivisionError as error:
        caught = type(error).__name__
    return [caught, await two.fetchval(NAMES)]


@refused(
    gives=["b"],
    error="SandboxConflictError",
    note="Savepoints form a stack: the first cannot be undone without the second.",
)
async def test_rollback_beneath_commit(w: World) -> object:
    """A rollback of a transaction, since whose writing another connection has committed."""
    one, two = await w.connect(), await w.connect()
    transaction = one.transaction()
    await transaction.start()
    await one.execute(ADD, "a")
    await two.execute(ADD, "b")
    await transaction.rollback()
    return await two.fetchval(NAMES)


@same(gives=["a", "b"])
async def test_named_savepoints(w: World) -> object:
    """SAVEPOINT, ROLLBACK TO and RELEASE in raw SQL; a name may be used twice."""
    one = await w.connect()
    async with one.transaction():
        await one.execute("SAVEPOINT s")
        await one.execute(ADD, "a")
        await one.execute("SAVEPOINT s")
        await one.execute(ADD, "x")
        await one.execute("ROLLBACK TO SAVEPOINT s")
        await one.execute("RELEASE s")
        await one.execute(ADD, "b")
    return await one.fetchval(NAMES)


@same(gives=["InvalidSavepointSpecificationError", "InFailedSQLTransactionError"])
async def test_unknown_savepoint(w: World) -> object:
    """A savepoint that does not exist is an error, which aborts the transaction."""
    one = await w.connect()
    transaction = one.transaction()
    await transaction.start()
    first = await attempt(one.execute("RELEASE nothing"))
    second = await attempt(one.fetchval("SELECT 1"))
    await transaction.rollback()
    return [first, second]


@same(gives=["NoActiveSQLTransactionError"] * 3)
async def test_savepoint_outside(w: World) -> object:
    """SAVEPOINT, RELEASE and ROLLBACK TO outside a transaction are errors."""
    one = await w.connect()
    return [
        await attempt(one.execute(sql)) for sql in ("SAVEPOINT s", "RELEASE s", "ROLLBACK TO s")
    ]


@same(gives=["a"])
async def test_autocommit(w: World) -> object:
    """A statement outside a transaction is one of its own, and so is a failing one."""
    one = await w.connect()
    await one.execute(ADD, "a")
    await attempt(one.execute(ADD, "a"))
    return await one.fetchval(NAMES)


@same(gives=["DivisionByZeroError", None])
async def test_script(w: World) -> object:
    """A script of several statements is one transaction."""
    one = await w.connect()
    failed = await attempt(one.execute("INSERT INTO item (name) VALUES ('a'); SELECT 1/0"))
    return [failed, await one.fetchval(NAMES)]


@same(gives=["a"])
async def test_sqlalchemy_autocommit(w: World) -> object:
    """SQLAlchemy's isolation level AUTOCOMMIT keeps what came before an error."""
    engine = w.engine.execution_options(isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text("INSERT INTO item (name) VALUES ('a')"))
        await attempt(connection.execute(text("SELECT 1/0")))
        await connection.rollback()
        return (await connection.execute(text(NAMES))).scalar_one()


@refused(gives=["a"], note="It would end the outer transaction. Use the driver's transactions.")
async def test_raw_commit(w: World) -> object:
    """BEGIN and COMMIT in raw SQL."""
    one = await w.connect()
    await one.execute("BEGIN")
    await one.execute(ADD, "a")
    await one.execute("COMMIT")
    return await one.fetchval(NAMES)


@refused(gives=["a"], note="As a COMMIT in raw SQL.")
async def test_commit_and_chain(w: World) -> object:
    """COMMIT AND CHAIN."""
    one = await w.connect()
    transaction = one.transaction()
    await transaction.start()
    await one.execute(ADD, "a")
    await one.execute("COMMIT AND CHAIN")
    await one.execute(ADD, "b")
    await transaction.rollback()
    return await one.fetchval(NAMES)


@same(gives=["ReadOnlySQLTransactionError", ["b"]])
async def test_read_only(w: World) -> object:
    """A read-only transaction refuses writes; the next one on the connection does not."""
    one = await w.connect()
    transaction = one.transaction(readonly=True)
    await transaction.start()
    failed = await attempt(one.execute(ADD, "a"))
    await transaction.rollback()
    await one.execute(ADD, "b")
    return [failed, await one.fetchval(NAMES)]


@same(gives=["on", "ReadOnlySQLTransactionError", "off", ["b"]])
async def test_set_transaction_read_only(w: World) -> object:
    """SET TRANSACTION READ ONLY in raw SQL holds until the transaction ends."""
    one = await w.connect()
    transaction = one.transaction()
    await transaction.start()
    await one.execute("SET TRANSACTION READ ONLY")
    shown = await one.fetchval("SHOW transaction_read_only")
    failed = await attempt(one.execute(ADD, "a"))
    await transaction.rollback()
    async with one.transaction():
        await one.execute("SET TRANSACTION READ ONLY")
        await one.fetchval("SELECT 1")
    after = await one.fetchval("SHOW transaction_read_only")
    await one.execute(ADD, "b")
    return [shown, failed, after, await one.fetchval(NAMES)]


@same(gives=[0, 1, "ReadOnlySQLTransactionError"])
async def test_write_while_another_is_read_only(w: World) -> object:
    """While a transaction has been made read-only, another writes."""
    one, two = await w.connect(), await w.connect()
    transaction = one.transaction()
    await transaction.start()
    await one.execute("SET TRANSACTION READ ONLY")
    found = [await one.fetchval("SELECT count(*) FROM item")]
    await two.execute(ADD, "a")
    found.append(await one.fetchval("SELECT count(*) FROM item"))
    found.append(await attempt(one.execute(ADD, "b")))
    await transaction.rollback()
    return found


@same(gives=["a"])
async def test_read_only_after_writing(w: World) -> object:
    """What a transaction wrote before it was made read-only stays."""
    one, two = await w.connect(), await w.connect()
    async with one.transaction():
        await one.execute(ADD, "a")
        await one.execute("SET LOCAL transaction_read_only = on")
        await one.fetchval("SELECT 1")
    return await two.fetchval(NAMES)


@same(gives=["7", ""])
async def test_read_only_after_set_local(w: World) -> object:
    """What SET LOCAL has set ends with a transaction that was made read-only after that."""
    one, two = await w.connect(), await w.connect()
    async with one.transaction():
        await one.execute("SET LOCAL app.tenant = '7'")
        await one.execute("SET TRANSACTION READ ONLY")
        found = [await one.fetchval("SELECT current_setting('app.tenant')")]
    await two.execute(ADD, "a")
    found.append(await one.fetchval("SELECT current_setting('app.tenant', true)"))
    return found


@same(gives="INSERT 0 1")
async def test_modes_of_a_read_only_transaction(w: World) -> object:
    """Another writes while one is open that is read-only and has set its isolation level."""
    one, two = await w.connect(), await w.connect()
    async with one.transaction(readonly=True):
        await one.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        await one.fetchval("SELECT 1")
        return await two.execute(ADD, "a")


@same(gives=["INSERT 0 1", "InFailedSQLTransactionError"])
async def test_read_only_where_it_means_nothing(w: World) -> object:
    """SET TRANSACTION READ ONLY outside a transaction does nothing, and in a failed one fails."""
    one = await w.connect()
    await one.execute("SET TRANSACTION READ ONLY")
    found = [await one.execute(ADD, "a")]
    transaction = one.transaction()
    await transaction.start()
    await attempt(one.execute("SELECT 1/0"))
    found.append(await attempt(one.execute("SET TRANSACTION READ ONLY")))
    await transaction.rollback()
    return found


@refused(
    gives=["ReadOnlySQLTransactionError", "INSERT 0 1"],
    note="A savepoint's end would not end it here.",
)
async def test_read_only_savepoint(w: World) -> object:
    """SET TRANSACTION READ ONLY in a savepoint lasts as long as that."""
    one = await w.connect()
    async with one.transaction():
        await one.execute("SAVEPOINT s")
        await one.execute("SET TRANSACTION READ ONLY")
        await one.execute("SAVEPOINT t")
        found = [await attempt(one.execute(ADD, "a"))]
        await one.execute("ROLLBACK TO t")
        await one.execute("RELEASE s")
        return [*found, await one.execute(ADD, "b")]


@same(gives="read committed")
async def test_read_committed(w: World) -> object:
    """READ COMMITTED may be asked for."""
    one = await w.connect()
    async with one.transaction(isolation="read_committed"):
        await one.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        return await one.fetchval("SHOW transaction_isolation")


@refused(gives="repeatable read", note="The outer transaction is READ COMMITTED.")
async def test_repeatable_read(w: World) -> object:
    """REPEATABLE READ, asked of the driver."""
    one = await w.connect()
    async with one.transaction(isolation="repeatable_read"):
        return await one.fetchval("SHOW transaction_isolation")


@refused(gives="serializable", note="The outer transaction is READ COMMITTED.")
async def test_serializable(w: World) -> object:
    """SERIALIZABLE, asked in raw SQL."""
    one = await w.connect()
    async with one.transaction():
        await one.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        return await one.fetchval("SHOW transaction_isolation")


@refused(gives="serializable", note="The outer transaction is READ COMMITTED.")
async def test_default_level(w: World) -> object:
    """A default isolation level for the session."""
    one = await w.connect()
    await one.execute("SET default_transaction_isolation = serializable")
    return await one.fetchval("SHOW transaction_isolation")


@refused(gives="on", note="The transactions that follow are parts of one.")
async def test_session_characteristics(w: World) -> object:
    """SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY."""
    one = await w.connect()
    await one.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
    return await one.fetchval("SHOW transaction_read_only")


@same(gives="ok")
async def test_deferrable(w: World) -> object:
    """DEFERRABLE below SERIALIZABLE means nothing."""
    one = await w.connect()
    async with one.transaction(deferrable=True):
        return await one.fetchval("SELECT 'ok'")


@same(gives=["a"])
async def test_connection_closed_in_transaction(w: World) -> object:
    """A connection that is closed in a transaction takes that with it."""
    one, two = await w.connect(), await w.connect()
    await two.execute(ADD, "a")
    await one.transaction().start()
    await one.execute(ADD, "b")
    await one.close()
    return await two.fetchval(NAMES)


@same(gives=["TimeoutError", ["a"]])
async def test_cancelled(w: World) -> object:
    """A statement that is cancelled costs its transaction only."""
    one = await w.connect()
    await one.execute(ADD, "a")
    caught = ""
    try:
        async with asyncio.timeout(0.1), one.transaction():
            await one.execute(ADD, "b")
            await one.execute("SELECT pg_sleep(10)")
    except TimeoutError as error:
        caught = type(error).__name__
    return [caught, await one.fetchval(NAMES)]


@refused(gives=True, note="It would show the outer transaction's rows to nobody.")
async def test_export_snapshot(w: World) -> object:
    """pg_export_snapshot()."""
    one = await w.connect()
    async with one.transaction(isolation="read_committed"):
        return bool(await one.fetchval("SELECT pg_export_snapshot()"))


@refused(gives="ended", note="A prepared transaction outlives its connection.")
async def test_two_phase(w: World) -> object:
    """PREPARE TRANSACTION."""
    one = await w.connect()
    transaction = one.transaction()
    await transaction.start()
    # Most servers are not configured for it, and roll back.
    status = await attempt(one.execute("PREPARE TRANSACTION 'db_testing'"))
    if status == "PREPARE TRANSACTION":
        await one.execute("ROLLBACK PREPARED 'db_testing'")
        return "ended"
    await transaction.rollback()
    return "ended" if status == "ObjectNotInPrerequisiteStateError" else status
