"""What connections see of each other, and how they wait."""

# ruff: noqa: ANN401  # what a driver takes and returns is whatever it is
from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from .table import attempt, different, refused, same

if TYPE_CHECKING:
    from .conftest import World

AREA = "Concurrency"

ADD = "INSERT INTO item (name) VALUES ($1)"
NAMES = "SELECT array_agg(name ORDER BY name) FROM item"
JOB = "SELECT name FROM item ORDER BY id LIMIT 1 FOR UPDATE"
ONE_TASK = (
    "Within one task a transaction overlaps another that has written, and sees its rows as if "
    "they had been committed, for waiting would never end."
)


async def _begin(connection: Any) -> Any:
    transaction = connection.transaction()
    await transaction.start()
    return transaction


@same(gives=[["a"], ["a", "b"]])
async def test_non_repeatable_read(w: World) -> object:
    """A transaction sees what others commit while it is open."""
    one, two = await w.connect(), await w.connect()
    await one.execute(ADD, "a")
    transaction = await _begin(one)
    seen = [await one.fetchval(NAMES)]
    await two.execute(ADD, "b")
    seen.append(await one.fetchval(NAMES))
    await transaction.commit()
    return seen


@same(gives=[["a"], ["a"]])
async def test_other_task_sees_committed_rows(w: World) -> object:
    """A task never sees rows of another task that are rolled back."""
    one, two = await w.connect(), await w.connect()
    await one.execute(ADD, "a")
    wrote, seen = asyncio.Event(), []

    async def write() -> None:
        await wrote.wait()
        transaction = await _begin(one)
        await one.execute(ADD, "b")
        asking = w.start(read())
        await asyncio.sleep(0)
        await transaction.rollback()
        await asking

    async def read() -> None:
        seen.append(await two.fetchval(NAMES))

    writing = w.start(write())
    await read()
    wrote.set()
    await writing
    return seen


@different(gives=None, here=["a"], note=ONE_TASK)
async def test_one_task_sees_uncommitted_rows(w: World) -> object:
    """Uncommitted rows are invisible to another connection of the same task."""
    one, two = await w.connect(), await w.connect()
    transaction = await _begin(one)
    await one.execute(ADD, "a")
    seen = await two.fetchval(NAMES)
    await transaction.rollback()
    return seen


@different(
    gives=None,
    here=["a"],
    note="Nobody knows who has a transaction now if the task that last used it is done, so that "
    "nothing waits for it. asyncio.wait_for() is such a task up to Python 3.11.",
)
async def test_other_task_sees_rows_of_a_task_that_is_done(w: World) -> object:
    """Uncommitted rows are invisible to others when the task that wrote them is done."""
    one, two = await w.connect(), await w.connect()
    transaction = await _begin(one)
    asked, seen = asyncio.Event(), []

    async def read() -> None:
        await asked.wait()
        seen.append(await two.fetchval(NAMES))

    reading = w.start(read())
    await w.start(one.execute(ADD, "a"))
    asked.set()
    await reading
    await transaction.rollback()
    return seen[0]


@different(gives="LockNotAvailableError", here="UPDATE 1", note=ONE_TASK)
async def test_row_lock_in_one_task(w: World) -> object:
    """A row that was changed, but not committed, is locked for others of the same task."""
    one, two = await w.connect(), await w.connect()
    await one.execute(ADD, "a")
    await two.execute("SET lock_timeout = '50ms'")
    transaction = await _begin(one)
    await one.execute("UPDATE item SET n = n + 1")
    result = await attempt(two.execute("UPDATE item SET n = n + 1"))
    if result != "UPDATE 1":
        await transaction.rollback()
    return result


@same(gives=2)
async def test_row_lock_between_tasks(w: World) -> object:
    """A row that another task has changed, but not committed, is waited for."""
    one, two = await w.connect(), await w.connect()
    await one.execute(ADD, "a")
    changed = asyncio.Event()

    async def first() -> None:
        async with one.transaction():
            await one.execute("UPDATE item SET n = n + 1")
            changed.set()
            await one.execute("SELECT pg_sleep(0.05)")

    async def second() -> None:
        await changed.wait()
        await two.execute("UPDATE item SET n = n + 1")

    await asyncio.gather(first(), second())
    return await one.fetchval("SELECT n FROM item")


@same(gives=1)
async def test_lost_update(w: World) -> object:
    """Of two transactions that read, add and write, one update is lost."""
    one, two = await w.connect(), await w.connect()
    await one.execute(ADD, "a")
    first, second = await _begin(one), await _begin(two)
    read = [await c.fetchval("SELECT n FROM item") for c in (one, two)]
    await one.execute("UPDATE item SET n = $1", read[0] + 1)
    await first.commit()
    await two.execute("UPDATE item SET n = $1", read[1] + 1)
    await second.commit()
    return await one.fetchval("SELECT n FROM item")


