"""What ends with its transaction though the server would keep it: temporary tables and cursors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from db_testing._statements import _statements
from db_testing.errors import SandboxRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from db_testing._sandbox._virtual import VirtualConnection

    Connect = Callable[[], VirtualConnection]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("CREATE TEMP TABLE t (x int) ON COMMIT DROP", {("table", "t")}),
        (
            "create local temporary table if not exists T on commit drop as select 1",
            {("new table", "t")},
        ),
        ('CREATE TEMP TABLE pg_temp."My ""t"""(x int) ON COMMIT DROP', {("table", 'My "t"')}),
        ("CREATE TEMP TABLE t (x int); SELECT 1", set()),
        ("CREATE TEMP TABLE t (x int) ON COMMIT PRESERVE ROWS", set()),
        ("CREATE TEMP TABLE a (x int); CREATE TEMP TABLE b () ON COMMIT DROP", {("table", "b")}),
        ("SELECT 'create temp table t () on commit drop'", set()),
        ("DO 'BEGIN CREATE TEMP TABLE \"a\" () ON COMMIT DROP; END'", {("table", "a")}),
        ("SELECT 1; DO $$ BEGIN CREATE TEMP TABLE t () ON COMMIT DROP; END $$", {("table", "t")}),
        ("DO $$ BEGIN END $$; SELECT 'create temp table t () on commit drop'", set()),
        ("DECLARE C CURSOR FOR SELECT 1", {("cursor", "c")}),
        ("declare c binary no scroll cursor without hold for select 1", {("cursor", "c")}),
        ("DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT 1", set()),
    ],
)
def test_endings(sql: str, expected: set[tuple[str, str]]) -> None:
    """What a statement makes for its transaction only is read from its text."""
    assert _statements.endings(sql) == expected


@pytest.mark.parametrize("kept", [True, False])
async def test_table_in_a_savepoint(connect: Connect, *, kept: bool) -> None:
    """The commit does not mind whether the savepoint that made a table was kept."""
    connection = connect()
    async with connection.transaction():
        inner = connection.transaction()
        await inner.start()
        await connection.execute('CREATE TEMP TABLE "T" (x int) ON COMMIT DROP')
        await (inner.commit() if kept else inner.rollback())
    assert await connection.fetchval("""SELECT to_regclass('"T"')""") is None


async def test_table_is_the_transactions_own(connect: Connect) -> None:
    """A table that the session keeps, of the same name as a permanent one, is not mistaken."""
    connection = connect()
    async with connection.transaction():
        await connection.execute("CREATE TEMP TABLE author (x int) ON COMMIT DROP")
    assert await connection.fetchval("SELECT count(*) FROM author WHERE name = 'a'") == 0


async def test_table_that_was_there(connect: Connect) -> None:
    """One that IF NOT EXISTS has left as it was is not dropped, and one that it has made is."""
    connection = connect()
    await connection.execute("CREATE TEMP TABLE kept AS SELECT 1 AS x")
    async with connection.transaction():
        for name in ("kept", "made"):
            await connection.execute(
                f"CREATE TEMP TABLE IF NOT EXISTS {name} (x int) ON COMMIT DROP"
            )
    assert await connection.fetchval("SELECT x FROM kept") == 1
    assert await connection.fetchval("SELECT to_regclass('made')") is None


async def test_cursor_that_was_closed(connect: Connect) -> None:
    """A cursor that the program has closed costs the commit nothing."""
    connection = connect()
    async with connection.transaction():
        await connection.execute("DECLARE c CURSOR FOR SELECT 1")
        await connection.execute("CLOSE c")
    assert await connection.fetchval("SELECT count(*) FROM pg_cursors WHERE name = 'c'") == 0


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("wrote", ["nothing", "before", "since"])
async def test_cursor_of_the_driver(connect: Connect, *, keep: bool, wrote: str) -> None:
    """One that a stream has left in the middle ends with its transaction; DDL does not mind it."""
    connection, other = connect(), connect()
    transaction = connection.transaction()
    await transaction.start()
    if wrote == "before":
        await connection.execute("INSERT INTO author (name, notes) VALUES ('a', '{}')")
    cursor = await connection.cursor("SELECT name FROM author")
    await cursor.fetch(1)
    if wrote == "since":
        await connection.execute("INSERT INTO author (name, notes) VALUES ('a', '{}')")
    await (transaction.commit() if keep else transaction.rollback())
    await other.execute("TRUNCATE author CASCADE")
    assert await other.fetchval("SELECT count(*) FROM pg_cursors WHERE name <> ''") == 0


async def test_cursor_beneath_another_transaction(connect: Connect) -> None:
    """What another has written above a cursor stays; the cursor is closed with the test."""
    one, two = connect(), connect()
    transaction = one.transaction()
    await transaction.start()
    await one.cursor("SELECT name FROM author")
    await two.execute("INSERT INTO author (name, notes) VALUES ('b', '{}')")
    await transaction.rollback()
    assert await two.fetchval("SELECT count(*) FROM author WHERE name = 'b'") == 1


async def test_cursor_in_a_savepoint(connect: Connect) -> None:
    """A return to a savepoint closes the cursors opened since, and no others."""
    connection = connect()
    async with connection.transaction():
        outer = await connection.cursor("SELECT generate_series(1, 3)")
        inner = connection.transaction()
        await inner.start()
        await connection.cursor("SELECT 1")
        await inner.rollback()
        assert await connection.fetchval("SELECT count(*) FROM pg_cursors WHERE name <> ''") == 1
        assert len(await outer.fetch(5)) == 3


async def test_one_transactions_end_is_not_anothers(connect: Connect) -> None:
    """A commit closes the cursors of its own transaction only."""
    one, two = connect(), connect()
    transaction = one.transaction()
    await transaction.start()
    await one.execute("DECLARE c CURSOR FOR SELECT 1")
    async with two.transaction():
        await two.execute("DECLARE d CURSOR FOR SELECT 1")
    assert await one.fetchval("FETCH c") == 1
    with pytest.raises(asyncpg.InvalidCursorNameError):
        await two.fetchval("FETCH d")
    await transaction.commit()


async def test_locks_of_another(connect: Connect) -> None:
    """SKIP LOCKED is refused only while another transaction that has written is open."""
    one, two = connect(), connect()
    ask = "SELECT name FROM author FOR UPDATE SKIP LOCKED"
    transaction = one.transaction()
    await transaction.start()
    await one.fetch(ask)
    with pytest.raises(SandboxRefusedError, match=r"cannot see the locks of the transaction begun"):
        await two.fetch(ask)
    assert await one.fetch(ask) == []
    await transaction.commit()
    assert await two.fetch(ask) == []


async def test_stale_plan_fails_once_only(connect: Connect) -> None:
    """What fails when it is prepared anew leaves no transaction open."""
    connection = connect()
    await connection.execute("CREATE TABLE t AS SELECT 'a' AS x")
    assert await connection.fetchval("SELECT x FROM t") == "a"
    await connection.execute("ALTER TABLE t ALTER x TYPE int USING 1")
    assert await connection.fetchval("SELECT x FROM t") == 1
    assert not connection.is_in_transaction()
