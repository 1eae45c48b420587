"""Event loops and threads besides those of the test."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.exc import MissingGreenlet

from .table import refused, same

if TYPE_CHECKING:
    from .conftest import World

AREA = "Event loops and threads"

ONE = "SELECT 1"


@refused(
    gives=1,
    error="SandboxLoopError",
    note="A transaction lives on one connection, and asyncpg's connections on one loop.",
)
async def test_second_loop(w: World) -> object:
    """A second event loop: that of a fixture of another loop scope, or of a thread."""
    one = await w.connect()
    await one.fetchval(ONE)

    async def work() -> object:
        two = await w._connect()
        try:
            return await two.fetchval(ONE)
        finally:
            await two.close()

    return await asyncio.to_thread(asyncio.run, work())


@same(gives=1)
async def test_thread_without_a_loop(w: World) -> object:
    """A thread without a loop hands its work to the test's, by run_coroutine_threadsafe()."""
    one, loop = await w.connect(), asyncio.get_running_loop()

    def work() -> object:
        return asyncio.run_coroutine_threadsafe(one.fetchval(ONE), loop).result(timeout=10)

    return await asyncio.to_thread(work)


@same(gives="MissingGreenlet")
async def test_thread_without_a_loop_uses_a_session(w: World) -> object:
    """A thread without a loop that uses an AsyncSession's synchronous side."""
    async with w.session() as session:
        await session.execute(text(ONE))
        try:
            return await asyncio.to_thread(session.sync_session.scalar, text(ONE))
        except MissingGreenlet as error:
            return type(error).__name__
