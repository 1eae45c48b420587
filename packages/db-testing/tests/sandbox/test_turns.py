"""Turns: who waits for whom, what overlaps, and what cannot be expressed (invariant 1)."""

# ruff: noqa: ANN401  # what a driver takes and returns is whatever it is
from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import asyncpg
import asyncpg.compat
import pytest
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from db_testing._origin import caller
from db_testing._server._admin import WIRE_ERRORS
from db_testing.errors import SandboxConflictError, SandboxDeadlockError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

    from db_testing._sandbox._sandbox import Sandbox
    from db_testing._sandbox._virtual import VirtualConnection

    Connect = Callable[[], VirtualConnection]


class Base(DeclarativeBase):
    """A table, as one test uses it."""


class Writer(Base):
    """The table `author`."""

    __tablename__ = "author"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    notes: Mapped[str] = mapped_column(JSONB, default=dict)


INSERT = "INSERT INTO author (name, notes) VALUES ($1, '{}')"
NAMES = "SELECT array_agg(name ORDER BY name) FROM author"


def here(offset: int = 0) -> str:
    """Return the place of the line that calls, as an error names it."""
    frame = inspect.stack()[1]
    return f"{frame.filename}:{frame.lineno + offset}"


async def opened(connection: VirtualConnection, *names: str) -> None:
    """Begin a transaction and write some rows in it."""
    await connection.transaction().start()
    for name in names:
        await connection.execute(INSERT, name)


async def end(connection: VirtualConnection, *, keep: bool) -> None:
    """End a transaction that :func:`opened` began."""
    await connection.end(keep=keep)


# ------------------------------------------------------------------ waiting


async def test_a_writer_is_waited_for(connect: Connect) -> None:
    """Another task's statement runs after the end of the transaction that has written."""
    one, other = connect(), connect()
    asked = asyncio.Event()

    async def read() -> Any:
        asked.set()
        return await other.fetchval(NAMES)

    reader = asyncio.create_task(read())  # started before the write: no descendant of the writer
    await opened(one, "a")
    await asked.wait()
    await one.execute(INSERT, "b")
    assert not reader.done()
    await end(one, keep=True)
    assert await reader == ["a", "b"]


async def test_uncommitted_rows_are_not_seen(connect: Connect) -> None:
    """What is rolled back was never there for another task."""
    one, other = connect(), connect()
    reader = asyncio.create_task(other.fetchval(NAMES))
    await opened(one, "a")
    await end(one, keep=False)
    assert await reader is None


async def test_readers_do_not_wait_for_each_other(connect: Connect) -> None:
    """Transactions that only read are open side by side in several tasks."""
    gate = asyncio.Barrier(3)

    async def read() -> Any:
        connection = connect()
        async with connection.transaction():
            value = await connection.fetchval("SELECT 1")
            await gate.wait()
            return value + await connection.fetchval("SELECT 1")

    assert await asyncio.gather(*(read() for _ in range(3))) == [2, 2, 2]


async def test_a_reader_that_begins_to_write_waits(connect: Connect) -> None:
    """Two transactions that have both read write one after the other."""
    order: list[str] = []
    gate = asyncio.Barrier(2)

    async def work(name: str) -> None:
        connection = connect()
        async with connection.transaction():
            await connection.fetchval(NAMES)
            await gate.wait()
            for step in range(3):
                await connection.execute(INSERT, f"{name}{step}")
                order.append(name)

    await asyncio.gather(work("a"), work("b"))
    assert order in (["a"] * 3 + ["b"] * 3, ["b"] * 3 + ["a"] * 3)


async def test_a_waiting_statement_goes_on_in_order(connect: Connect) -> None:
    """Many waiting writers all get their turn."""
    results = []

    async def work(number: int) -> None:
        connection = connect()
        async with connection.transaction():
            before = len(await connection.fetch("SELECT FROM author"))
            await connection.execute(INSERT, f"{number:02}")
            after = len(await connection.fetch("SELECT FROM author"))
            results.append((before, after))

    await asyncio.gather(*(work(number) for number in range(20)))
    assert sorted(after for _, after in results) == list(range(1, 21))