@same(gives=2)
async def test_for_update(w: World) -> object:
    """With SELECT ... FOR UPDATE between tasks no update is lost."""
    connections = [await w.connect(), await w.connect()]
    await connections[0].execute(ADD, "a")

    async def add(connection: Any) -> None:
        async with connection.transaction():
            n = await connection.fetchval("SELECT n FROM item FOR UPDATE")
            await asyncio.sleep(0)
            await connection.execute("UPDATE item SET n = $1", n + 1)

    await asyncio.gather(*map(add, connections))
    return await connections[0].fetchval("SELECT n FROM item")


@same(gives=["a", "b"])
async def test_skip_locked_alone(w: World) -> object:
    """FOR UPDATE SKIP LOCKED in transactions that do not overlap."""
    one = await w.connect()
    await one.execute("INSERT INTO item (name) VALUES ('a'), ('b')")
    taken = []
    for _ in range(2):
        async with one.transaction():
            taken.append(await one.fetchval(f"{JOB} SKIP LOCKED"))
            await one.execute("DELETE FROM item WHERE name = $1", taken[-1])
    return taken


@same(gives=["a", "b"])
async def test_skip_locked_between_tasks(w: World) -> object:
    """Tasks that take jobs by FOR UPDATE SKIP LOCKED take one each."""
    connections = [await w.connect(), await w.connect()]
    await connections[0].execute("INSERT INTO item (name) VALUES ('a'), ('b')")

    async def take(connection: Any) -> Any:
        async with connection.transaction():
            name = await connection.fetchval(f"{JOB} SKIP LOCKED")
            await connection.execute("DELETE FROM item WHERE name = $1", name)
            return name

    return sorted(await asyncio.gather(*map(take, connections)))


@refused(gives="b", note="A connection does not see its own locks.")
async def test_skip_locked_overlapping(w: World) -> object:
    """FOR UPDATE SKIP LOCKED while another transaction of the same task has locked rows."""
    one, two = await w.connect(), await w.connect()
    await one.execute("INSERT INTO item (name) VALUES ('a'), ('b')")
    transaction = await _begin(one)
    await one.fetchval(f"{JOB} SKIP LOCKED")
    taken = await two.fetchval(f"{JOB} SKIP LOCKED")
    await transaction.rollback()
    return taken


@refused(gives="LockNotAvailableError", note="A connection does not see its own locks.")
async def test_nowait_overlapping(w: World) -> object:
    """NOWAIT while another transaction of the same task has locked rows."""
    one, two = await w.connect(), await w.connect()
    await one.execute(ADD, "a")
    transaction = await _begin(one)
    await one.fetchval(JOB)
    taken = await attempt(two.fetchval(f"{JOB} NOWAIT"))
    await transaction.rollback()
    return taken


@different(gives="LockNotAvailableError", here="LOCK TABLE", note=ONE_TASK)
async def test_lock_table(w: World) -> object:
    """LOCK TABLE locks a table for another connection of the same task."""
    one, two = await w.connect(), await w.connect()
    await two.execute("SET lock_timeout = '50ms'")
    first = await _begin(one)
    await one.execute("LOCK TABLE item")
    second = await _begin(two)
    result = await attempt(two.execute("LOCK TABLE item"))
    await second.rollback()
    await first.rollback()
    return result


@different(
    gives=["DeadlockDetectedError", "committed"],
    here=["committed", "committed"],
    note="Transactions of tasks take turns once they write, so these two never meet.",
)
async def test_deadlock(w: World) -> object:
    """Two tasks that lock two rows in opposite orders end in a deadlock."""
    connections = [await w.connect(), await w.connect()]
    await connections[0].execute("INSERT INTO item (name) VALUES ('a'), ('b')")
    meeting = asyncio.Barrier(2)

    async def work(connection: Any, *names: str) -> str:
        await connection.execute("SET deadlock_timeout = '10ms'")

        async def both() -> str:
            async with connection.transaction():
                await connection.execute("UPDATE item SET n = 1 WHERE name = $1", names[0])
                meet = w.start(meeting.wait())
                await asyncio.wait({meet}, timeout=0.2)
                await connection.execute("UPDATE item SET n = 1 WHERE name = $1", names[1])
            return "committed"

        return await attempt(both())

    return sorted(
        await asyncio.gather(work(connections[0], "a", "b"), work(connections[1], "b", "a"))
    )


