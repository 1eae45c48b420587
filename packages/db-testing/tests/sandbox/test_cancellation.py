"""Cancellation at any moment: nothing is lost, nothing is kept, and everything works afterwards."""

# ruff: noqa: ANN401  # what a driver takes and returns is whatever it is
from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from sqlalchemy import text

from db_testing._sandbox import _runtime, _wire
from db_testing.errors import SandboxLostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

    from db_testing._sandbox._sandbox import Sandbox
    from db_testing._sandbox._virtual import VirtualConnection

    Connect = Callable[[], VirtualConnection]

INSERT = "INSERT INTO author (name, notes) VALUES ($1, '{}')"
NAMES = "SELECT array_agg(name ORDER BY name) FROM author"
SLEEP = "SELECT pg_sleep(100)"


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_in_a_statement(connect: Connect, until_asleep: Callable[[], Any]) -> None:
    """A cancelled statement aborts its transaction, as in production, and ends at the server."""
    connection, other = connect(), connect()

    async def work() -> None:
        async with connection.transaction():
            await connection.execute(INSERT, "lost")
            await connection.execute(SLEEP)

    task = asyncio.create_task(work())
    await until_asleep()
    await cancelled(task)
    assert await other.fetchval(NAMES) is None
    await connection.execute(INSERT, "a")
    assert await other.fetchval(NAMES) == ["a"]


async def test_the_transaction_of_a_cancelled_statement_is_aborted(
    connect: Connect, until_asleep: Callable[[], Any]
) -> None:
    """Who catches the cancellation finds the transaction aborted, and may return to a savepoint."""
    connection = connect()
    async with connection.transaction():
        await connection.execute(INSERT, "a")
        await connection.execute("SAVEPOINT s")
        task = asyncio.create_task(connection.execute(SLEEP))
        await until_asleep()
        await cancelled(task)
        with pytest.raises(asyncpg.InFailedSQLTransactionError):
            await connection.fetchval("SELECT 1")
        await connection.execute("ROLLBACK TO s")
        await connection.execute(INSERT, "b")
    assert await connection.fetchval(NAMES) == ["a", "b"]