# ------------------------------------------------------------------ overlapping


async def test_a_task_does_not_wait_for_itself(connect: Connect) -> None:
    """A second connection of the holder's own task sees the holder's rows."""
    one, other = connect(), connect()
    await opened(one, "a")
    assert await other.fetchval(NAMES) == ["a"]
    await end(one, keep=False)


async def test_a_task_that_took_over_does_not_wait_for_itself(
    sandbox: Sandbox, connect: Connect
) -> None:
    """Whoever used the holder last has it, also when another task wrote in it first."""
    sandbox._patience = 0.5
    one, other = connect(), connect()
    await asyncio.create_task(opened(one, "a"))
    await one.fetchval(NAMES)
    assert await other.fetchval(NAMES) == ["a"]
    await end(one, keep=False)


async def test_a_descendant_does_not_wait(connect: Connect) -> None:
    """Nor does a task that was started from the holder's, at any depth."""
    one, other = connect(), connect()
    await opened(one, "a")

    async def child() -> Any:
        return await asyncio.create_task(other.fetchval(NAMES))

    assert await asyncio.create_task(child()) == ["a"]
    await end(one, keep=False)


async def test_a_holder_whose_task_is_done_is_not_waited_for(connect: Connect) -> None:
    """A transaction left open by a finished task, as by a fixture's set-up, blocks nobody."""
    one, other = connect(), connect()
    await asyncio.create_task(opened(one, "a"))
    await other.execute(INSERT, "b")
    await end(one, keep=True)
    assert await other.fetchval(NAMES) == ["a", "b"]


async def test_a_waiter_notices_that_the_holder_is_orphaned(connect: Connect) -> None:
    """The wait ends when the holder's task ends without ending its transaction."""
    one, other = connect(), connect()
    written, leave = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        await opened(one, "a")
        written.set()
        await leave.wait()

    holder = asyncio.create_task(hold())
    await written.wait()
    reader = asyncio.create_task(other.fetchval(NAMES))
    leave.set()
    await holder
    assert await reader == ["a"]
    await end(one, keep=True)


async def test_an_orphan_that_is_used_again_does_not_deadlock(connect: Connect) -> None:
    """Of two transactions that overlap, neither ever waits for the one it has overlapped."""
    orphan, other = connect(), connect()
    ready = asyncio.Event()

    async def use_again() -> None:
        await ready.wait()
        await orphan.execute(INSERT, "c")

    user = asyncio.create_task(use_again())
    await asyncio.create_task(opened(orphan, "a"))
    await opened(other, "b")
    ready.set()
    # The orphan has a task again, which waits for `other`; `other` must not wait for it.
    await other.execute(INSERT, "d")
    await other.execute(INSERT, "e")
    assert not user.done()
    await end(other, keep=True)
    await user
    await end(orphan, keep=True)
    assert await other.fetchval(NAMES) == ["a", "b", "c", "d", "e"]


# ------------------------------------------------------------------ deadlocks


async def test_deadlock_names_both_sides(sandbox: Sandbox, connect: Connect) -> None:
    """A wait without end becomes an error that names who waits, who holds, and the marker."""
    sandbox._patience = 0.1
    one, other = connect(), connect()
    places: dict[str, str] = {}

    async def wait() -> None:
        places["waited"] = here(1)
        await other.execute(INSERT, "b")

    waiter = asyncio.create_task(wait(), name="the waiter")
    places["held"] = here(1)
    await one.transaction().start()
    await one.execute(INSERT, "a")
    with pytest.raises(SandboxDeadlockError) as caught:
        await waiter
    message = str(caught.value)
    assert f"the statement begun at {places['waited']} in task 'the waiter'" in message
    assert f"waited 0.1 s for its turn at {places['waited']}" in message
    assert f"the transaction begun at {places['held']} in task" in message
    assert '@pytest.mark.db(isolation="commit") to the test' in message
    assert sandbox.failure is caught.value
    await end(one, keep=True)


