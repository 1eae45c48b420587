"""Clocks and timeouts."""

# ruff: noqa: ANN401  # what a driver takes and returns is whatever it is
from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from .table import attempt, different, refused, same

if TYPE_CHECKING:
    from .conftest import World

AREA = "Time"
OUTER = "It is the time at which the test's outer transaction began."


async def _in_transactions(connection: Any, sql: str) -> list[Any]:
    found = []
    for _ in range(2):
        async with connection.transaction():
            found.append(await connection.fetchval(sql))
    return found


@different(gives=True, here=False, note=OUTER)
async def test_now(w: World) -> object:
    """now() and transaction_timestamp() move on from transaction to transaction."""
    one = await w.connect()
    first, second = await _in_transactions(one, "SELECT now()")
    return first < second


@different(gives=[True, True], here=[False, False], note=OUTER)
async def test_now_in_autocommit(w: World) -> object:
    """now() moves on from statement to statement in autocommit, also as a column's default."""
    one = await w.connect()
    await one.execute("CREATE TABLE log (at timestamptz DEFAULT now())")
    for _ in range(2):
        await one.execute("INSERT INTO log DEFAULT VALUES")
    return [
        await one.fetchval("SELECT min(at) < max(at) FROM log"),
        await one.fetchval("SELECT now()") < await one.fetchval("SELECT now()"),
    ]


@same(gives=True)
async def test_now_stands_still(w: World) -> object:
    """now() is one value within a transaction."""
    one = await w.connect()
    async with one.transaction():
        return await one.fetchval("SELECT now()") == await one.fetchval("SELECT now()")


@same(gives=[True, True])
async def test_clock(w: World) -> object:
    """clock_timestamp() and statement_timestamp() move on."""
    one = await w.connect()
    found = []
    for function in ("clock_timestamp()", "statement_timestamp()"):
        first, second = await _in_transactions(one, f"SELECT {function}")
        found.append(first < second)
    return found


@same(gives=["QueryCanceledError", 1])
async def test_statement_timeout(w: World) -> object:
    """statement_timeout ends a statement."""
    one = await w.connect()
    transaction = one.transaction()
    await transaction.start()
    await one.execute("SET LOCAL statement_timeout = '20ms'")
    failed = await attempt(one.execute("SELECT pg_sleep(10)"))
    await transaction.rollback()
    return [failed, await one.fetchval("SELECT 1 FROM pg_sleep(0.03)")]


@refused(
    gives="InterfaceError",
    error="SandboxLostError",
    note="It ends the connection of the whole test.",
)
async def test_idle_in_transaction_session_timeout(w: World) -> object:
    """idle_in_transaction_session_timeout ends a transaction."""
    one, outside = await w.connect(), await w.outside()
    transaction = one.transaction()
    await transaction.start()
    closed = asyncio.Event()
    one.add_termination_listener(lambda _: closed.set())
    await one.execute("SET idle_in_transaction_session_timeout = '10ms'")
    pid = await one.fetchval("SELECT pg_backend_pid()")
    # The server says so to a client that does not listen; the next statement finds it.
    while await outside.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid):
        await outside.execute("SELECT pg_sleep(0.01)")
    if type(one) is asyncpg.Connection:  # which notices by itself, a little later
        await closed.wait()
    return await attempt(one.fetchval("SELECT 1"))


@refused(
    gives=[True, 1],
    error="SandboxLostError",
    note="It ends the connection of the whole test.",
)
@pytest.mark.since(17)
async def test_transaction_timeout(w: World) -> object:
    """transaction_timeout ends a transaction."""
    one, two = await w.connect(), await w.connect()
    await one.execute("SET transaction_timeout = '20ms'")
    transaction = one.transaction()
    await transaction.start()
    failed = await attempt(one.execute("SELECT pg_sleep(10)"))
    return [failed.endswith("Error"), await two.fetchval("SELECT 1")]


@same(gives=["QueryCanceledError", "LockNotAvailableError"])
async def test_lock_timeout(w: World) -> object:
    """lock_timeout and statement_timeout end a wait for another process's lock."""
    one, outside = await w.connect(), await w.outside()
    found = []
    async with outside.transaction():
        await outside.execute("LOCK TABLE item")
        for setting in ("statement_timeout", "lock_timeout"):
            transaction = one.transaction()
            await transaction.start()
            await one.execute(f"SET LOCAL {setting} = '20ms'")
            found.append(await attempt(one.fetchval("SELECT count(*) FROM item")))
            await transaction.rollback()
    return found


@same(gives=["Asia/Tokyo", True])
async def test_session_time_zone(w: World) -> object:
    """SET LOCAL TIME ZONE holds for its transaction."""
    one = await w.connect()
    before = await one.fetchval("SHOW timezone")
    async with one.transaction():
        await one.execute("SET LOCAL TIME ZONE 'Asia/Tokyo'")
        inside = await one.fetchval("SHOW timezone")
    return [inside, await one.fetchval("SHOW timezone") == before]