@refused(
    gives=1,
    error="SandboxDeadlockError",
    note="A transaction that has written holds the turn until it ends; the wait has a bound.",
)
async def test_wait_for_another_writer(w: World) -> object:
    """A transaction that has written waits for another task, which writes too."""
    one, two = await w.connect(), await w.connect()
    ready, release = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with one.transaction():
            await one.execute(ADD, "a")
            ready.set()
            await release.wait()

    holding = w.start(hold())
    await ready.wait()
    await two.execute(ADD, "b")
    release.set()
    await holding
    return 1


@refused(gives="SerializationError", note="There is no such level in the outer transaction.")
async def test_serialization_failure(w: World) -> object:
    """A serialisation failure between two REPEATABLE READ transactions."""
    one, two = await w.connect(), await w.connect()
    await one.execute(ADD, "a")
    transaction = two.transaction(isolation="repeatable_read")
    await transaction.start()
    await two.fetchval(NAMES)
    await one.execute("UPDATE item SET n = 1")
    failed = await attempt(two.execute("UPDATE item SET n = 2"))
    await transaction.rollback()
    return failed


@same(gives=[True, None])
async def test_advisory_lock(w: World) -> object:
    """An advisory lock of the session outlives a rollback, and can be given up."""
    one = await w.connect()
    transaction = await _begin(one)
    await one.execute("SELECT pg_advisory_lock(1)")
    await transaction.rollback()
    return [
        await one.fetchval("SELECT pg_advisory_unlock(1)"),
        await one.fetchval("SELECT pg_advisory_unlock_all()") or None,
    ]


@different(
    gives=[False, "LockNotAvailableError"],
    here=[True, ""],
    note="All connections of a test are one session, which holds the lock already.",
)
async def test_try_advisory_lock(w: World) -> object:
    """A session's advisory lock is denied to another connection, or waited for."""
    one, two = await w.connect(), await w.connect()
    await two.execute("SET lock_timeout = '50ms'")
    await one.execute("SELECT pg_advisory_lock(1)")
    return [
        await two.fetchval("SELECT pg_try_advisory_lock(1)"),
        await attempt(two.fetchval("SELECT pg_advisory_lock(1)::text")),
    ]


@refused(gives=False, note="A connection does not see its own locks.")
async def test_try_advisory_xact_lock(w: World) -> object:
    """pg_try_advisory_xact_lock() of a lock that another open transaction holds."""
    one, two = await w.connect(), await w.connect()
    transaction = await _begin(one)
    await one.execute("SELECT pg_advisory_xact_lock(1)")
    taken = await two.fetchval("SELECT pg_try_advisory_xact_lock(1)")
    await transaction.rollback()
    return taken


@same(gives=True)
async def test_advisory_xact_lock_ends(w: World) -> object:
    """pg_try_advisory_xact_lock() after the transaction that held the lock."""
    one, two = await w.connect(), await w.connect()
    async with one.transaction():
        await one.execute("SELECT pg_advisory_xact_lock(1)")
    return await two.fetchval("SELECT pg_try_advisory_xact_lock(1)")


@different(
    gives=["a"],
    here=None,
    note="Nothing is committed: connections that are not the fixtures' see the template only.",
)
async def test_outside(w: World) -> object:
    """Another process, or code that connects by a URL, reads committed rows."""
    one, outside = await w.connect(), await w.outside()
    await one.execute(ADD, "a")
    return await outside.fetchval(NAMES)


@different(gives=False, here=True, note="All connections of a test are one.")
async def test_backend_pid(w: World) -> object:
    """Two connections have two backends: pg_backend_pid(), pg_cancel_backend(), pg_locks."""
    one, two = await w.connect(), await w.connect()
    pids = [await c.fetchval("SELECT pg_backend_pid()") for c in (one, two)]
    return pids[0] == pids[1]


@refused(
    gives=[True, 0],
    error="SandboxLostError",
    note="The connection of the whole test is lost, and its rows with it.",
)
async def test_terminate(w: World) -> object:
    """pg_terminate_backend() of another connection."""
    one, two = await w.connect(), await w.connect()
    pid = await one.fetchval("SELECT pg_backend_pid()")
    closed = asyncio.Event()
    one.add_termination_listener(lambda _: closed.set())
    if await attempt(two.execute("SELECT pg_terminate_backend($1, 5000)", pid)) == "SELECT 1":
        await closed.wait()
    return [
        str(await attempt(one.fetchval("SELECT 1"))).endswith("Error"),
        await two.fetchval("SELECT count(*) FROM item"),
    ]