async def test_a_queue_is_no_deadlock(sandbox: Sandbox, connect: Connect) -> None:
    """The bound is for one statement: many short ones may keep a task waiting for longer."""
    sandbox._patience = 0.5
    await asyncio.gather(*(connect().execute("SELECT pg_sleep(0.2)") for _ in range(6)))
    assert sandbox.failure is None


async def test_a_statement_without_end_in_a_queue(
    sandbox: Sandbox, connect: Connect, until_asleep: Callable[[], Any]
) -> None:
    """Who waits for a statement that takes too long is told so, also behind others."""
    sandbox._patience = 0.3
    await connect().execute("SELECT pg_sleep(0.1)")
    endless = asyncio.create_task(connect().execute("SELECT pg_sleep(60)"))
    await until_asleep()
    waiting = [connect().execute("SELECT 1") for _ in range(2)]
    for error in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(error, SandboxDeadlockError)
    endless.cancel()
    await asyncio.wait({endless})


async def test_after_a_deadlock_the_holder_goes_on(sandbox: Sandbox, connect: Connect) -> None:
    """The error is the waiter's; nothing is lost."""
    sandbox._patience = 0.1
    one, other = connect(), connect()
    waiter = asyncio.create_task(other.execute(INSERT, "b"))
    await opened(one, "a")
    with pytest.raises(SandboxDeadlockError):
        await waiter
    await end(one, keep=True)
    assert await other.fetchval(NAMES) == ["a"]


async def test_a_statement_that_never_ends_is_named(sandbox: Sandbox, connect: Connect) -> None:
    """A wait for a running statement ends, too."""
    sandbox._patience = 0.1
    one, other = connect(), connect()
    slow = asyncio.create_task(one.execute("SELECT pg_sleep(100)"))
    await asyncio.sleep(0)
    with pytest.raises(SandboxDeadlockError, match="a statement of another task is still running"):
        await other.fetchval("SELECT 1")
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    assert await other.fetchval("SELECT 1") == 1


async def test_the_bound_is_for_each_holder(sandbox: Sandbox, connect: Connect) -> None:
    """A queue that moves is no deadlock, however long it takes to reach its end."""
    sandbox._patience = 0.5

    async def work(number: int) -> None:
        connection = connect()
        async with connection.transaction():
            await connection.execute(INSERT, str(number))
            await connection.execute("SELECT pg_sleep(0.15)")

    await asyncio.gather(*(work(number) for number in range(6)))
    assert len(await connect().fetch("SELECT FROM author")) == 6


# ------------------------------------------------------------------ conflicts


async def test_a_rollback_beneath_a_committed_write(sandbox: Sandbox, connect: Connect) -> None:
    """A wrote, B wrote and committed, A rolls back: savepoints cannot keep B and undo A."""
    one, other = connect(), connect()
    places = {"one": here(1)}
    await one.transaction().start()
    await one.execute(INSERT, "a")
    places["other"] = here(1)
    await other.execute(INSERT, "b")
    with pytest.raises(SandboxConflictError) as caught:
        await end(one, keep=False)
    message = str(caught.value)
    assert f"the transaction begun at {places['one']} in task" in message
    assert f"but the statement begun at {places['other']} in task" in message
    assert "has written since" in message
    assert '@pytest.mark.db(isolation="commit") to the test' in message
    assert sandbox.failure is caught.value


async def test_a_conflict_after_the_merge(connect: Connect) -> None:
    """It makes no difference that B's savepoint has been released into A's since."""
    one, other = connect(), connect()
    await opened(one, "a")
    await other.execute(INSERT, "b")
    await other.fetchval("SELECT 1")
    await one.fetchval("SELECT 1")
    with pytest.raises(SandboxConflictError):
        await end(one, keep=False)


