"""Clones of templates, which tests write to: made, replaced, and dropped when nobody is left."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import asyncpg

from ..errors import ServerError, UnfitServerError
from . import _claims, _copies, _naming, _removal, _template, _uses

if TYPE_CHECKING:
    from .._server._admin import Admin
    from ..schema import SchemaLike

LOCK_TIMEOUT: Final = "10s"
"""How long a statement in a worker's database waits for what another connection has locked.

Whoever made that connection, and unless the schema says otherwise: one that is not the sandbox's
may wait for a row of the sandbox's in a test that waits for it.
"""


def clone(admin: Admin, schema: SchemaLike, print_of: str, name: str) -> int:
    """Make a worker's database, and hold the lock that says it is alive.

    Return the number of the template; 0 if another has taken its place meanwhile.

    Raises:
        SchemaError, ServerError: as :func:`._template.ensure`.
    """
    admin.run(_claims.take, admin.connection, name)
    template = _template.ensure(admin, schema, print_of)
    oid = admin.run(_uses.oid, admin.connection, template)
    renew(admin, schema, print_of, name)
    return oid if admin.run(_uses.oid, admin.connection, template) == oid else 0


def renew(admin: Admin, schema: SchemaLike, print_of: str, name: str) -> None:
    """Replace a worker's database by a new clone, whoever is still connected to it.

    Raises:
        SchemaError, ServerError: as :func:`._template.ensure`.
    """
    admin.run(_removal.drop, admin, name)
    for _ in range(_template.ATTEMPTS):
        template = _template.ensure(admin, schema, print_of)
        with contextlib.suppress(asyncpg.InvalidCatalogNameError):
            _create(admin, name, template, template)
            return
    raise _template.vanishing(schema)


def copy(admin: Admin, source: str, name: str, print_of: str) -> None:
    """Replace a database of this process by a copy of another, and hold its lock.

    `print_of` is the schema's, of whose template the source is a copy. Whoever is still connected
    to either is cut off: PostgreSQL copies no database that is in use.
    """
    admin.run(_claims.take, admin.connection, name)
    recopy(admin, source, name, print_of)


def recopy(admin: Admin, source: str, name: str, print_of: str) -> None:
    """Replace a database, whose lock this process holds, by a copy: see :func:`copy`."""
    admin.run(_removal.drop, admin, name)
    admin.run(_removal.vacate, admin.connection, source)
    _create(admin, name, source, _naming.template_database(print_of))


def _create(admin: Admin, name: str, source: str, template: str) -> None:
    """Copy a database in the way that was the fastest for a template; bound waits in it."""
    way = admin.run(_uses.way, admin.connection, template)
    bound = f"ALTER DATABASE \"{name}\" SET lock_timeout = '{LOCK_TIMEOUT}'"
    admin.run(_copies.create, admin.connection, name, source, way, bound)


def keep(admin: Admin, name: str) -> None:
    """Hold again the lock that says that a worker's database is alive."""
    admin.run(_claims.take, admin.connection, name)


def reap(admin: Admin) -> list[str]:
    """Drop the databases of dead processes, and return their names."""
    return admin.run(_reap, admin)


async def _reap(admin: Admin) -> list[str]:
    # Whose session was cut has lost its locks, and may live: then a test is connected, on whatever
    # machine. Autovacuum, which is nobody's, does not count.
    unlocked = await admin.connection.fetch(
        "SELECT datname FROM pg_database AS d WHERE NOT EXISTS"  # noqa: S608  # all ours
        f" (SELECT FROM pg_locks WHERE {_claims.locks_on('datname')})"
        " AND NOT EXISTS (SELECT FROM pg_stat_activity AS s"
        " WHERE s.datid = d.oid AND s.usesysid IS NOT NULL)"
    )
    dropped = []
    for name in (row["datname"] for row in unlocked):
        if not _naming.is_disposable(name):
            continue
        try:
            await _claims.take(admin.connection, name)
        except UnfitServerError:
            raise
        except ServerError:
            continue  # another process is reaping just now
        # It may be the database of another role.
        with contextlib.suppress(asyncpg.PostgresError, ServerError):
            await _removal.drop(admin, name)
            dropped.append(name)
        await _claims.give(admin.connection, name)
    return dropped
