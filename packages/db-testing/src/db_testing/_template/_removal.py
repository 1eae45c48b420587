"""What keeps a database from being renamed, copied or dropped, and how it is ended."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

import asyncpg

from .._server._admin import WIRE_ERRORS, connect, disconnect, first_line
from ..errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from .._server._admin import Admin

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

PATIENCE: Final = 10.0
"""Seconds within which the sessions of a database must have ended."""

PAUSE: Final = 0.001
"""Seconds between two looks. PostgreSQL itself, which waits for the same, looks every 100 ms."""

# Autovacuum, which is nobody's, ends by itself when it is in the way.
_END_SESSIONS: Final = """
    SELECT pid, application_name, pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = $1 AND pid <> pg_backend_pid() AND usesysid IS NOT NULL
"""
_END_SESSION: Final = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1"
_PREPARED: Final = "SELECT gid FROM pg_prepared_xacts WHERE database = $1"
_SUBSCRIPTIONS: Final = """
    SELECT format('ALTER SUBSCRIPTION %1$I DISABLE; ALTER SUBSCRIPTION %1$I SET (slot_name = NONE);'
                  'DROP SUBSCRIPTION %1$I', subname)
    FROM pg_subscription JOIN pg_database d ON d.oid = subdbid WHERE d.datname = current_database()
"""


async def vacate(connection: Connection, name: str) -> None:
    """End every session of a database, and wait until they are gone.

    Raises:
        ServerError: somebody stays, or may not be ended by this user.
    """
    deadline = time.monotonic() + PATIENCE
    while sessions := await _end_sessions(connection, name):
        if time.monotonic() > deadline:
            raise ServerError(
                f"the database {name} is to be replaced, and after {PATIENCE:g} s it is still in "
                f"use by {_listed(sessions)}. End what connects to it again and again."
            )
        await asyncio.sleep(PAUSE)


async def _end_sessions(connection: Connection, name: str) -> Sequence[asyncpg.Record]:
    try:
        return await connection.fetch(_END_SESSIONS, name)
    except asyncpg.InsufficientPrivilegeError as error:
        raise ServerError(
            f"the database {name} is to be replaced, and another role's session is connected to "
            f"it: {first_line(error)}. Close that session."
        ) from error


def _listed(sessions: Sequence[asyncpg.Record]) -> str:
    names = [
        f"process {row['pid']} ({row['application_name'] or 'without a name'})" for row in sessions
    ]
    return ", ".join(names)


def stranger(session: asyncpg.Record, whose: str) -> str:
    """Name a connection of which is told what it does, as one that is not ours."""
    name = session["application_name"] or "without a name"
    return f"a connection that is not {whose} (process {session['pid']}, {name})"


async def end_session(connection: Connection, pid: int) -> None:
    """End a server process, and wait until it is gone.

    Raises:
        asyncpg.InsufficientPrivilegeError: this user may not end it.
        TimeoutError: it stays.
    """
    deadline = time.monotonic() + PATIENCE
    while await connection.fetchval(_END_SESSION, pid):
        if time.monotonic() > deadline:
            message = f"the server process {pid} has not ended within {PATIENCE:g} s"
            raise TimeoutError(message)
        await asyncio.sleep(PAUSE)


async def retire(admin: Admin, name: str, to: str) -> bool:
    """Rename a database that nobody is to connect to any more; tell whether there was one.

    Raises:
        ServerError: as :func:`vacate`.
    """
    connection = admin.connection
    try:
        if await connection.fetchval(f"SELECT EXISTS ({_PREPARED})", name):
            await _release(admin, name)
        await connection.execute(
            f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false IS_TEMPLATE false'
        )
        try:
            await vacate(connection, name)
            await connection.execute(f'ALTER DATABASE "{name}" RENAME TO "{to}"')
        except ServerError:
            await connection.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true')
            raise
    except asyncpg.InvalidCatalogNameError:
        return False
    return True


async def reinstate(admin: Admin, name: str, to: str) -> None:
    """Rename a database that nobody may connect to, and let everybody."""
    await admin.connection.execute(
        f'ALTER DATABASE "{name}" RENAME TO "{to}";'
        f'ALTER DATABASE "{to}" WITH ALLOW_CONNECTIONS true'
    )


async def drop(admin: Admin, name: str) -> None:
    """Drop a database, if it is there, whoever uses it.

    Raises:
        ServerError: as :func:`vacate`.
    """
    statement = f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'
    await vacate(admin.connection, name)
    try:
        await admin.connection.execute(statement)
    except (asyncpg.ObjectInUseError, asyncpg.WrongObjectTypeError):
        # Prepared transactions and subscriptions can only be ended from within it.
        await _release(admin, name)
        await admin.connection.execute(statement)


async def drop_unused(admin: Admin, names: Sequence[str]) -> None:
    """Drop those databases that nothing keeps from being dropped."""
    for name in names:
        with contextlib.suppress(*WIRE_ERRORS):
            await admin.connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


async def roll_back_prepared(connection: Connection, names: Sequence[str]) -> None:
    """Undo what PREPARE TRANSACTION has left in a connection's database."""
    for name in names:
        quoted = name.replace("'", "''")
        await connection.execute(f"ROLLBACK PREPARED '{quoted}'")


async def _release(admin: Admin, name: str) -> None:
    """End what holds a database without being connected to it, or forbids to drop it."""
    await admin.connection.execute(
        f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true IS_TEMPLATE false'
    )
    inside = await connect(admin.url.set(database=name))
    try:
        await roll_back_prepared(
            inside, [row["gid"] for row in await inside.fetch(_PREPARED, name)]
        )
        for row in await inside.fetch(_SUBSCRIPTIONS):
            # One by one: none of them may run in a transaction with others.
            for statement in row[0].split(";"):
                await inside.execute(statement)
    finally:
        await disconnect(inside)
    await vacate(admin.connection, name)
