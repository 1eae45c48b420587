"""Databases of failed tests, which are kept for a person to look at.

There are at most :data:`LIMIT` of a project. Those of earlier runs make room for new ones, the
oldest first; of one run, the first failures are kept. A comment on each says whose it is.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import shlex
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncpg

from .._server._admin import libpq_url
from .._settings import AUTO, OWN_SERVER, hide_password
from . import _claims, _naming, _removal, _uses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.engine import URL

    from .._server._admin import Admin

LIMIT: Final = 10
"""Databases that a project may have kept."""

LOCK_TIMEOUT: Final = "30s"
"""How long a worker waits for another that makes room just now."""

_KEPT: Final = """
    SELECT datname, shobj_description(oid, 'pg_database') AS comment FROM pg_database
    WHERE starts_with(datname, $1)
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """What has become of the database of a failed test."""

    test: str
    database: str | None
    """Its name; None if it could not be kept."""
    remark: str | None
    """Why not, or what of the test is not in it."""

    def describe(self, server: str, url: URL) -> str:
        """Say where it is and how to look at it. `url` leads to the same server."""
        if self.database is None:
            return f"not kept: {self.remark}"
        command, shown = how_to_look(server, url, self.database)
        remark = f" ({self.remark})" if self.remark else ""
        return f"kept as {self.database}{remark}\n  {command}\n  {shown}"


@dataclass(frozen=True, slots=True)
class Keepsake:
    """The database of a failed test, to be kept."""

    test: str
    project: str
    run: str
    fingerprint: str
    """Of the schema: a test may use several databases."""

    @property
    def database(self) -> str:
        """The name under which it is kept."""
        return _naming.kept_database(
            project=self.project, run=self.run, test=self.test, fingerprint=self.fingerprint
        )

    def keep(self, admin: Admin, name: str) -> str | None:
        """Take a worker's database away from it; return why that could not be, if so.

        Raises:
            ServerError: as :func:`_removal.vacate`.
        """
        return admin.run(self._keep, admin, name)

    async def _keep(self, admin: Admin, name: str) -> str | None:
        async with _alone(admin, self.project):
            surplus = await self._surplus(admin)
            if surplus is None:
                return f"{LIMIT} databases of this run have been kept already"
            for old in surplus:
                await _removal.drop(admin, old)
            try:
                await admin.connection.execute(
                    f"COMMENT ON DATABASE \"{name}\" IS '{self._comment()}'"
                )
            except asyncpg.InvalidCatalogNameError:
                return "the test has dropped it"
            await _removal.retire(admin, name, self.database)
            await admin.connection.execute(
                f'ALTER DATABASE "{self.database}" WITH ALLOW_CONNECTIONS true'
            )
        return None

    def _comment(self) -> str:
        now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        comment = {"project": self.project, "run": self.run, "at": now, "test": self.test}
        return json.dumps(comment).replace("'", "''")

    async def _surplus(self, admin: Admin) -> list[str] | None:
        """Return what must be dropped to make room; None if there is no room to be made."""
        rows = await admin.connection.fetch(_KEPT, _naming.KEPT_PREFIX)
        all_kept = {row["datname"]: _uses.read(row["comment"]) for row in rows}
        same = [database for database in all_kept if database == self.database]
        others = {
            database: comment
            for database, comment in all_kept.items()
            if comment.get("project") == self.project and database not in same
        }
        earlier = sorted(
            (database for database in others if others[database].get("run") != self.run),
            key=lambda database: str(others[database].get("at")),  # ISO times sort as text
        )
        excess = len(others) + 1 - LIMIT
        if excess > len(earlier):
            return None
        return [*same, *earlier[: max(excess, 0)]]


@contextlib.asynccontextmanager
async def _alone(admin: Admin, project: str) -> AsyncIterator[None]:
    """Keep other workers, and other runs of a project, from counting at the same time."""
    connection, key = admin.connection, _naming.KEPT_PREFIX + project
    await _claims.wait(connection, key, LOCK_TIMEOUT)
    try:
        yield
    finally:
        await _claims.give(connection, key)


def how_to_look(server: str, url: URL, database: str) -> tuple[str, str]:
    """Return the command that opens a kept database in psql, and its URL, without a password."""
    shown = hide_password(libpq_url(url.set(database=database)))
    if OWN_SERVER.fullmatch(server):
        # The server stops with the run; the command starts it again.
        which = [] if server == AUTO else [f"--server={server}"]
        command = [sys.executable, "-m", "db_testing", "psql", *which, database]
    else:
        command = ["psql", shown]
    return shlex.join(command), shown
