"""Nothing survives a test (invariant 4)."""

# ruff: noqa: ANN401  # what a driver takes and returns is whatever it is
from __future__ import annotations

import asyncio
import gc
import json
import uuid
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from db_testing._sandbox._virtual import VirtualConnection
from db_testing._server._admin import WIRE_ERRORS
from db_testing._statements import _catalog
from db_testing._statements._catalog import Catalog
from db_testing.errors import SandboxClosedError, SandboxLostError, SandboxRefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from db_testing._sandbox._sandbox import Sandbox

    Connect = Callable[[], VirtualConnection]

INSERT = "INSERT INTO author (name, notes) VALUES ($1, '{}') RETURNING id"
PID = "SELECT pg_backend_pid()"


async def next_test(sandbox: Sandbox) -> VirtualConnection:
    """End the test, begin the next, and return a connection in it."""
    await sandbox.end_test()
    sandbox.begin_test("the next test")
    return VirtualConnection(sandbox)


@pytest.fixture
async def role(plain: asyncpg.Connection[asyncpg.Record]) -> AsyncIterator[str]:
    """Return a role that may do nothing; roles are the whole server's, so the name is its own."""
    name = f"sandbox_{uuid.uuid4().hex}"
    await plain.execute(f"CREATE ROLE {name}")
    yield name
    await plain.execute(f"DROP ROLE {name}")


async def commits(connection: VirtualConnection) -> None:
    """Leave committed rows."""
    await connection.execute(INSERT, "a")
    await connection.execute(INSERT, "b")


async def leaves_open(connection: VirtualConnection) -> None:
    """Leave a transaction open."""
    await connection.transaction().start()
    await connection.execute(INSERT, "a")


async def leaves_savepoints_open(connection: VirtualConnection) -> None:
    """Leave nested savepoints open, each with a row."""
    for name in "abc":
        await connection.transaction().start()
        await connection.execute(INSERT, name)


async def leaves_aborted(connection: VirtualConnection) -> None:
    """Leave an aborted transaction."""
    await leaves_open(connection)
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute(INSERT, "a")


async def leaves_an_aborted_savepoint(connection: VirtualConnection) -> None:
    """Leave an aborted savepoint inside others, after a rollback that is not sent yet."""
    await leaves_savepoints_open(connection)
    await connection.execute("SAVEPOINT s")
    await connection.execute(INSERT, "d")
    await connection.execute("ROLLBACK TO s")
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute(INSERT, "a")


async def leaves_an_unsent_rollback(connection: VirtualConnection) -> None:
    """Leave a rollback that waits for the next statement."""
    await leaves_open(connection)
    connection.terminate()


async def restarts_identity(connection: VirtualConnection) -> None:
    """Give the sequences new storage after they were moved."""
    await commits(connection)
    await connection.execute("TRUNCATE author RESTART IDENTITY CASCADE")
    await connection.execute(INSERT, "a")
    await connection.fetchval("SELECT 1")


async def alters_the_sequence(connection: VirtualConnection) -> None:
    """Alter a sequence between two uses."""
    await connection.execute(INSERT, "a")
    await connection.execute("ALTER SEQUENCE author_id_seq INCREMENT 10 RESTART 1000")
    await connection.execute(INSERT, "b")


async def drops_the_tables(connection: VirtualConnection) -> None:
    """Drop tables and their sequences after moving them."""
    await commits(connection)
    await connection.execute("DROP TABLE book; DROP TABLE author CASCADE")
    await connection.fetchval("SELECT 1")


async def calls_setval(connection: VirtualConnection) -> None:
    """Move a sequence far away, in a transaction that is rolled back."""
    async with connection.transaction():
        await connection.fetchval("SELECT setval('author_id_seq', 1000)")
    with pytest.raises(ZeroDivisionError):  # noqa: PT012  # the end of the block is the point
        async with connection.transaction():
            await connection.fetchval("SELECT setval('author_id_seq', 2000)")
            raise ZeroDivisionError


async def deallocates(connection: VirtualConnection) -> None:
    """Deallocate the statement that the reset executes."""
    await commits(connection)
    await connection.execute("DEALLOCATE db_testing_reset")


