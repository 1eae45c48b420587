"""Who holds a database: advisory locks on names, of which a lost session keeps none.

The owner of every database of ours but templates holds its name: a lock that nobody holds, and no
session in the database, tell that its owner is dead, on whatever machine that was. Numbers of
processes and names of machines decide nothing.

PostgreSQL has a set of advisory locks for each database, and `pg_locks` shows them all. So what
must not go wrong between runs with different maintenance databases is decided by looking there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._server import _fitness
from ..errors import ServerError
from . import _removal

if TYPE_CHECKING:
    from typing import TypeAlias

    import asyncpg

    from .._server._admin import Admin

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]


def locks_on(name: str) -> str:
    """Match the rows of `pg_locks` whose lock is on a name; their columns halve its key."""
    return (
        "locktype = 'advisory' AND granted AND objsubid = 1"
        f" AND classid::bigint << 32 | objid::bigint = hashtextextended({name}, 0)"
    )


async def holder(connection: Connection, name: str) -> str:
    """Say who else holds a name."""
    found = await connection.fetchval(
        "SELECT format('%s (backend %s)', application_name, pid)"  # noqa: S608  # all ours
        f" FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE {locks_on('$1')}"
        " AND pid <> pg_backend_pid()",
        name,
    )
    return found or "nobody any more"


async def take(connection: Connection, name: str) -> None:
    """Hold a database, so that nobody takes its owner for dead.

    Raises:
        ServerError: somebody else holds it.
    """
    held = await connection.fetchval("SELECT pg_try_advisory_lock(hashtextextended($1, 0))", name)
    # Two that look after they have locked cannot both miss the other.
    rows = await connection.fetch(
        f"SELECT pid = pg_backend_pid() AS mine FROM pg_locks WHERE {locks_on('$1')}",  # noqa: S608  # all ours
        name,
    )
    holders = [row["mine"] for row in rows]
    if held and not any(holders):
        raise await _fitness.lacking(connection, "has granted an advisory lock, and holds none")
    if held and not all(holders):
        await give(connection, name)
    if not held or not all(holders):
        raise ServerError(
            f"the database {name} is in use by {await holder(connection, name)}. Do two runs "
            f"share one --testrunuid?"
        )


async def wait(connection: Connection, name: str, bound: str) -> None:
    """Hold a name when nobody does any more.

    Raises:
        asyncpg.LockNotAvailableError: somebody has held it for that long.
    """
    await connection.execute(f"SET lock_timeout = '{bound}'")
    try:
        await connection.execute("SELECT pg_advisory_lock(hashtextextended($1, 0))", name)
    finally:
        await connection.execute("RESET lock_timeout")


async def give(connection: Connection, name: str) -> None:
    """Hold a name no more."""
    await connection.execute("SELECT pg_advisory_unlock(hashtextextended($1, 0))", name)


def drop(admin: Admin, name: str) -> None:
    """Drop a database of this process, whoever is still connected to it."""
    admin.run(_removal.drop, admin, name)
    admin.run(give, admin.connection, name)
