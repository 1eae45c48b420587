"""Templates and clones: a schema is built once, and copied for each worker.

A template is built under another name and renamed when it is complete, so a database with a
template's name is one. Whoever builds holds an advisory lock, and so does the owner of each
worker's database: a lock that nobody holds tells that its owner is dead.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
from typing import TYPE_CHECKING, Final

import asyncpg

from . import _naming
from .errors import SchemaError, ServerError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

    from ._admin import Admin
    from .schema import SchemaLike

FORMAT: Final = 1
"""Raised when templates of an older db-testing must not be used any more."""

BUILD_TIMEOUT: Final = 600
"""Seconds that a worker waits while another builds the template."""


def fingerprint(schema: SchemaLike, server_version: int) -> str:
    """Identify a template: what it was built from, by what, for which server."""
    material = f"{FORMAT}\n{server_version}\n{schema.fingerprint()}"
    return hashlib.sha256(material.encode()).hexdigest()


def ensure(admin: Admin, schema: SchemaLike, print_of: str) -> str:
    """Return the name of the schema's template, building it if this process comes first.

    Raises:
        SchemaError: the schema cannot be applied to an empty database; nothing is left of it.
        ServerError: another process has been building for too long, or databases may not be made.
    """
    template = _naming.template_database(print_of)
    if admin.run(_exists, admin.connection, template):
        return template
    admin.run(_lock_build, admin.connection, template)
    try:
        if not admin.run(_exists, admin.connection, template):
            _build(admin, schema, print_of, template)
    finally:
        admin.run(_unlock, admin.connection, template)
    return template


def _build(admin: Admin, schema: SchemaLike, print_of: str, template: str) -> None:
    building = _naming.building_database(print_of)
    admin.run(_create_empty, admin.connection, building)
    try:
        _in_thread(lambda: schema.apply(admin.url.set(database=building)))
        admin.run(_complete, admin.connection, building, template)
    except SchemaError:
        raise
    except Exception as error:
        # The schema is the user's code, which may raise anything; what it raised is the cause.
        raise SchemaError(
            f"{schema!r} could not be applied to an empty database: {type(error).__name__}: {error}"
        ) from error
    finally:
        admin.run(_drop, admin.connection, building)


def _in_thread(work: Callable[[], None]) -> None:
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="db-testing-schema") as pool:
        pool.submit(work).result()


def clone(admin: Admin, template: str, name: str) -> None:
    """Make a worker's database, and hold the lock that says it is alive."""
    admin.run(_lock_alive, admin.connection, name)
    renew(admin, template, name)


def renew(admin: Admin, template: str, name: str) -> None:
    """Replace a worker's database by a new clone, whoever is still connected to it."""
    admin.run(_clone, admin.connection, template, name)


def drop(admin: Admin, name: str) -> None:
    """Drop a worker's database, whoever is still connected to it."""
    admin.run(_drop, admin.connection, name)
    admin.run(_unlock, admin.connection, name)


def reap(admin: Admin) -> list[str]:
    """Drop the databases of dead runs, and return their names."""
    return admin.run(_reap, admin.connection)


# ---------------------------------------------------------------------------------------- in SQL


async def _exists(connection: Connection, name: str) -> bool:
    found = await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", name)
    return found is True


async def _lock_build(connection: Connection, template: str) -> None:
    await connection.execute(f"SET lock_timeout = '{BUILD_TIMEOUT}s'")
    try:
        await connection.execute("SELECT pg_advisory_lock(hashtextextended($1, 0))", template)
    except asyncpg.LockNotAvailableError as error:
        raise ServerError(
            f"waited {BUILD_TIMEOUT} s for the template {template}, which "
            f"{await _lock_holder(connection, template)} is building."
        ) from error
    finally:
        await connection.execute("RESET lock_timeout")


async def _lock_holder(connection: Connection, name: str) -> str:
    holder = await connection.fetchval(
        """
        SELECT format('%s (backend %s)', a.application_name, a.pid)
        FROM pg_locks l JOIN pg_stat_activity a USING (pid)
        WHERE l.locktype = 'advisory' AND l.granted
          AND (l.classid::bigint << 32 | l.objid::bigint) = hashtextextended($1, 0)
        """,
        name,
    )
    return holder or "nobody any more"


async def _unlock(connection: Connection, name: str) -> None:
    await connection.execute("SELECT pg_advisory_unlock(hashtextextended($1, 0))", name)


async def _create_empty(connection: Connection, name: str) -> None:
    await _drop(connection, name)
    try:
        await connection.execute(f"CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'UTF8'")
    except asyncpg.InsufficientPrivilegeError as error:
        raise ServerError(
            f"this user may not create databases on the server ({error}). "
            f"Grant it: ALTER ROLE ... CREATEDB."
        ) from error


async def _complete(connection: Connection, building: str, template: str) -> None:
    # A database with a connection cannot be renamed, and nobody must ever write to a template.
    await connection.execute(f'ALTER DATABASE "{building}" WITH ALLOW_CONNECTIONS false')
    await connection.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1", building
    )
    await connection.execute(f'ALTER DATABASE "{building}" RENAME TO "{template}"')


async def _lock_alive(connection: Connection, name: str) -> None:
    await connection.execute("SELECT pg_advisory_lock(hashtextextended($1, 0))", name)


async def _clone(connection: Connection, template: str, name: str) -> None:
    await _drop(connection, name)
    await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')


async def _drop(connection: Connection, name: str) -> None:
    await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


async def _reap(connection: Connection) -> list[str]:
    names = [row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database")]
    dropped = []
    for name in filter(_naming.is_worker_database, names):
        alive = not await connection.fetchval(
            "SELECT pg_try_advisory_lock(hashtextextended($1, 0))", name
        )
        if alive:
            continue
        try:
            await _drop(connection, name)
            dropped.append(name)
        finally:
            await _unlock(connection, name)
    return dropped