async def sets_a_timeout(connection: VirtualConnection) -> None:
    """Leave a setting under which nothing can run for long."""
    await commits(connection)
    await connection.execute("SET statement_timeout = '1ms'")


@pytest.mark.parametrize(
    "test",
    [
        commits,
        leaves_open,
        leaves_savepoints_open,
        leaves_aborted,
        leaves_an_aborted_savepoint,
        leaves_an_unsent_rollback,
        restarts_identity,
        alters_the_sequence,
        drops_the_tables,
        calls_setval,
        deallocates,
        sets_a_timeout,
    ],
)
async def test_rows_and_ids(
    sandbox: Sandbox, connect: Connect, test: Callable[[VirtualConnection], Awaitable[None]]
) -> None:
    """However a test ended, the next finds no row, and its first ids are the template's next."""
    await test(connect())
    connection = await next_test(sandbox)
    assert await connection.fetchval("SELECT count(*) FROM author") == 0
    assert await connection.fetchval(INSERT, "a") == 1
    book = "INSERT INTO book (author_id, title) VALUES (1, 'b') RETURNING id"
    assert await connection.fetchval(book) == 1


async def test_currval_and_lastval(sandbox: Sandbox, connect: Connect) -> None:
    """What a session remembers of its sequences is forgotten."""
    await connect().execute(INSERT, "a")
    connection = await next_test(sandbox)
    for sql in ("SELECT lastval()", "SELECT currval('author_id_seq')"):
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError):
            await connection.fetchval(sql)


async def test_one_round_trip(sandbox: Sandbox, connect: Connect) -> None:
    """An ordinary test is undone in one message, and an unused sandbox sends none."""
    sent: list[str] = []
    await connect().execute(INSERT, "a")
    wire = sandbox.connected()
    wire.add_query_logger(lambda record: sent.append(record.query))
    await sandbox.end_test()
    sandbox.begin_test("unused")
    await sandbox.end_test()
    await asyncio.sleep(0)  # loggers are called by the loop
    assert len(sent) == 1
    assert not sandbox.used


@pytest.mark.parametrize(
    ("statement", "setting"),
    [
        ("SET work_mem = '1MB'", "work_mem"),
        ("SELECT set_config('work_mem', '1MB', false)", "work_mem"),
        ("SET search_path = pg_catalog", "search_path"),
        ("SET TIME ZONE 'Asia/Tokyo'", "timezone"),
        ("SET app.tenant = '1'", "app.tenant"),
        ("SET ROLE {role}", "role"),
        ("SET SESSION AUTHORIZATION {role}", "session_authorization"),
        ("SET CONSTRAINTS ALL IMMEDIATE", "work_mem"),
    ],
)
async def test_settings(
    sandbox: Sandbox, connect: Connect, role: str, statement: str, setting: str
) -> None:
    """Settings are as they were, whether their transaction was committed or left open."""
    statement = statement.replace("{role}", role)
    show = f"SELECT coalesce(current_setting('{setting}', true), '')"
    connection = connect()
    before = await connection.fetchval(show)
    await connection.fetchval(INSERT, "a")
    await connection.execute(statement)
    await connection.fetchval("SELECT 1")
    connection = await next_test(sandbox)
    assert await connection.fetchval(show) == before
    await connection.transaction().start()
    await connection.execute(statement)
    connection = await next_test(sandbox)
    assert await connection.fetchval(show) == before
    assert await connection.fetchval(INSERT, "a") == 1


