"""Tasks that begin to run before `create_task` returns, as Python 3.12 and later can have them."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from db_testing.errors import SandboxDeadlockError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

    from db_testing._sandbox._sandbox import Sandbox
    from db_testing._sandbox._virtual import VirtualConnection

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="asyncio.eager_task_factory is new in Python 3.12"
)

INSERT = "INSERT INTO author (name, notes) VALUES ($1, '{}')"
NAMES = "SELECT array_agg(name ORDER BY name) FROM author"


@pytest.fixture(autouse=True)
async def _eager(sandbox: Sandbox) -> Any:  # noqa: ANN401  # a generator
    """Let all tasks of a test begin at once."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
    yield
    loop.set_task_factory(None)


async def test_sessions_under_gather(sessions: async_sessionmaker[AsyncSession]) -> None:
    """Sessions of tasks take turns, as those of other tasks do."""

    async def add(name: str) -> None:
        async with sessions.begin() as session:
            await session.execute(
                text("INSERT INTO author (name, notes) VALUES (:name, '{}')"), {"name": name}
            )
            await asyncio.sleep(0)
            await session.execute(text("SELECT 1"))

    await asyncio.gather(*(add(name) for name in "abcde"))
    async with sessions() as session:
        assert (await session.execute(text(NAMES))).scalar_one() == list("abcde")


async def test_a_writer_is_waited_for(connect: Callable[[], VirtualConnection]) -> None:
    """A task that began before another wrote waits for its end."""
    one, other = connect(), connect()
    begun = asyncio.Event()

    async def read() -> Any:  # noqa: ANN401  # a row's value
        await begun.wait()
        return await other.fetchval(NAMES)

    reader = asyncio.create_task(read())
    transaction = one.transaction()
    await transaction.start()
    await one.execute(INSERT, "a")
    begun.set()
    await asyncio.sleep(0)
    await one.execute(INSERT, "b")
    assert not reader.done()
    await transaction.commit()
    assert await reader == ["a", "b"]


async def test_a_task_started_by_a_writer_overlaps_it(
    connect: Callable[[], VirtualConnection],
) -> None:
    """So that the writer may wait for it; it runs its first statement within `create_task`."""
    one, other = connect(), connect()
    async with one.transaction():
        await one.execute(INSERT, "a")
        assert await asyncio.create_task(other.fetchval(NAMES)) == ["a"]


async def test_deadlock(sandbox: Sandbox, connect: Callable[[], VirtualConnection]) -> None:
    """A wait that cannot end has a bound."""
    sandbox._patience = 0.2
    one, other = connect(), connect()
    begun = asyncio.Event()

    async def write() -> None:
        await begun.wait()
        await other.execute(INSERT, "b")

    writer = asyncio.create_task(write())
    async with one.transaction():
        await one.execute(INSERT, "a")
        begun.set()
        with pytest.raises(SandboxDeadlockError, match="has uncommitted changes"):
            await writer


async def test_cancelled_at_once(
    connect: Callable[[], VirtualConnection], until_asleep: Callable[[], Any]
) -> None:
    """A task cancelled in its first statement leaves nothing that others would wait for."""
    one = connect()
    task = asyncio.create_task(one.execute("SELECT pg_sleep(100)"))
    await until_asleep()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await connect().execute(INSERT, "a")
    assert await one.fetchval(NAMES) == ["a"]
