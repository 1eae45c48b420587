"""asyncpg's interface: a program does on a virtual connection what it does on a real one."""

# ruff: noqa: ANN401  # what a driver takes and returns is whatever it is
from __future__ import annotations

import asyncio
import inspect
import io
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
import pytest

from db_testing._sandbox._virtual import VirtualConnection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from db_testing._sandbox._sandbox import Sandbox

    Connect = Callable[[], VirtualConnection]

Connection: TypeAlias = Any
"""A real connection or a virtual one: the programs cannot tell."""

INSERT = "INSERT INTO author (name, notes) VALUES ($1, '{}')"
NAMES = "SELECT array_agg(name ORDER BY name) FROM author"


async def outcome(step: Awaitable[Any]) -> Any:
    """Return what a step returns, or the kind and the text of its error."""
    try:
        return await step
    except Exception as error:  # noqa: BLE001  # whatever it is, it is compared
        return type(error), str(error)


async def call(method: Any, *args: Any) -> Any:
    """Call a method that may raise before there is anything to await."""
    return await method(*args)


async def blocks(c: Connection) -> AsyncIterator[Any]:
    """Nested blocks, one of which fails."""
    async with c.transaction():
        yield await c.execute(INSERT, "a")
        try:
            async with c.transaction():
                await c.execute(INSERT, "b")
                raise ZeroDivisionError  # noqa: TRY301  # it is the block's end that counts
        except ZeroDivisionError:
            yield await c.fetchval(NAMES)
        async with c.transaction():
            await c.execute(INSERT, "c")
        yield c.is_in_transaction()
    yield c.is_in_transaction()
    yield await c.fetchval(NAMES)


async def by_hand(c: Connection) -> AsyncIterator[Any]:
    """Transactions started and ended by hand, in every wrong order."""
    new = c.transaction()
    yield await outcome(new.commit())
    yield await outcome(new.rollback())
    await new.start()
    yield await outcome(new.start())
    await new.commit()
    for method in (new.start, new.commit, new.rollback):
        yield await outcome(method())
    gone = c.transaction()
    await gone.start()
    await gone.rollback()
    for method in (gone.start, gone.commit, gone.rollback):
        yield await outcome(method())


async def managed(c: Connection) -> AsyncIterator[Any]:
    """A block is not ended by hand, nor entered twice."""
    transaction = c.transaction()
    async with transaction:
        yield await outcome(transaction.commit())
        yield await outcome(transaction.rollback())
        yield await outcome(transaction.__aenter__())
    yield await outcome(transaction.__aenter__())


async def ends_out_of_order(c: Connection) -> AsyncIterator[Any]:
    """The outer transaction ends before the inner."""
    outer, inner, other = c.transaction(), c.transaction(), c.transaction()
    await outer.start()
    await inner.start()
    await other.start()
    await outer.commit()
    yield await outcome(inner.commit())
    yield await outcome(inner.commit())
    yield await outcome(other.rollback())


async def inner_end_twice(c: Connection) -> AsyncIterator[Any]:
    """An outer savepoint's end takes the inner along."""
    outer, middle, inner = c.transaction(), c.transaction(), c.transaction()
    await outer.start()
    await middle.start()
    await inner.start()
    await middle.rollback()
    result = await outcome(inner.commit())
    yield result[0], "does not exist" in result[1]
    yield await outcome(c.fetchval("SELECT 1"))
    await outer.rollback()


async def failing(c: Connection) -> AsyncIterator[Any]:
    """Errors in a transaction, and what is allowed after them."""
    async with c.transaction():
        yield await outcome(c.fetchval("SELECT 1/0"))
        yield await outcome(c.fetchval("SELECT 1"))
        yield await outcome(c.transaction().start())
        yield await outcome(c.execute("SAVEPOINT s"))
        yield await outcome(c.execute("RELEASE s"))
        yield await outcome(c.execute("ROLLBACK TO s"))
    yield await outcome(c.fetchval("SELECT 1"))