async def test_a_rollback_beneath_an_open_write(connect: Connect) -> None:
    """Nor that B is still open."""
    one, other = connect(), connect()
    await opened(one, "a")
    await opened(other, "b")
    with pytest.raises(SandboxConflictError, match="has written since"):
        await end(one, keep=False)


async def test_a_rollback_to_a_savepoint_beneath_a_write(connect: Connect) -> None:
    """A savepoint is rolled back beneath another's write as little as a transaction."""
    one, other = connect(), connect()
    await opened(one)
    await one.execute("SAVEPOINT s")
    await one.execute(INSERT, "a")
    await other.execute(INSERT, "b")
    with pytest.raises(SandboxConflictError):
        await one.execute("ROLLBACK TO s")


async def test_a_rollback_beneath_an_open_cursor(connect: Connect) -> None:
    """A rollback would close a cursor that another transaction opened above."""
    one, other = connect(), connect()
    await opened(one, "a")
    await opened(other)
    await other.cursor("SELECT 1")
    with pytest.raises(SandboxConflictError, match="has opened a cursor since"):
        await end(one, keep=False)


async def test_after_a_conflict_nothing_is_believed(sandbox: Sandbox, connect: Connect) -> None:
    """The test's data is no longer what its code thinks: every statement repeats the error."""
    one, other = connect(), connect()
    await opened(one, "a")
    await other.execute(INSERT, "b")
    with pytest.raises(SandboxConflictError) as first:
        await end(one, keep=False)
    with pytest.raises(SandboxConflictError) as second:
        await other.fetchval(NAMES)
    assert second.value is first.value
    await sandbox.end_test()
    sandbox.begin_test("the next")
    assert await other.fetchval(NAMES) is None
    assert sandbox.failure is None


async def test_a_writer_overlaps_a_read_only_cursor(connect: Connect) -> None:
    """A write above another's read-only transaction, kept open by its cursor, is a conflict."""
    reader, writer = connect(), connect()
    await reader.transaction(readonly=True).start()
    cursor = await reader.cursor("SELECT generate_series(1, 3)")
    assert await writer.fetchval("SELECT 1") == 1
    with pytest.raises(SandboxConflictError, match="is read-only and has a cursor, or has set"):
        await writer.execute(INSERT, "a")
    assert len(await cursor.fetch(3)) == 3
    await end(reader, keep=True)


async def test_settings_of_a_read_only_transaction(connect: Connect) -> None:
    """They last as long as it does, whoever reads meanwhile; a write above them is a conflict."""
    reader, other = connect(), connect()
    await reader.transaction(readonly=True).start()
    await reader.fetchval("SELECT set_config('app.tenant', '7', true)")
    assert await other.fetchval("SELECT 1") == 1
    assert await reader.fetchval("SELECT current_setting('app.tenant', true)") == "7"
    with pytest.raises(SandboxConflictError, match="is read-only and has a cursor, or has set"):
        await other.execute(INSERT, "a")
    await end(reader, keep=True)


async def test_a_read_only_transaction_without_any(connect: Connect) -> None:
    """What only looks as if it wrote keeps nobody from writing."""
    reader, writer = connect(), connect()
    await reader.transaction(readonly=True).start()
    await reader.fetchval("SELECT 1 AS share")
    await writer.execute(INSERT, "a")
    assert await reader.fetchval(NAMES) == ["a"]
    await end(reader, keep=True)


# ------------------------------------------------------------------ what can be expressed


async def test_a_reader_may_roll_back_beneath_a_write(connect: Connect) -> None:
    """A session that only read ends whenever it likes, other's commits stay."""
    one, other = connect(), connect()
    await opened(one)
    await one.fetchval(NAMES)
    await other.execute(INSERT, "b")
    await end(one, keep=False)
    assert await other.fetchval(NAMES) == ["b"]