async def test_timeout(sessions: async_sessionmaker[AsyncSession]) -> None:
    """`asyncio.timeout` ends a statement; the session can be rolled back and used."""
    async with sessions() as session:
        await session.execute(text("INSERT INTO author (name, notes) VALUES ('lost', '{}')"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await session.execute(text(SLEEP))
        await session.rollback()
    async with sessions() as session:
        assert (await session.execute(text(NAMES))).scalar_one() is None


async def test_the_drivers_own_timeout(connect: Connect) -> None:
    """So does asyncpg's `timeout` argument."""
    connection = connect()
    with pytest.raises(TimeoutError):
        await connection.execute(SLEEP, timeout=0.05)
    assert await connection.fetchval("SELECT 1") == 1


async def test_while_waiting_for_a_holder(connect: Connect) -> None:
    """A statement that is cancelled before its turn never runs, and keeps nobody waiting."""
    holder, waiter = connect(), connect()
    task = asyncio.create_task(waiter.execute(INSERT, "never"))
    await holder.transaction().start()
    await holder.execute(INSERT, "a")
    await cancelled(task)
    await holder.end(keep=True)
    assert await waiter.fetchval(NAMES) == ["a"]


async def test_while_waiting_for_a_statement(
    connect: Connect, until_asleep: Callable[[], Any]
) -> None:
    """The same while another's statement is on the wire; the cancellation waits for nothing."""
    sleeper, waiter = connect(), connect()
    sleeping = asyncio.create_task(sleeper.execute(SLEEP))
    await until_asleep()
    waiting = asyncio.create_task(waiter.execute(INSERT, "never"))
    await asyncio.sleep(0)
    async with asyncio.timeout(2):
        await cancelled(waiting)
    assert not sleeping.done()
    await cancelled(sleeping)
    assert await waiter.fetchval(NAMES) is None


async def test_a_session_that_waits_is_cancelled(
    sessions: async_sessionmaker[AsyncSession],
) -> None:
    """A whole session that waits can be thrown away."""
    insert = text("INSERT INTO author (name, notes) VALUES (:name, '{}')")

    async def work() -> None:
        async with sessions.begin() as session:
            await session.execute(insert, {"name": "never"})

    task = asyncio.create_task(work())
    async with sessions() as holder:
        await holder.execute(insert, {"name": "a"})
        await asyncio.sleep(0)
        await cancelled(task)
        await holder.commit()
    async with sessions() as session:
        assert (await session.execute(text(NAMES))).scalar_one() == ["a"]


@pytest.mark.parametrize("steps", range(1, 14))
async def test_after_any_number_of_steps(sandbox: Sandbox, connect: Connect, steps: int) -> None:
    """Wherever a cancellation hits, the sandbox's own bookkeeping included, nothing breaks."""
    kept, other = connect(), connect()
    await kept.execute(INSERT, "kept")
    connection = connect()

    async def work() -> None:
        async with connection.transaction():
            await connection.fetchval(NAMES)
            async with connection.transaction():
                await connection.execute(INSERT, "a")
            await connection.execute(INSERT, "b")
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    for _ in range(steps):
        await asyncio.sleep(0.0005)
        await asyncio.sleep(0)
    await cancelled(task)
    assert await other.fetchval(NAMES) == ["kept"]
    await connection.execute(INSERT, "after")
    assert await other.fetchval(NAMES) == ["after", "kept"]
    assert sandbox.failure is None


@pytest.mark.parametrize("which", ["SAVEPOINT", "SELECT set_config", "SET CONSTRAINTS"])
async def test_in_the_sandboxs_own_bookkeeping(
    sandbox: Sandbox,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    which: str,
) -> None:
    """What the sandbox sends is finished before the cancellation takes effect."""
    connection = connect()
    await connection.execute(INSERT, "kept")
    wire = sandbox.connected()
    execute = type(wire).execute
    sending = asyncio.Event()

    async def announced(self: Any, query: str, *args: Any, **options: Any) -> Any:
        if which in query:
            sending.set()
            await asyncio.sleep(0)
        return await execute(self, query, *args, **options)

    async def work() -> None:
        async with connection.transaction():
            await connection.execute("SET LOCAL work_mem = '1MB'")
            await connection.execute(INSERT, "a")

    monkeypatch.setattr(type(wire), "execute", announced)
    task = asyncio.create_task(work())
    await sending.wait()
    await cancelled(task)
    assert await connection.fetchval(NAMES) == ["kept"]
    assert await connection.fetchval("SHOW work_mem") != "1MB"
    assert sandbox.failure is None


async def test_while_connecting(connect: Connect) -> None:
    """Whoever connects first may be cancelled; who waits for the connection connects itself."""
    first = asyncio.create_task(connect().execute("SELECT 1"))
    second = asyncio.create_task(connect().fetchval("SELECT 1"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await cancelled(first)
    assert await second == 1


async def test_while_a_codec_is_adopted(connect: Connect) -> None:
    """A change of codecs is finished, too."""
    connection, other = connect(), connect()
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=str, decoder=lambda value: value + "!"
    )
    task = asyncio.create_task(other.fetchval("SELECT 1"))
    for _ in range(3):
        await asyncio.sleep(0)
    await cancelled(task)
    assert await connection.fetchval("SELECT '1'::jsonb") == "1!"
    assert await other.fetchval("SELECT '1'::jsonb") == "1"


async def test_cancelled_twice(connect: Connect, until_asleep: Callable[[], Any]) -> None:
    """An impatient caller, who cancels again and again, changes nothing."""
    connection = connect()
    await connection.execute(INSERT, "a")
    task = asyncio.create_task(connection.execute(SLEEP))
    await until_asleep()
    for _ in range(5):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await connection.fetchval(NAMES) == ["a"]


async def test_every_task_is_cancelled(
    sandbox: Sandbox, connect: Connect, until_asleep: Callable[[], Any]
) -> None:
    """Who ends all tasks of a loop ends the sandbox's steps too: the test is lost, not the run."""
    connection = connect()
    await connection.execute(INSERT, "a")
    task = asyncio.create_task(connection.execute(SLEEP))
    await until_asleep()
    me = asyncio.current_task()
    while not task.done():
        for other in asyncio.all_tasks() - {me}:
            other.cancel()
        await asyncio.sleep(0)
    await sandbox.end_test()
    sandbox.begin_test("the next test")
    await connection.execute(INSERT, "a")
    assert await connection.fetchval(NAMES) == ["a"]


async def test_a_step_that_is_cancelled_itself() -> None:
    """Who cancels what the step waits for, and not its caller, has made its effect unknown."""
    unknown: list[bool] = []
    answer = asyncio.get_running_loop().create_future()

    async def wait() -> None:
        await answer

    task = asyncio.ensure_future(
        _runtime.uninterrupted(wait(), otherwise=lambda: unknown.append(True))
    )
    await asyncio.sleep(0)
    answer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert unknown == [True]


async def test_a_step_that_is_thrown_away() -> None:
    """A task that nobody runs to its end, as when its loop is closed, does not end its step."""
    unknown: list[bool] = []

    async def caller() -> None:
        await _runtime.uninterrupted(asyncio.sleep(100), otherwise=lambda: unknown.append(True))

    step = caller()
    step.send(None)
    step.close()
    assert unknown == [True]


async def test_a_step_outlasts_every_cancellation() -> None:
    """However often its caller is cancelled, a step is taken to its end, sleeping or not."""
    taken: list[str] = []
    answers = [asyncio.get_running_loop().create_future() for _ in range(2)]

    async def step() -> None:
        taken.append(await answers[0])
        await asyncio.sleep(0)
        taken.append(await answers[1])

    task = asyncio.ensure_future(_runtime.uninterrupted(step(), otherwise=lambda: None))
    for answer in answers:
        for _ in range(4):
            await asyncio.sleep(0)
            task.cancel()
        answer.set_result("answer")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert taken == ["answer", "answer"]


async def test_an_error_after_the_cancellation_is_not_reported(connect: Connect) -> None:
    """A step that fails after its caller was cancelled is nobody's unretrieved exception."""
    reported: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    failing = asyncio.Event()

    async def fail() -> None:
        failing.set()
        await asyncio.sleep(0)
        raise ZeroDivisionError

    task = asyncio.ensure_future(_runtime.uninterrupted(fail(), otherwise=lambda: None))
    await failing.wait()
    await cancelled(task)
    gc.collect()
    assert reported == []


async def test_a_statement_that_cannot_be_cancelled(
    sandbox: Sandbox,
    connect: Connect,
    until_asleep: Callable[[], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When the server does not confirm in time that a statement has ended, the wire is given up."""
    connection = connect()
    await connection.execute(INSERT, "a")
    wire = sandbox.connected()
    execute = type(wire).execute

    async def never(self: Any, query: str, *args: Any, **options: Any) -> Any:
        if query == "SELECT":
            await asyncio.Event().wait()
        return await execute(self, query, *args, **options)

    monkeypatch.setattr(type(wire), "execute", never)
    monkeypatch.setattr(_wire, "CANCEL_PATIENCE", 0.05)
    task = asyncio.create_task(connection.execute(SLEEP))
    await until_asleep()
    await cancelled(task)
    with pytest.raises(SandboxLostError):
        await connection.fetchval("SELECT 1")
    assert isinstance(sandbox.failure, SandboxLostError)


async def test_a_connection_that_is_half_gone(sandbox: Sandbox, connect: Connect) -> None:
    """A driver that has read the server's goodbye, but not yet its end, is no riddle."""
    await connect().execute(INSERT, "a")

    async def half_gone(wire: Any) -> None:
        wire.terminate()
        message = "cannot switch to state 11; another operation (2) is in progress"
        raise asyncpg.InternalClientError(message)

    with pytest.raises(SandboxLostError, match="closed the connection"):
        await sandbox.statement("SELECT", half_gone)


async def test_a_coroutine_that_is_closed(sandbox: Sandbox, connect: Connect) -> None:
    """A coroutine that is thrown away in the middle of a message takes its wire along."""
    connection = connect()
    await connection.execute(INSERT, "a")

    async def thrown_away(_: Any) -> None:
        raise GeneratorExit

    with pytest.raises(GeneratorExit):
        await sandbox.statement("SELECT", thrown_away)
    with pytest.raises(SandboxLostError):
        await connection.fetchval("SELECT 1")
    await sandbox.end_test()
    sandbox.begin_test("the next test")
    assert await connection.fetchval(NAMES) is None


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.execute("INSERT INTO author (name, notes) VALUES ('x', '{}')", timeout=0.1),
        lambda c: c.executemany("SELECT $1::int", [(1,)], timeout=0.1),
        lambda c: c.fetch("SELECT 1", timeout=0.1),
        lambda c: c.fetchrow("SELECT 1", timeout=0.1),
        lambda c: c.fetchval("SELECT 1", timeout=0.1),
        lambda c: c.prepare("SELECT 1", timeout=0.1),
        lambda c: c.copy_records_to_table("author", records=[], timeout=0.1),
    ],
    ids=["execute", "executemany", "fetch", "fetchrow", "fetchval", "prepare", "copy"],
)
async def test_the_drivers_timeout_bounds_the_wait_for_a_turn(
    sandbox: Sandbox, connect: Connect, call: Callable[[Any], Any]
) -> None:
    """As in production, where the server lets a statement wait, and it leaves nothing behind."""
    holder, other = connect(), connect()
    begun = asyncio.Event()

    async def wait() -> None:
        await begun.wait()
        with pytest.raises(TimeoutError):
            await call(other)

    waiter = asyncio.create_task(wait())
    await holder.transaction().start()
    await holder.execute(INSERT, "a")
    begun.set()
    await waiter
    await holder.end(keep=True)
    assert await other.fetchval("SELECT array_agg(name) FROM author") == ["a"]
    assert sandbox.failure is None


async def test_a_timeout_costs_its_transaction(connect: Connect) -> None:
    """As a statement that the server was told to cancel; what was prepared works again."""
    holder, other = connect(), connect()
    begun = asyncio.Event()
    statement = await other.prepare("SELECT 1")

    async def wait() -> None:
        transaction = other.transaction()
        await transaction.start()
        await begun.wait()
        with pytest.raises(TimeoutError):
            await statement.fetchval(timeout=0.1)
        with pytest.raises(asyncpg.InFailedSQLTransactionError):
            await statement.fetchval()
        await transaction.rollback()

    waiter = asyncio.create_task(wait())
    await holder.transaction().start()
    await holder.execute(INSERT, "a")
    begun.set()
    await waiter
    await holder.end(keep=True)
    assert await statement.fetchval() == 1


async def test_the_drivers_timeout_ends_a_statement(connect: Connect) -> None:
    """Of a cursor, too."""
    connection = connect()
    with pytest.raises(TimeoutError):
        await connection.execute("SELECT pg_sleep(100)", timeout=0.1)
    async with connection.transaction():
        slow = "SELECT pg_sleep(100 * (n - 1)) FROM generate_series(1, 2) AS n"
        cursor = await connection.cursor(slow, timeout=5)
        await cursor.fetchrow()
        with pytest.raises(TimeoutError):
            await cursor.fetchrow(timeout=0.1)
        with pytest.raises(asyncpg.InFailedSQLTransactionError):
            await connection.fetchval("SELECT 1")
    assert await connection.fetchval("SELECT 1") == 1


async def test_step_is_finished_however_often_it_is_cancelled() -> None:
    """What must not stop half-way goes on to its end, and only then the task is cancelled."""
    reached, go, took = asyncio.Event(), asyncio.Event(), list[str]()

    async def step() -> None:
        reached.set()
        await go.wait()
        took.append("the whole step")

    async def work() -> None:
        await _runtime.uninterrupted(step(), otherwise=lambda: took.append("no step"))

    task = asyncio.create_task(work())
    await reached.wait()
    for _ in range(3):
        task.cancel()
        for _ in range(3):
            await asyncio.sleep(0)
        assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert took == ["the whole step"]
