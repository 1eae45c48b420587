"""Routines, COPY, large objects, statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .table import attempt, different, refused, same

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .conftest import World

AREA = "Routines, bulk data and statistics"

COUNT = "SELECT count(*) FROM item"
ADD_TWO = """
    CREATE PROCEDURE add_two() LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO item (name) VALUES ('a');
        COMMIT;
        INSERT INTO item (name) VALUES ('b');
    END $$
"""


@refused(gives=2, schema=ADD_TWO, note="A routine can end a transaction only if it is in none.")
async def test_procedure_with_commit(w: World) -> object:
    """A procedure with COMMIT or ROLLBACK inside."""
    one = await w.connect()
    await one.execute("CALL add_two()")
    return await one.fetchval(COUNT)


@same(gives=["InvalidTransactionTerminationError", 0], schema=ADD_TWO)
async def test_procedure_with_commit_in_a_transaction(w: World) -> object:
    """A procedure with COMMIT inside, called in a transaction, is an error."""
    one = await w.connect()
    transaction = one.transaction()
    await transaction.start()
    failed = await attempt(one.execute("CALL add_two()"))
    await transaction.rollback()
    return [failed, await one.fetchval(COUNT)]


@refused(gives=1, note="A routine can end a transaction only if it is in none.")
async def test_do_with_commit(w: World) -> object:
    """A DO block with COMMIT inside."""
    one = await w.connect()
    await one.execute("DO $$ BEGIN INSERT INTO item (name) VALUES ('a'); COMMIT; END $$")
    return await one.fetchval(COUNT)


@same(gives=["UniqueViolationError", ["a", "caught"]])
async def test_do(w: World) -> object:
    """A DO block is atomic, and its exception handlers undo their own block only."""
    one = await w.connect()
    failed = await attempt(
        one.execute(
            "DO $$ BEGIN FOR i IN 1..2 LOOP INSERT INTO item (name) VALUES ('x'); END LOOP; END $$"
        )
    )
    await one.execute("""
        DO $$
        BEGIN
            INSERT INTO item (name) VALUES ('a');
            BEGIN
                INSERT INTO item (name) VALUES ('b');
                INSERT INTO item (name) VALUES ('a');
            EXCEPTION WHEN unique_violation THEN
                INSERT INTO item (name) VALUES ('caught');
            END;
        END $$
    """)
    return [failed, await one.fetchval("SELECT array_agg(name ORDER BY name) FROM item")]


@same(gives=["COPY 2", 2, "UniqueViolationError", 2, "COPY 2"])
async def test_copy(w: World) -> object:
    """COPY in and out; an error in it undoes all of it."""
    one = await w.connect()
    rows = [("a",), ("b",)]
    done = await one.copy_records_to_table("item", records=rows, columns=["name"])
    found = [done, await one.fetchval(COUNT)]
    found.append(
        await attempt(one.copy_records_to_table("item", records=[("c",), ("a",)], columns=["name"]))
    )
    parts: list[bytes] = []

    async def keep(data: bytes) -> None:
        parts.append(data)

    found.append(await one.fetchval(COUNT))
    return [*found, await one.copy_from_query("SELECT name FROM item", output=keep)]


@refused(
    gives=2,
    note="One connection runs one statement at a time.",
    error="SandboxDeadlockError",
    schema="CREATE TABLE names (name text); INSERT INTO names VALUES ('a'), ('b')",
)
async def test_copy_from_another_connection(w: World) -> object:
    """COPY from rows that are read on another connection meanwhile."""
    one, two = await w.connect(), await w.connect()

    async def rows() -> AsyncIterator[tuple[str]]:
        async with two.transaction():
            async for row in two.cursor("SELECT name FROM names"):
                yield tuple(row)

    await one.copy_records_to_table("item", records=rows(), columns=["name"])
    return await one.fetchval(COUNT)


@same(gives=[b"abc", 0])
async def test_large_object(w: World) -> object:
    """Large objects are written, read, and gone with a rollback."""
    one = await w.connect()
    oid = await one.fetchval("SELECT lo_from_bytea(0, 'abc')")
    found = [await one.fetchval("SELECT lo_get($1)", oid)]
    await one.execute("SELECT lo_unlink($1)", oid)
    transaction = one.transaction()
    await transaction.start()
    await one.fetchval("SELECT lo_from_bytea(0, 'abc')")
    await transaction.rollback()
    return [*found, await one.fetchval("SELECT count(*) FROM pg_largeobject_metadata")]


@different(
    gives="UndefinedObjectError",
    here=b"abc",
    note="A descriptor lives until the outer transaction ends.",
)
async def test_large_object_descriptor(w: World) -> object:
    """A descriptor of lo_open() ends with its transaction."""
    one = await w.connect()
    async with one.transaction():
        oid = await one.fetchval("SELECT lo_from_bytea(0, 'abc')")
        descriptor = await one.fetchval("SELECT lo_open($1, 262144)", oid)
    try:
        return await attempt(one.fetchval("SELECT loread($1, 3)", descriptor))
    finally:
        await one.execute("SELECT lo_unlink($1)", oid)


@different(
    gives=True,
    here=False,
    note="The server counts a transaction's rows and commits when it ends.",
)
@pytest.mark.since(15)
async def test_statistics(w: World) -> object:
    """pg_stat_user_tables and pg_stat_database count rows and commits."""
    one = await w.connect()
    await one.execute("INSERT INTO item (name) VALUES ('a')")
    await one.execute("SELECT pg_stat_force_next_flush()")
    return await one.fetchval("SELECT n_live_tup = 1 FROM pg_stat_user_tables")


@different(
    gives="idle", here="idle in transaction", note="The outer transaction is open all the time."
)
async def test_activity(w: World) -> object:
    """pg_stat_activity says that a connection is idle between transactions."""
    one, outside = await w.connect(), await w.outside()
    pid = await one.fetchval("SELECT pg_backend_pid()")
    return await outside.fetchval("SELECT state FROM pg_stat_activity WHERE pid = $1", pid)


@same(gives=["a", 1, "InsufficientPrivilegeError"])
async def test_function_that_writes(w: World) -> object:
    """Functions that write, and functions that run as their owner."""
    one = await w.connect()
    await one.execute("""
        CREATE FUNCTION add(name text) RETURNS text LANGUAGE sql SECURITY DEFINER
        AS 'INSERT INTO item (name) VALUES ($1) RETURNING name'
    """)
    transaction = one.transaction()
    await transaction.start()
    await one.execute("SET LOCAL ROLE pg_monitor")
    found = [await one.fetchval("SELECT add('a')")]
    await transaction.commit()
    found.append(await one.fetchval(COUNT))
    transaction = one.transaction()
    await transaction.start()
    await one.execute("SET LOCAL ROLE pg_monitor")
    found.append(await attempt(one.execute("INSERT INTO item (name) VALUES ('b')")))
    await transaction.rollback()
    return found


@same(
    gives=[1, 0],
    schema="""
        CREATE FUNCTION note() RETURNS int LANGUAGE sql VOLATILE AS
            $$ INSERT INTO item (name) VALUES ('noted') RETURNING 1 $$;
        CREATE VIEW noting AS SELECT note() AS noted;
        CREATE VIEW noting_too AS SELECT noted FROM noting;
    """,
)
async def test_view_that_writes(w: World) -> object:
    """What a view's function writes is rolled back."""
    one = await w.connect()
    transaction = one.transaction()
    await transaction.start()
    noted = await one.fetchval("SELECT noted FROM noting_too")
    await transaction.rollback()
    return [noted, await one.fetchval("SELECT count(*) FROM item")]