async def test_a_restricted_role_that_fails(sandbox: Sandbox, connect: Connect, role: str) -> None:
    """A test that ends aborted under a role without rights is undone in full."""
    await connect().fetchval(INSERT, "a")
    connection = connect()
    await connection.transaction().start()
    await connection.execute(f"SET LOCAL ROLE {role}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(INSERT, "a")
    pid = sandbox.connected().get_server_pid()
    connection = await next_test(sandbox)
    assert await connection.fetchval(INSERT, "a") == 1
    assert await connection.fetchval(PID) == pid


async def test_ddl(sandbox: Sandbox, connect: Connect) -> None:
    """Tables, columns, types and functions of a test are gone."""
    connection = connect()
    async with connection.transaction():
        await connection.execute("CREATE TYPE mood AS ENUM ('good')")
        await connection.execute("CREATE TABLE t (m mood)")
        await connection.execute("ALTER TABLE author ADD COLUMN extra int")
    await connection.execute("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    connection = await next_test(sandbox)
    assert await connection.fetchval("SELECT to_regclass('t')") is None
    assert await connection.fetchval("SELECT to_regtype('mood')") is None
    assert await connection.fetchval("SELECT to_regproc('f')") is None
    with pytest.raises(asyncpg.UndefinedColumnError):
        await connection.fetch("SELECT extra FROM author")


async def test_two_tests_that_make_the_same_table(sandbox: Sandbox, connect: Connect) -> None:
    """Plans and types of a test's own tables are forgotten with it."""
    connection = connect()
    await connection.execute("CREATE TYPE mood AS ENUM ('good')")
    await connection.execute("CREATE TEMP TABLE t (a mood)")
    await connection.execute("INSERT INTO t VALUES ('good')")
    statement = await connection.prepare("SELECT * FROM t")
    assert [tuple(row) for row in await statement.fetch()] == [("good",)]
    assert [tuple(row) for row in await connection.fetch("SELECT * FROM t")] == [("good",)]
    await next_test(sandbox)
    await connection.execute("CREATE TEMP TABLE t (a int, b text)")
    await connection.execute("INSERT INTO t VALUES (1, 'x')")
    assert [tuple(row) for row in await statement.fetch()] == [(1, "x")]
    assert [tuple(row) for row in await connection.fetch("SELECT * FROM t")] == [(1, "x")]


async def test_temporary_tables_and_cursors(sandbox: Sandbox, connect: Connect) -> None:
    """Temporary tables and cursors, also those WITH HOLD, are gone."""
    connection = connect()
    await connection.execute("CREATE TEMP TABLE t (a int)")
    await connection.execute("DECLARE c CURSOR WITH HOLD FOR SELECT 1")
    connection = await next_test(sandbox)
    assert await connection.fetchval("SELECT count(*) FROM pg_cursors WHERE name = 'c'") == 0
    assert await connection.fetchval("SELECT to_regclass('t')") is None


async def test_prepared_statements(sandbox: Sandbox, connect: Connect) -> None:
    """Names that a test gave to statements are free in the next, though the statements live on."""
    connection = connect()
    await connection.execute("PREPARE raw AS SELECT 1")
    before = await connection.prepare("SELECT 1", name="driver")
    pid = sandbox.connected().get_server_pid()
    connection = await next_test(sandbox)
    await connection.execute("PREPARE raw AS SELECT 2")
    after = await connection.prepare("SELECT 2", name="driver")
    assert [await connection.fetchval("EXECUTE raw"), await after.fetchval()] == [2, 2]
    assert await connection.fetchval(PID) == pid
    del before


async def test_prepared_statements_of_a_layer(sandbox: Sandbox, connect: Connect) -> None:
    """A layer's end takes the statements that were prepared in it, and no others."""
    connection = connect()
    await connection.execute('PREPARE "The outer" AS SELECT 1')
    for number in (1, 2):
        live, ground = await sandbox.lay()
        await connection.execute(f'PREPARE "The inner" AS SELECT {number}')
        assert await connection.fetchval('EXECUTE "The inner"') == number
        await sandbox.fall_back(live, ground)
    assert await connection.fetchval('EXECUTE "The outer"') == 1


async def test_advisory_locks(
    sandbox: Sandbox, connect: Connect, plain: asyncpg.Connection[asyncpg.Record]
) -> None:
    """Locks of the session and of the transaction are released, also after a rollback."""
    connection = connect()
    await connection.execute("SELECT pg_advisory_lock(1), pg_advisory_xact_lock(2)")
    with pytest.raises(ZeroDivisionError):  # noqa: PT012  # the end of the block is the point
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_lock(3)")
            raise ZeroDivisionError
    for key in (1, 2, 3):
        assert not await plain.fetchval("SELECT pg_try_advisory_xact_lock($1)", key)
    await sandbox.end_test()
    for key in (1, 2, 3):
        assert await plain.fetchval("SELECT pg_try_advisory_xact_lock($1)", key)


async def test_codecs_belong_to_a_connection(sandbox: Sandbox, connect: Connect) -> None:
    """A conversion that one connection asked for is no other's, and prepared ones keep theirs."""
    one, other = connect(), connect()
    value = "SELECT '[1]'::jsonb"
    await one.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
    await other.set_type_codec("jsonb", schema="pg_catalog", encoder=str, decoder=str.upper)
    assert await one.fetchval(value) == [1]
    assert await connect().fetchval(value) == "[1]"
    assert await other.fetchval("SELECT '\"a\"'::jsonb") == '"A"'
    assert await one.fetchval(value) == [1]
    await one.reset_type_codec("jsonb", schema="pg_catalog")
    assert await one.fetchval(value) == "[1]"
    connection = await next_test(sandbox)
    assert await connection.fetchval(value) == "[1]"
    assert await other.fetchval("SELECT '\"a\"'::jsonb") == '"A"'


async def test_codec_that_was_only_set(sandbox: Sandbox, connect: Connect) -> None:
    """One that its connection has not used converts nothing for another, nor for another test."""
    value = "SELECT '[1]'::jsonb"
    other = connect()
    assert await other.fetchval(value) == "[1]"
    await connect().set_type_codec("jsonb", schema="pg_catalog", encoder=str, decoder=len)
    assert await other.fetchval(value) == "[1]"
    await connect().set_type_codec("jsonb", schema="pg_catalog", encoder=str, decoder=str.upper)
    connection = await next_test(sandbox)
    assert await connection.fetchval(value) == "[1]"


@pytest.mark.parametrize("kind", ["methods", "recursion"])
async def test_codecs_that_look_alike(connect: Connect, kind: str) -> None:
    """Methods of two objects are two codecs; a function may call itself."""

    class Tagged:
        def __init__(self, tag: str) -> None:
            self.tag = tag

        def decode(self, value: str) -> str:
            return self.tag + value

    def deep(tag: str, depth: int = 2) -> Callable[[str], str]:
        def decode(value: str, left: int = depth) -> str:
            return decode(tag + value, left - 1) if left else later(value)

        def later(value: str) -> str:
            return value

        return decode

    for tag in ("a", "b"):
        decoder = Tagged(tag).decode if kind == "methods" else deep(tag, 1)
        connection = connect()
        await connection.set_type_codec("json", schema="pg_catalog", encoder=str, decoder=decoder)
        assert await connection.fetchval("SELECT '1'::json") == f"{tag}1"


async def test_codecs_of_a_type_that_is_gone(sandbox: Sandbox, connect: Connect) -> None:
    """A pooled connection that had a codec for a test's own type stays usable."""
    connection = connect()
    await connection.execute("CREATE TYPE point2 AS (x int, y int)")
    await connection.set_type_codec("point2", encoder=list, decoder=tuple, format="tuple")
    assert await connection.fetchval("SELECT row(1, 2)::point2") == (1, 2)
    await next_test(sandbox)
    assert await connection.fetchval("SELECT 1") == 1


async def test_an_unknown_type_has_no_codec(connect: Connect) -> None:
    """A codec for a type that does not exist is refused, and not remembered."""
    connection = connect()
    with pytest.raises(ValueError, match="unknown type"):
        await connection.set_type_codec("nothing", encoder=str, decoder=str)
    assert await connection.fetchval("SELECT 1") == 1


async def test_builtin_codecs(connect: Connect) -> None:
    """Named codecs of the driver can be chosen, too."""
    connection = connect()
    await connection.execute("CREATE EXTENSION hstore")
    await connection.set_builtin_type_codec("hstore", codec_name="pg_contrib.hstore")
    assert await connection.fetchval("SELECT 'a=>1'::hstore") == {"a": "1"}
    assert await connect().fetchval("SELECT 'a=>1'::hstore") == '"a"=>"1"'


async def test_a_transaction_of_an_ended_test(sandbox: Sandbox, connect: Connect) -> None:
    """What a test left open can do nothing in the next, and its end changes nothing there."""
    left = connect()
    transaction = left.transaction()
    await transaction.start()
    await left.execute(INSERT, "a")
    connection = await next_test(sandbox)
    await connection.execute(INSERT, "b")
    for _ in range(2):
        with pytest.raises(SandboxClosedError, match="still open when its test the test ended"):
            await left.execute(INSERT, "c")
    with pytest.raises(SandboxClosedError):
        await left.execute("ROLLBACK TO a")
    await transaction.rollback()
    assert await connection.fetchval("SELECT array_agg(name) FROM author") == ["b"]
    assert await left.fetchval("SELECT array_agg(name) FROM author") == ["b"]


async def test_a_statement_that_waits_when_its_test_ends(
    sandbox: Sandbox, connect: Connect, until_asleep: Callable[[], Awaitable[None]]
) -> None:
    """It never runs: neither in its own test nor in the next."""
    slow, late = connect(), connect()
    await slow.execute("SELECT")
    running = asyncio.create_task(slow.execute("SELECT pg_sleep(0.2)"))
    await until_asleep()
    waiting = asyncio.create_task(late.execute(INSERT, "late"))
    await asyncio.sleep(0)
    connection = await next_test(sandbox)
    with pytest.raises(SandboxClosedError, match="waiting for its turn when the test ended"):
        await waiting
    with pytest.raises(SandboxClosedError, match="still open when its test"):
        await running
    assert await connection.fetchval("SELECT count(*) FROM author") == 0
    assert sandbox.failure is None


async def test_a_statement_that_waits_for_a_holder_when_its_test_ends(
    sandbox: Sandbox, connect: Connect
) -> None:
    """The same for one that waits for another transaction's end."""
    holder, late = connect(), connect()
    waiting = asyncio.create_task(late.execute(INSERT, "late"))
    await holder.transaction().start()
    await holder.execute(INSERT, "a")
    connection = await next_test(sandbox)
    with pytest.raises(SandboxClosedError):
        await waiting
    assert await connection.fetchval("SELECT count(*) FROM author") == 0


async def test_a_statement_that_outlives_its_test(
    sandbox: Sandbox, connect: Connect, until_asleep: Callable[[], Awaitable[None]]
) -> None:
    """It is cut off, its locks with it, and the next test is not blamed."""
    left = connect()
    await left.transaction().start()
    await left.execute(INSERT, "a")
    running = asyncio.create_task(left.execute("SELECT pg_sleep(100)"))
    await until_asleep()
    connection = await next_test(sandbox)
    async with asyncio.timeout(4):
        assert await connection.fetchval(INSERT, "a") == 1
    with pytest.raises(WIRE_ERRORS):
        await running
    assert await connection.fetchval("SELECT 1") == 1
    assert sandbox.failure is None


async def test_a_terminated_backend_costs_one_test(
    sandbox: Sandbox, connect: Connect, plain: asyncpg.Connection[asyncpg.Record]
) -> None:
    """The test whose server process died fails; the next has a new one, and the right ids."""
    connection = connect()
    await connection.execute(INSERT, "a")
    pid = await connection.fetchval(PID)
    await plain.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)
    with pytest.raises((*WIRE_ERRORS, SandboxLostError)):
        await connection.fetchval("SELECT 1")
    with pytest.raises(SandboxLostError, match=r"closed the connection .* of the test"):
        await connection.fetchval("SELECT 1")
    assert isinstance(sandbox.failure, SandboxLostError)
    connection = await next_test(sandbox)
    assert await connection.fetchval(INSERT, "a") == 1
    assert await connection.fetchval(PID) != pid
    assert sandbox.failure is None


async def test_a_backend_that_dies_before_the_reset(
    sandbox: Sandbox, connect: Connect, plain: asyncpg.Connection[asyncpg.Record]
) -> None:
    """The end of the test notices, raises nothing, and the next test is sound."""
    connection = connect()
    await connection.execute(INSERT, "a")
    pid = await connection.fetchval(PID)
    await plain.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)
    connection = await next_test(sandbox)
    assert await connection.fetchval(INSERT, "a") == 1