async def savepoints_in_sql(c: Connection) -> AsyncIterator[Any]:
    """Savepoints as text: their status, their shadows, their absence."""
    for sql in ("SAVEPOINT s", "RELEASE s", "ROLLBACK TO s"):
        yield await outcome(c.execute(sql))
    async with c.transaction():
        yield await c.execute("SAVEPOINT s")
        await c.execute(INSERT, "a")
        yield await c.execute("SAVEPOINT s")
        await c.execute(INSERT, "b")
        yield await c.execute("ROLLBACK TO SAVEPOINT S")
        yield await c.fetchval(NAMES)
        yield await c.execute("RELEASE SAVEPOINT s")
        yield await c.execute("ROLLBACK TO s")
        yield await c.fetchval(NAMES)
        statement = await c.prepare("SAVEPOINT t")
        yield await statement.fetch()
        yield statement.get_statusmsg()
        yield statement.get_parameters(), statement.get_attributes(), statement.get_query()
        yield await statement.fetchval(), await statement.fetchrow()
        yield await outcome(c.execute("ROLLBACK TO nowhere"))
        yield await outcome(c.execute("SELECT 1"))


async def statements(c: Connection) -> AsyncIterator[Any]:
    """Every way to run a statement."""
    yield await c.execute(INSERT, "a")
    yield await c.execute("SELECT 1; SELECT 2")
    yield await c.executemany(INSERT, [("b",), ("c",)])
    yield [tuple(row) for row in await c.fetch("SELECT name FROM author ORDER BY 1")]
    yield await c.fetchval("SELECT name, id FROM author ORDER BY 1", column=1)
    yield tuple(await c.fetchrow("SELECT 1, 2"))
    yield await c.fetchrow("SELECT 1 WHERE false")
    yield [row["name"] for row in await c.fetchmany(INSERT + " RETURNING name", [("d",), ("e",)])]
    yield await outcome(c.executemany(INSERT, [("f",), ("a",)]))
    yield await outcome(c.execute(INSERT, 42))
    yield await outcome(c.execute(INSERT))
    yield await outcome(c.execute("SELEC 1"))
    yield await outcome(c.execute("SELECT pg_sleep(10)", timeout=0.01))
    yield await outcome(c.execute(""))
    yield await c.fetchval(NAMES)


async def prepared(c: Connection) -> AsyncIterator[Any]:
    """Every method of a prepared statement."""
    insert = await c.prepare(INSERT + " RETURNING name")
    yield await insert.fetchval("a")
    yield insert.get_statusmsg(), insert.get_query(), insert.get_parameters()
    yield [attribute.name for attribute in insert.get_attributes()]
    yield isinstance(insert.get_name(), str)
    yield [tuple(row) for row in await insert.fetch("b")]
    yield tuple(await insert.fetchrow("c"))
    yield [row["name"] for row in await insert.fetchmany([("d",)])]
    yield await insert.executemany([("e",)])
    yield await outcome(insert.fetch("a"))
    plan = await insert.explain("f", analyze=True)
    yield plan[0]["Plan"]["Node Type"], "Actual Rows" in plan[0]["Plan"]
    yield list((await insert.explain("f"))[0])
    named = await c.prepare("SELECT 1", name="my_statement")
    yield named.get_name()
    yield await outcome(c.prepare("SELEC 1"))
    yield await c.fetchval(NAMES)


async def cursors(c: Connection) -> AsyncIterator[Any]:
    """Cursors of connections and statements, and their misuse."""
    query = "SELECT generate_series(1, $1::int)"
    statement = await c.prepare(query)

    async def rows(factory: Any) -> list[int]:
        return [row[0] async for row in factory]

    async def open_(factory: Any) -> Any:
        return await factory

    yield await outcome(open_(c.cursor(query, 3)))
    yield await outcome(rows(c.cursor(query, 3)))
    async with c.transaction():
        yield await rows(c.cursor(query, 120))
        yield await rows(statement.cursor(7, prefetch=2))
        yield await outcome(rows(c.cursor(query, 3, prefetch=0)))
        yield await outcome(open_(c.cursor(query, 3, prefetch=5)))
        cursor = await statement.cursor(10)
        yield await cursor.forward(2)
        yield (await cursor.fetchrow())[0]
        yield [row[0] for row in await cursor.fetch(20)]
        yield await cursor.fetchrow(), await cursor.fetch(1)
        yield await outcome(cursor.fetch(0))
        last = await c.cursor(query, 3)
    yield await outcome(last.fetch(1))
    async with c.transaction():
        yield (await outcome(last.fetch(1)))[0]


async def copying(c: Connection) -> AsyncIterator[Any]:
    """COPY in both directions."""
    records = [("a", "{}"), ("b", "{}")]
    yield await c.copy_records_to_table("author", records=records, columns=["name", "notes"])
    source = io.BytesIO(b"c\t{}\n")
    yield await c.copy_to_table("author", source=source, columns=["name", "notes"])
    output = io.BytesIO()
    yield await c.copy_from_table("author", columns=["name"], output=output), output.getvalue()
    output = io.BytesIO()
    query = "SELECT name FROM author WHERE name > $1"
    yield await c.copy_from_query(query, "a", output=output), output.getvalue()
    yield await outcome(
        c.copy_records_to_table("author", records=[("a", "{}")], columns=["name", "notes"])
    )
    yield await c.fetchval(NAMES)


