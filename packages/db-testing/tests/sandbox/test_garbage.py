"""What transactions leave to the garbage collector, which costs the tests that follow."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from db_testing._sandbox._virtual import VirtualConnection

    Connect = Callable[[], VirtualConnection]

INSERT = "INSERT INTO author (name, notes) VALUES ($1, '{}')"


async def test_ended_transactions_are_in_no_cycle(connect: Connect) -> None:
    """Committed or rolled back, in tasks that are done, whose contexts remember who has written."""
    connection = connect()

    async def commit(name: str) -> None:
        async with connection.transaction(), connection.transaction():
            await connection.execute(INSERT, name)

    async def roll_back(name: str) -> None:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(INSERT, name)
        await transaction.rollback()

    await commit("first")
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for work in (commit, roll_back):
            await asyncio.create_task(work(work.__name__))
        gc.collect()
        kinds = {type(each) for each in gc.garbage}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    assert asyncio.Task not in kinds
    assert not [kind for kind in kinds if kind.__module__.startswith(("db_testing", "asyncpg"))]