async def test_a_backend_that_terminates_itself(sandbox: Sandbox, connect: Connect) -> None:
    """The same when the test's own statement ends the process."""
    connection = connect()
    await connection.transaction().start()
    await connection.execute(INSERT, "a")
    with pytest.raises(WIRE_ERRORS):
        await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    connection = await next_test(sandbox)
    assert await connection.fetchval(INSERT, "a") == 1


async def test_a_backend_that_dies_between_tests(
    sandbox: Sandbox, connect: Connect, plain: asyncpg.Connection[asyncpg.Record]
) -> None:
    """It costs no test at all."""
    pid = await connect().fetchval(PID)
    wire = sandbox.connected()
    await sandbox.end_test()
    closed = asyncio.Event()
    wire.add_termination_listener(lambda _: closed.set())
    await plain.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)
    async with asyncio.timeout(5):
        await closed.wait()
    sandbox.begin_test("the next test")
    assert await connect().fetchval(PID) != pid


async def test_a_replaced_wire_is_kept(sandbox: Sandbox, connect: Connect) -> None:
    """After a wire was replaced, its successor serves the tests that follow."""
    await connect().execute("DEALLOCATE db_testing_reset")
    pids = []
    for _ in range(3):
        connection = await next_test(sandbox)
        pids.append(await connection.fetchval(PID))
        gc.collect()
        await asyncio.sleep(0)
    assert len(set(pids)) == 1