async def one_at_a_time(c: Connection) -> AsyncIterator[Any]:
    """A connection runs one operation at a time."""
    transaction = c.transaction()
    await transaction.start()
    slow = asyncio.ensure_future(c.execute("SELECT pg_sleep(0.05)"))
    await asyncio.sleep(0)
    yield await outcome(c.execute("SELECT 1"))
    yield await outcome(c.execute("SAVEPOINT s"))
    yield await slow
    await transaction.rollback()


async def closed(c: Connection) -> AsyncIterator[Any]:
    """Nothing works on a closed connection."""
    statement = await c.prepare("SELECT 1")
    begun, new, left = c.transaction(), c.transaction(), c.transaction()
    await begun.start()
    cursor = await c.cursor("SELECT 1")
    factory = c.cursor("SELECT 1")
    await left.__aenter__()
    await c.execute(INSERT, "lost")
    await c.close()
    yield c.is_closed()
    yield await outcome(c.execute("SELECT 1"))
    yield await outcome(c.fetch("SELECT 1"))
    yield await outcome(c.prepare("SELECT 1"))
    for method, *args in (
        (new.start,),
        (begun.commit,),
        (begun.rollback,),
        (left.__aexit__, None, None, None),
        (left.__aexit__, GeneratorExit, None, None),
        (statement.fetch,),
        (statement.fetchval,),
        (cursor.fetch, 1),
    ):
        yield await outcome(call(method, *args))
    for broken in (
        c.transaction,
        statement.get_name,
        statement.get_statusmsg,
        statement.cursor,
        factory.__await__,
        factory.__aiter__,
        lambda: c.cursor("SELECT 1"),
    ):
        try:
            broken()
        except asyncpg.InterfaceError as error:
            yield str(error)
    yield await c.close()


async def options(c: Connection) -> AsyncIterator[Any]:
    """Options of transactions."""
    try:
        c.transaction(isolation="wrong")
    except ValueError as error:
        yield str(error)[:30]
    async with c.transaction(isolation="read_committed"):
        yield await c.fetchval("SHOW transaction_isolation")
    async with c.transaction(readonly=True):
        yield await c.fetchval("SHOW transaction_read_only")
        yield await outcome(c.execute(INSERT, "a"))
    async with c.transaction(deferrable=True):
        yield await c.execute(INSERT, "a")
    async with c.transaction():
        yield await c.fetchval("SHOW transaction_read_only")


async def local_settings(c: Connection) -> AsyncIterator[Any]:
    """What SET LOCAL sets ends with the transaction, however that ends."""
    show = "SELECT coalesce(current_setting('app.tenant', true), '')"
    for sql in (
        "SET LOCAL app.tenant = '1'",
        "SELECT set_config('app.tenant', '2', true)",
        "SET LOCAL app.tenant = '1'; SELECT set_config('app.tenant', '3', true)",
    ):
        async with c.transaction():
            await c.execute(sql)
            yield await c.fetchval(show)
            async with c.transaction():
                await c.execute("SELECT set_config($1, $2, $3)", "app.tenant", "9", True)  # noqa: FBT003
            yield await c.fetchval(show)
        yield await c.fetchval(show)
    await c.execute("SELECT set_config('app.tenant', '4', true)")
    yield await c.fetchval(show)
    await c.execute("SELECT set_config('app.tenant', '5', false)")
    yield await c.fetchval(show)
    async with c.transaction():
        await c.execute("SET LOCAL app.tenant = '6'")
    yield await c.fetchval(show)
    transaction = c.transaction()
    await transaction.start()
    await c.execute("SET LOCAL app.tenant = '7'")
    await transaction.rollback()
    yield await c.fetchval(show)


async def facts(c: Connection) -> AsyncIterator[Any]:
    """What a connection tells about itself."""
    await c.execute("SELECT 1")
    yield c.get_server_version()
    yield c.get_server_pid() == await c.fetchval("SELECT pg_backend_pid()")
    yield c.get_settings().server_encoding
    yield isinstance(c, asyncpg.Connection)
    yield c.is_closed(), c.is_in_transaction()
    yield await c.reload_schema_state()
    yield await c.remove_listener("channel", print)