async def test_a_write_after_a_foreign_commit_is_rolled_back_alone(connect: Connect) -> None:
    """Read, then a foreign commit merges beneath, then write, then roll back."""
    one, other = connect(), connect()
    await opened(one)
    await one.fetchval(NAMES)
    await other.execute(INSERT, "kept")
    assert await one.fetchval(NAMES) == ["kept"]
    await one.execute(INSERT, "lost")
    await end(one, keep=False)
    assert await other.fetchval(NAMES) == ["kept"]


async def test_a_write_after_a_savepoint_above_a_foreign_commit(connect: Connect) -> None:
    """Nor does a write go beneath it that follows a savepoint which was rolled back."""
    one, other = connect(), connect()
    await opened(one)
    await one.fetchval(NAMES)
    await other.execute(INSERT, "kept")
    await one.execute("SAVEPOINT s")
    await one.execute(INSERT, "lost")
    await one.execute("ROLLBACK TO s")
    await one.execute("RELEASE s")
    await one.execute(INSERT, "lost as well")
    await end(one, keep=False)
    assert await other.fetchval(NAMES) == ["kept"]


async def test_the_upper_of_two_writers_rolls_back(connect: Connect) -> None:
    """A wrote, B wrote, B rolls back, A commits."""
    one, other = connect(), connect()
    await opened(one, "a")
    await opened(other, "b")
    await end(other, keep=False)
    await end(one, keep=True)
    assert await other.fetchval(NAMES) == ["a"]


async def test_both_writers_roll_back_from_the_top(connect: Connect) -> None:
    """A wrote, B wrote, B rolls back, then A."""
    one, other = connect(), connect()
    await opened(one, "a")
    await opened(other, "b")
    await end(other, keep=False)
    await end(one, keep=False)
    assert await other.fetchval(NAMES) is None


async def test_the_upper_writer_rolls_back_after_the_lower_has_committed(connect: Connect) -> None:
    """A wrote, B wrote, A commits, B rolls back."""
    one, other = connect(), connect()
    await opened(one, "a")
    await opened(other, "b")
    await end(one, keep=True)
    await end(other, keep=False)
    assert await other.fetchval(NAMES) == ["a"]


async def test_a_rollback_beneath_a_reader(connect: Connect) -> None:
    """A wrote, B read, A rolls back: B goes on and sees them no more."""
    one, other = connect(), connect()
    await opened(one, "a")
    await opened(other)
    assert await other.fetchval(NAMES) == ["a"]
    await end(one, keep=False)
    assert await other.fetchval(NAMES) is None
    await other.execute(INSERT, "b")
    await end(other, keep=True)
    assert await one.fetchval(NAMES) == ["b"]


async def test_a_rollback_beneath_a_closed_cursor(connect: Connect) -> None:
    """A cursor whose transaction has ended stands in nobody's way."""
    one, other = connect(), connect()
    await opened(one, "a")
    await opened(other)
    await other.cursor("SELECT 1")
    await end(other, keep=True)
    await end(one, keep=False)
    assert await other.fetchval(NAMES) is None


async def test_read_only_layers_hinder_no_writer(connect: Connect) -> None:
    """While one transaction is read-only, another of the same task may write."""
    reader, writer = connect(), connect()
    await reader.transaction(readonly=True).start()
    await reader.execute("SAVEPOINT s")
    await reader.fetchval("SELECT 1")
    await writer.execute(INSERT, "a")
    assert await reader.fetchval(NAMES) == ["a"]
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await reader.execute(INSERT, "b")
    await end(reader, keep=False)
    await writer.execute(INSERT, "c")
    assert await writer.fetchval(NAMES) == ["a", "c"]


async def test_a_failed_write_is_no_write(connect: Connect) -> None:
    """A statement that failed above an open writer does not hinder its rollback."""
    one, other = connect(), connect()
    await opened(one, "a")
    with pytest.raises(asyncpg.UniqueViolationError):
        await other.execute(INSERT, "a")
    await end(one, keep=False)
    assert await other.fetchval(NAMES) is None


