"""Whether a server does what db-testing needs, and not only speaks PostgreSQL's protocol.

Distributed databases, PostgreSQL in WebAssembly and poolers answer to the same protocol. What they
lack would show late, or never: CockroachDB grants every advisory lock and holds none, so that the
databases of all who test now would be taken for those of the dead; where each connection leads to
the same database, tests would write into the one that the URL names.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import asyncpg

from ..errors import UnfitServerError
from ._admin import WIRE_ERRORS, called, connect, disconnect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    from ._admin import Admin

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

NEEDS: Final = (
    "db-testing needs PostgreSQL itself: databases that are copied (CREATE DATABASE ... TEMPLATE), "
    "advisory locks that are held, and for each connection a session of its own, in the database "
    "that it names. Let --db-server lead to such a server, past any pooler, or use the embedded "
    "one."
)

_UNKNOWN: Final = (
    asyncpg.FeatureNotSupportedError,
    asyncpg.SyntaxOrAccessError,  # no such function, column or statement, or no right to it
    asyncpg.InternalServerError,
    asyncpg.InterfaceError,  # an answer that PostgreSQL does not give
)


async def lacking(connection: Connection, what: str) -> UnfitServerError:
    """Say what a server does not do, and what it calls itself."""
    name = await called(connection)
    return UnfitServerError(f"the server {what}. It calls itself {name!r}. {NEEDS}")


@contextlib.contextmanager
def understood(admin: Admin) -> Iterator[None]:
    """Let a statement of ours that the server does not know be one error.

    Raises:
        UnfitServerError: there was one.
    """
    try:
        yield
    except _UNKNOWN as error:
        what = f"cannot do what db-testing asks of it ({type(error).__name__}: {error})"
        raise admin.run(lacking, admin.connection, what) from error


async def check_arrival(admin: Admin, name: str) -> None:
    """Check that a connection to a database that was just made leads there.

    Raises:
        UnfitServerError: it does not.
    """
    url = admin.url.set(database=name)
    try:
        try:
            connection = await connect(url, patience=0)  # a server that has just answered is ready
        except asyncpg.TooManyConnectionsError:
            connection = await connect(url)  # others come and go
    except WIRE_ERRORS as error:
        reason = str(error) or type(error).__name__
        what = f"has made the database {name}, and no connection to it is to be had ({reason})"
        raise await lacking(admin.connection, what) from error
    try:
        await check_place(connection, name)
    finally:
        await disconnect(connection)


async def check_place(connection: Connection, name: str | None) -> None:
    """Check that a connection leads to the database that it asked for.

    Raises:
        UnfitServerError: it does not.
    """
    there = await connection.fetchval("SELECT current_database()")
    if there != name:
        raise await lacking(connection, f"leads to the database {there} who asks for {name}")