PROGRAMS = [
    blocks,
    by_hand,
    managed,
    ends_out_of_order,
    inner_end_twice,
    failing,
    savepoints_in_sql,
    statements,
    prepared,
    cursors,
    copying,
    one_at_a_time,
    closed,
    options,
    local_settings,
    facts,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
async def test_the_same_as_on_a_real_connection(
    program: Callable[[Connection], AsyncIterator[Any]],
    sandbox: Sandbox,
    connect: Connect,
    connect_plainly: Callable[[], Awaitable[asyncpg.Connection[asyncpg.Record]]],
    plain: asyncpg.Connection[asyncpg.Record],
) -> None:
    """Results, errors and their texts are those of asyncpg."""
    virtual = [step async for step in program(connect())]
    await sandbox.end_test()
    real = await connect_plainly()
    try:
        expected = [step async for step in program(real)]
    finally:
        await real.close()
        await plain.execute(
            "DELETE FROM book; DELETE FROM author; SELECT setval('author_id_seq', 1, false)"
        )
    assert virtual == expected


def test_every_public_method_exists() -> None:
    """A virtual connection has each method of asyncpg's."""
    public = {
        name
        for name, _ in inspect.getmembers(asyncpg.Connection, inspect.isfunction)
        if not name.startswith("_")
    }
    assert public <= set(dir(VirtualConnection))


async def test_nothing_is_known_before_the_first_statement(connect: Connect) -> None:
    """Facts of the server need a server."""
    with pytest.raises(asyncpg.InterfaceError, match="no statement has been run yet"):
        connect().get_server_pid()


async def test_log_listeners(connect: Connect) -> None:
    """A connection hears the notices of its own statements."""
    one, other = connect(), connect()
    heard: list[tuple[Any, str]] = []

    def listen(connection: Any, message: Any) -> None:
        heard.append((connection, message.message))

    one.add_log_listener(listen)
    await one.execute("DO $$ BEGIN RAISE NOTICE 'mine'; END $$")
    await other.execute("DO $$ BEGIN RAISE NOTICE 'yours'; END $$")
    one.remove_log_listener(listen)
    await one.execute("DO $$ BEGIN RAISE NOTICE 'late'; END $$")
    assert heard == [(one, "mine")]


async def test_query_loggers(connect: Connect) -> None:
    """A connection logs its own queries, and none of the sandbox's or of others."""
    one, other = connect(), connect()
    logged: list[str] = []
    asynchronously: list[str] = []

    def log(record: Any) -> None:
        logged.append(record.query)

    async def log_later(record: Any) -> None:
        asynchronously.append(record.query)

    one.add_query_logger(log)
    with one.query_logger(log_later):
        await one.fetchval("SELECT 1")
    await other.fetchval("SELECT 2")
    await one.fetchval("SELECT 3")
    one.remove_query_logger(log)
    await one.fetchval("SELECT 4")
    await asyncio.sleep(0)
    assert logged == ["SELECT 1", "SELECT 3"]
    assert asynchronously == ["SELECT 1"]


async def test_termination_listeners(connect: Connect) -> None:
    """Closing a connection tells whoever wants to know, once."""
    connection = connect()
    told: list[Any] = []
    connection.add_termination_listener(told.append)
    connection.add_termination_listener(print)
    connection.remove_termination_listener(print)
    await connection.close()
    connection.terminate()
    await asyncio.sleep(0)
    assert told == [connection]


def test_the_text_of_a_connection(connect: Connect) -> None:
    """A connection's representation says whether it is open."""
    connection = connect()
    assert repr(connection).endswith(" open>")
    connection.terminate()
    assert repr(connection).endswith(" closed>")


async def test_terminate_rolls_back(connect: Connect) -> None:
    """A connection that is terminated loses what it had not committed."""
    connection = connect()
    await connection.transaction().start()
    await connection.execute(INSERT, "a")
    connection.terminate()
    assert await connect().fetchval(NAMES) is None


async def test_terminate_while_a_statement_runs(connect: Connect) -> None:
    """The statement that runs may end, what it did is undone."""
    connection, other = connect(), connect()
    await connection.transaction().start()
    await connection.execute(INSERT, "a")
    running = asyncio.create_task(connection.execute(INSERT, "b"))
    await asyncio.sleep(0)
    connection.terminate()
    await outcome(running)
    assert await other.fetchval(NAMES) is None
    await other.execute(INSERT, "a")
    assert await other.fetchval(NAMES) == ["a"]
