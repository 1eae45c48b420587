"""When templates were last used, by which run built, how they are copied and what clones are.

A comment on each says so.

They are kept between runs, and pruned by age and number whenever another one has been built.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from ..errors import ServerError
from . import _copies, _naming, _removal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    from .._server._admin import Admin

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

AGE: Final = dt.timedelta(days=14)
"""How long a template that nobody uses is kept."""

NUMBER: Final = 32
"""How many templates are kept, those that were used last."""

AGAIN: Final = dt.timedelta(hours=1)
"""After how long a use is noted again."""

ATTEMPTS: Final = 5
"""How often templates may vanish while their sizes are asked for."""

_TEMPLATES: Final = """
    SELECT datname, shobj_description(oid, 'pg_database') AS comment FROM pg_database
    WHERE starts_with(datname, $1)
"""
_COMMENT: Final = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1"
_OID: Final = "SELECT oid::bigint FROM pg_database WHERE datname = $1"
_NEVER: Final = dt.datetime.min.replace(tzinfo=dt.UTC)


def read(comment: str | None) -> Mapping[str, Any]:
    """Return what a comment of ours says; nothing for one that is not."""
    with contextlib.suppress(ValueError):
        found = json.loads(comment or "")
        if isinstance(found, dict):
            return found
    return {}


def _used(comment: str | None) -> dt.datetime:
    with contextlib.suppress(KeyError, TypeError, ValueError):
        return dt.datetime.fromisoformat(read(comment)["used"])
    return _NEVER


async def found(connection: Connection, template: str, run: str | None = None) -> bool:
    """Look for a template that is about to be used; for a run, for one that it has built."""
    row = await connection.fetchrow(f"{_TEMPLATES} AND datname = $1", template)
    if row is None or (run is not None and read(row["comment"]).get("run") != run):
        return False
    if dt.datetime.now(dt.UTC) - _used(row["comment"]) > AGAIN:
        await note(connection, template)
    return True


async def way(connection: Connection, template: str) -> str | None:
    """Return the way of copying that was the fastest for a template, if that is known."""
    said = (await noted(connection, template)).get("copied")
    return said if said in _copies.WAYS else None


async def noted(connection: Connection, template: str) -> Mapping[str, Any]:
    """Return what has been noted of a template."""
    return read(await connection.fetchval(_COMMENT, template))


async def oid(connection: Connection, template: str) -> int:
    """Return the number of the template that has a name now; 0 if there is none."""
    return await connection.fetchval(_OID, template) or 0


async def note(connection: Connection, template: str, **more: Any) -> None:
    """Note a use, and more.

    `run` has built it, `copied` is how that is the fastest, and `original` what its clones are.
    Others may be noting something just now, and somebody may be dropping it: then nothing is noted.
    """
    used = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    text = json.dumps({**await noted(connection, template), "used": used, **more})
    quoted = text.replace("'", "''")
    with contextlib.suppress(asyncpg.PostgresError):
        await connection.execute(f"COMMENT ON DATABASE \"{template}\" IS '{quoted}'")


@dataclass(frozen=True, slots=True)
class Template:
    """A template that is kept."""

    name: str
    used: dt.datetime
    """When it was last used, within an hour."""
    size: int | None
    """Bytes; None where this user may not know."""


_SIZES: Final = """
    SELECT datname, CASE WHEN pg_has_role(datdba, 'USAGE') THEN pg_database_size(oid) END AS size
    FROM pg_database WHERE starts_with(datname, $1)
"""


async def templates(admin: Admin, *, sizes: bool = False) -> list[Template]:
    """Return the templates, those that were used last first."""
    rows = await admin.connection.fetch(_TEMPLATES, _naming.TEMPLATE_PREFIX)
    found: dict[str, int | None] = {}
    if sizes:
        # One that is dropped meanwhile makes the whole statement fail: it is asked for again.
        for _ in range(ATTEMPTS):
            with contextlib.suppress(asyncpg.InvalidCatalogNameError):
                sizes_of = await admin.connection.fetch(_SIZES, _naming.TEMPLATE_PREFIX)
                found = {row["datname"]: row["size"] for row in sizes_of}
                break
    listed = [
        Template(row["datname"], _used(row["comment"]), found.get(row["datname"])) for row in rows
    ]
    ours = [template for template in listed if _naming.is_template(template.name)]
    return sorted(ours, key=lambda template: (template.used, template.name), reverse=True)


async def prune(admin: Admin) -> list[str]:
    """Drop templates that nobody has used for long, and those beyond a number; name them."""
    oldest = dt.datetime.now(dt.UTC) - AGE
    dropped = []
    for place, template in enumerate(await templates(admin)):
        if place >= NUMBER or template.used < oldest:
            # Another process may be pruning just now, or the database be another role's.
            with contextlib.suppress(asyncpg.PostgresError, ServerError):
                await _removal.drop(admin, template.name)
                dropped.append(template.name)
    return dropped