async def test_a_write_outside_of_tests(sandbox: Sandbox, connect: Connect) -> None:
    """Between tests one may read; rows written there would vanish with the first test."""
    await sandbox.end_test()
    assert await connect().fetchval("SELECT 1") == 1
    with pytest.raises(SandboxRefusedError, match="ran while no test was running"):
        await connect().execute(INSERT, "a")


async def test_a_transaction_from_outside_of_tests(sandbox: Sandbox, connect: Connect) -> None:
    """One that a wider fixture holds ends with the first test; the second is told what to do."""
    await sandbox.end_test()
    wider = connect()
    await wider.transaction().start()
    assert await wider.fetchval("SELECT 1") == 1
    sandbox.begin_test("the first test")
    assert await wider.fetchval("SELECT 1") == 1
    await next_test(sandbox)
    with pytest.raises(SandboxClosedError, match=r"began while no test was running.* function-sco"):
        await wider.fetchval("SELECT 1")


async def test_the_connection_cannot_be_made(plain: asyncpg.Connection[asyncpg.Record]) -> None:
    """An error while the wire is prepared closes it and is the caller's."""
    from db_testing._sandbox._sandbox import Sandbox  # noqa: PLC0415

    class Unprepared:
        terminated = False

        def get_server_version(self) -> asyncpg.ServerVersion:
            return plain.get_server_version()

        async def fetch(self, *_: Any) -> Any:
            raise asyncpg.InsufficientPrivilegeError("no")

        def terminate(self) -> None:
            self.terminated = True

    wire = Unprepared()

    async def connect() -> Any:
        return wire

    sandbox = Sandbox(connect)
    sandbox.begin_test("the test")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await VirtualConnection(sandbox).fetchval("SELECT 1")
    assert wire.terminated


async def test_positions_of_sequences_are_read_at_once(
    plain: asyncpg.Connection[asyncpg.Record],
) -> None:
    """They are what each sequence says, which is asked by name only where no server tells."""
    asked: list[str] = []
    with plain.query_logger(lambda query: asked.append(query.query)):
        found = (await Catalog.read(plain)).sequences
    names = {row["oid"]: row["name"] for row in await plain.fetch(_catalog._SEQUENCES)}
    assert names
    assert found == await _catalog.positions(plain, names)
    by_name = [sql for sql in asked if any(name in sql for name in names.values())]
    assert bool(by_name) is (plain.get_server_version().major < 18)