async def test_an_aborted_write_is_no_write(connect: Connect) -> None:
    """What an aborted transaction wrote above can only be undone, so it is in nobody's way."""
    one, other = connect(), connect()
    await opened(one, "a")
    await opened(other, "b")
    with pytest.raises(asyncpg.UniqueViolationError):
        await other.execute(INSERT, "a")
    await end(one, keep=False)
    with pytest.raises(asyncpg.InFailedSQLTransactionError):
        await other.fetchval(NAMES)
    await end(other, keep=False)
    assert await one.fetchval(NAMES) is None


async def test_a_write_beneath_an_aborted_savepoint_is_one(connect: Connect) -> None:
    """What it wrote before a savepoint is not lost with that."""
    one, other = connect(), connect()
    await opened(one, "a")
    await opened(other, "b")
    await other.execute("SAVEPOINT s")
    with pytest.raises(asyncpg.UniqueViolationError):
        await other.execute(INSERT, "a")
    with pytest.raises(SandboxConflictError):
        await end(one, keep=False)


# ------------------------------------------------------------------ where things began


async def test_the_line_of_a_task_of_a_library(
    sandbox: Sandbox, sessions: async_sessionmaker[AsyncSession]
) -> None:
    """A flush in the task that SQLAlchemy starts at the end of `begin()` is its waiter's."""
    insert = text("INSERT INTO author (name, notes) VALUES ('a', '{}')")
    first = sessions()
    await first.execute(insert)
    place = here(1)
    async with sessions.begin() as second:
        second.add(Writer(name="b"))
    with pytest.raises(SandboxConflictError) as caught:
        await first.rollback()
    assert place in str(caught.value).partition("but")[2]
    assert sandbox.failure is caught.value


def test_a_caller_that_is_no_task() -> None:
    """Outside of tasks the line is found on the stack."""
    assert caller() == here()


async def test_a_caller_on_no_line() -> None:
    """Where nobody waits and only libraries run, the line is unknown."""
    found: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lambda: found.set_result(caller()))
    assert "test_turns.py" in await found


def test_a_library_in_a_bare_callback() -> None:
    """Whoever runs the loop is not the caller of what runs on it."""

    async def call() -> str:
        loop = asyncio.get_running_loop()
        found: asyncio.Future[str] = loop.create_future()
        loop.call_soon(eval, "found.set_result(caller())", {"found": found, "caller": caller})
        return await found

    assert asyncio.run(call()) == "an unknown line"


async def test_a_wait_that_outlasts_its_test_names_that_test(
    sandbox: Sandbox, connect: Connect, until_asleep: Callable[[], Any]
) -> None:
    """Its error is not that of the test that follows, and names the one that began it."""
    sandbox._patience = 0.3
    await connect().fetchval("SELECT 1")
    slow = asyncio.create_task(connect().execute("SELECT pg_sleep(100)"))
    await until_asleep()
    waiter = asyncio.create_task(connect().fetchval("SELECT 1"))
    await asyncio.sleep(0)  # it waits
    sandbox._patience = 5
    ending = asyncio.create_task(sandbox.end_test())  # gives the statement a moment
    with pytest.raises(SandboxDeadlockError, match='isolation="commit"\\) to the test'):
        await waiter
    await ending
    assert sandbox.failure is None
    with pytest.raises(WIRE_ERRORS):
        await slow


async def test_a_copy_whose_target_has_a_task_of_its_own(
    sandbox: Sandbox, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target that uses the database is told so at once: older asyncpg calls it in a new task."""

    async def wait_for(awaitable: Any, timeout: float | None) -> Any:  # noqa: ASYNC109  # asyncio's
        del timeout
        return await asyncio.ensure_future(awaitable)

    monkeypatch.setattr(asyncpg.compat, "wait_for", wait_for)
    sandbox._patience = 60
    other = connect()

    async def target(data: bytes) -> None:
        del data
        await other.execute(INSERT, "a")

    async with asyncio.timeout(30):
        with pytest.raises(SandboxDeadlockError, match="within another statement of the same task"):
            await connect().copy_from_query("SELECT 1", output=target)
