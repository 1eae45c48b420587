"""States in the middle of a test to fall back to, as data layers in tests do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from db_testing.errors import SandboxConflictError, SandboxLostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from db_testing._sandbox._sandbox import Sandbox
    from db_testing._sandbox._virtual import VirtualConnection

    Connect = Callable[[], VirtualConnection]

INSERT = "INSERT INTO author (name, notes) VALUES ($1, '{}')"
NAMES = "SELECT array_agg(name ORDER BY name) FROM author"


async def test_a_rollback_while_a_ground_is_laid(sandbox: Sandbox, connect: Connect) -> None:
    """It would take the ground away, so it is refused as later ones are."""
    one = connect()
    transaction = one.transaction()
    await transaction.start()
    await one.execute(INSERT, "before")

    async def roll_back() -> None:
        with pytest.raises(SandboxConflictError, match="the data layer begun at"):
            await transaction.rollback()

    (live, ground), _ = await asyncio.gather(sandbox.lay(), roll_back())
    await sandbox.fall_back(live, ground)
    assert not sandbox.lost
    assert not sandbox.committed


async def test_a_return_that_is_cancelled(sandbox: Sandbox, connect: Connect) -> None:
    """How far the server had come is not known: the connection is gone, and nothing committed."""
    await connect().execute(INSERT, "before")
    live, ground = await sandbox.lay()
    ground.restoring = "SELECT pg_sleep(30)"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await sandbox.fall_back(live, ground)
    with pytest.raises(SandboxLostError):
        await connect().fetchval(NAMES)
    await sandbox.end_test()
    assert not sandbox.committed


async def test_a_ground_that_cannot_be_laid(sandbox: Sandbox, connect: Connect) -> None:
    """Where a role may not read the sequences, the error is the server's, and the test goes on."""
    one = connect()
    await one.execute(INSERT, "a")
    await one.execute("SET ROLE pg_monitor")
    await one.execute("CREATE TEMPORARY SEQUENCE own")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await sandbox.lay()
    await one.execute("RESET ROLE")
    assert await one.fetchval(NAMES) == ["a"]


async def test_a_commit_beneath_a_ground(sandbox: Sandbox, connect: Connect) -> None:
    """What was committed above an open transaction outlives that, with a ground in between."""
    one, two = connect(), connect()
    transaction = one.transaction()
    await transaction.start()
    await one.fetchval("SELECT 1")
    await two.execute(INSERT, "committed")
    await sandbox.fall_back(*await sandbox.lay())
    with pytest.raises(asyncpg.UndefinedTableError):
        await one.execute("TABLE nowhere")
    assert await two.fetchval(NAMES) == ["committed"]
    await transaction.rollback()
    assert await two.fetchval(NAMES) == ["committed"]
