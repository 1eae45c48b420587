"""How a database is copied: of the ways that the server knows, the one that was the fastest here.

PostgreSQL 15 and later copy block by block through the log (WAL_LOG, their own choice), or as files
between two checkpoints (FILE_COPY); from 18 on files may share their blocks (`file_copy_method =
clone`). Which is the fastest depends on the file system, the settings, the version and the
database, by a factor of ten. So each is tried when a template has been built.

None of them copies what ALTER DATABASE has set, which is not in the database: it is set again.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

import asyncpg

from ..errors import ServerError
from . import _removal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    from .._server._admin import Admin

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

SINCE: Final = 15
"""The major version of PostgreSQL from which there is more than one way."""

LOG: Final = "WAL_LOG"
FILES: Final = "FILE_COPY"
SHARED: Final = "FILE_COPY, clone"

WAYS: Final = (LOG, FILES, SHARED)

_METHODS: Final = {FILES: "copy", SHARED: "clone"}

_OFFERED: Final = """
    SELECT current_setting('fsync') = 'off' AS unsynced,
        (SELECT enumvals FROM pg_settings WHERE name = 'file_copy_method') AS methods
"""

_SETTINGS: Final = r"""
    SELECT format('ALTER %s %I SET %I TO %s', whose, $2::text, name, CASE
            WHEN name IN ('local_preload_libraries', 'search_path', 'session_preload_libraries',
                'temp_tablespaces')
            THEN coalesce((
                SELECT string_agg(quote_literal(
                    coalesce(replace(part[1], '""', '"'), lower(part[2]))), ', ')
                FROM regexp_matches(value, '"((?:[^"]|"")*)"|([^",\s]+)', 'g') AS part
            ), quote_literal(''))
            ELSE quote_literal(value)
        END)
    FROM pg_database AS d JOIN pg_db_role_setting ON setdatabase = d.oid,
        unnest(setconfig) AS setting,
        LATERAL (SELECT split_part(setting, '=', 1), substr(setting, strpos(setting, '=') + 1),
            CASE setrole WHEN 0 THEN 'DATABASE'
                ELSE format('ROLE %s IN DATABASE', setrole::regrole) END) AS s (name, value, whose)
    WHERE datname = $1
"""
"""What gives a database the settings of another; those that are lists of names, one by one."""


async def ways(connection: Connection) -> list[str]:
    """Return the ways of copying that the server offers, the likeliest to be the fastest first.

    Where nothing has to reach a disk checkpoints cost nothing, and files are copied the fastest.
    """
    if connection.get_server_version().major < SINCE:
        return []
    offered = await connection.fetchrow(_OFFERED)
    assert offered is not None  # noqa: S101  # there is no FROM
    methods = offered["methods"] or ["copy"]
    files = [way for way, method in _METHODS.items() if method in methods]
    return [*files, LOG] if offered["unsynced"] else [LOG, *files]


def fastest(took: Mapping[str, float]) -> str | None:
    """Return the way that took the fewest seconds, if any did not fail."""
    return min(took, key=took.__getitem__, default=None)


async def measured(admin: Admin, source: str, name: str) -> dict[str, float]:
    """Copy a database that nobody uses in each way; return how many seconds each took.

    One that takes longer than another before it is given up, and counts as one that has failed.
    There is no database of the name afterwards, unless this is interrupted.
    """
    connection = admin.connection
    offered = await ways(connection)
    took: dict[str, float] = {}
    if len(offered) > 1:
        # Or whoever is first would write what building has left. Not everybody may.
        with contextlib.suppress(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CHECKPOINT")
    for way in offered:
        began = time.perf_counter()
        # Not every file system can share blocks.
        with contextlib.suppress(asyncpg.PostgresError, TimeoutError):
            await _copy(connection, name, source, way, min(took.values(), default=None))
            took[way] = time.perf_counter() - began
        await _removal.drop(admin, name)  # one that is given up may have been there already
    return took


async def create(
    connection: Connection, name: str, source: str, way: str | None = None, first: str = ""
) -> None:
    """Copy a database and its settings; if it is not known in which way, in the likeliest one.

    `first` is a statement that gives it settings before, which those of the source replace.

    Raises:
        asyncpg.InvalidCatalogNameError: there is no such source.
        asyncpg.FeatureNotSupportedError: the server has no templates at all.
        ServerError: it cannot be copied.
    """
    try:
        await _copy(connection, name, source, way or next(iter(await ways(connection)), None))
    except (asyncpg.InvalidCatalogNameError, asyncpg.FeatureNotSupportedError):
        raise
    except asyncpg.InsufficientPrivilegeError as error:
        raise ServerError(
            f"this user may not create databases on the server ({error}). "
            f"Grant it: ALTER ROLE ... CREATEDB."
        ) from error
    except asyncpg.PostgresError as error:
        raise ServerError(
            f"the database {name} could not be created: {error}. Has the server room for it?"
        ) from error
    settings = [row[0] for row in await connection.fetch(_SETTINGS, source, name)]
    if first or settings:
        await _set(connection, name, "; ".join(filter(None, [first, *settings])))


async def _set(connection: Connection, name: str, statements: str) -> None:
    try:
        await connection.execute(statements)
    except asyncpg.PostgresError as error:
        raise ServerError(
            f"the database {name} could not be given the settings that the schema has made by "
            f"ALTER DATABASE or ALTER ROLE ({statements}): {error}. Make this user a superuser of "
            f"the test server, or leave the setting out."
        ) from error


async def _copy(
    connection: Connection, name: str, source: str, way: str | None, bound: float | None = None
) -> None:
    options = ""
    if way is not None:
        strategy, *_ = way.split(",")
        options = f" STRATEGY {strategy}"
        if way in _METHODS and connection.get_server_version() >= (18,):
            await connection.execute(f"SET file_copy_method = {_METHODS[way]}")
    await connection.execute(
        f'CREATE DATABASE "{name}" TEMPLATE "{source}" ENCODING \'UTF8\'{options}', timeout=bound
    )
