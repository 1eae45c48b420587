"""What there is in a database, as far as two moments can be told apart."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from .._statements import _catalog

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from .._statements._catalog import Positions

    Connection = asyncpg.Connection[asyncpg.Record]

_DATABASE: Final = "(SELECT oid FROM pg_database WHERE datname = current_database())"
_ROWS: Final = {
    "pg_database": "datname = current_database()",
    "pg_db_role_setting": f"setdatabase = {_DATABASE}",
    # Schemas for temporary tables stay, once there.
    "pg_namespace": "nspname !~ '^pg_'",
    "pg_shdescription": f"classoid = 'pg_database'::regclass AND objoid = {_DATABASE}",
}
"""Of catalogs which do not belong to the database and its schema as a whole, the rows that do."""
_SHARED: Final = ("pg_database", "pg_db_role_setting", "pg_shdescription")
"""Those that are the server's."""

# All catalogs: what DDL of an application changes is not for a list to say. ANALYZE, which
# autovacuum runs, writes new rows in two of them; in others it and VACUUM write in place.
# Files without a page hold no row, so most tables cost no more than a look at their size.
_TABLES: Final = f"""
    SELECT CASE WHEN catalog THEN c.relname ELSE c.oid::regclass::text END AS name, catalog
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (SELECT n.nspname = 'pg_catalog') AS own (catalog)
    WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND pg_relation_size(c.oid) > 0
      AND CASE
        WHEN c.relisshared THEN c.relname IN ({", ".join(f"'{name}'" for name in _ROWS)})
        WHEN catalog THEN c.relname NOT IN ('pg_statistic', 'pg_statistic_ext_data')
            AND has_table_privilege(c.oid, 'SELECT')
        ELSE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
      END
    ORDER BY 1
"""  # noqa: S608  # all ours
# To cast each row's to a number takes longer than to count the rows. Those that have been there
# since the server was initialised have no age.
_NEWEST: Final = """
    coalesce(age('3'::xid)::bigint + 3 - nullif(min(age(xmin)), 2147483647) & 4294967295, 0)
"""
_CALLED: Final = """
    SELECT c.oid, c.oid::regclass::text AS name, pg_sequence_last_value(c.oid) AS last
    FROM pg_class c
    WHERE c.relpersistence <> 't'
        AND CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(c.oid, 'SELECT') ELSE false END
"""
QUESTIONS: Final = (_TABLES, _NEWEST, _CALLED, *_ROWS.values())
"""What the answers depend on."""


class Rows(NamedTuple):
    """Rows of one table, as far as two moments can be told apart."""

    number: int
    newest: int
    """The transaction that wrote the newest."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What there was in a database at one moment."""

    rows: dict[str, Rows]
    sequences: Positions
    schema: dict[str, Rows]

    async def here(self, connection: Connection) -> Picture:
        """Return what it is in another clone: rows of the server's own catalogs are looked at."""
        shared = [name for name in _SHARED if name in self.schema]
        return replace(self, schema=self.schema | await _rows(connection, shared))

    @classmethod
    async def take(cls, connection: Connection) -> Picture:
        """Look at all that is committed."""
        tables = await connection.fetch(_TABLES)
        return cls(
            rows=await _rows(connection, [row["name"] for row in tables if not row["catalog"]]),
            sequences=await _positions(connection),
            schema=await _rows(connection, [row["name"] for row in tables if row["catalog"]]),
        )

    def difference(self, later: Picture, *, swept: int = 0) -> str | None:
        """Say what a later picture has that this one has not, but for positions of sequences.

        Those move without a commit. Rows of transactions up to `swept` are as new as they may be.
        """
        said = _differences(self.rows, later.rows, swept)
        if _differences(self.schema, later.schema, swept):
            said.append("a change of the schema (DDL)")
        return ", ".join(said[:8]) + (" and more" if said[8:] else "") if said else None


def _differences(before: dict[str, Rows], after: dict[str, Rows], swept: int) -> list[str]:
    none = Rows(0, 0)
    said = [
        _difference(before.get(table, none), after.get(table, none), table, swept)
        for table in sorted(before.keys() | after.keys())
    ]
    return [difference for difference in said if difference]


def _difference(before: Rows, after: Rows, table: str, swept: int) -> str | None:
    if before == after or (before.number == after.number and after.newest < swept):
        return None
    more = after.number - before.number
    if not more:
        return f"changed rows in {table}"
    noun = "row" if abs(more) == 1 else "rows"
    return f"{more} {noun} in {table}" if more > 0 else f"{-more} {noun} deleted from {table}"


async def _rows(connection: Connection, tables: Sequence[str]) -> dict[str, Rows]:
    """Count the rows of tables, whose names are quoted as they must be."""
    found: dict[str, Rows] = {}
    for start in range(0, len(tables), 200):
        union = " UNION ALL ".join(
            f"SELECT {index}, count(*), {_NEWEST} FROM {tables[index]}"  # noqa: S608
            + (f" WHERE {_ROWS[tables[index]]}" if tables[index] in _ROWS else "")
            for index in range(start, min(start + 200, len(tables)))
        )
        for index, number, newest in await connection.fetch(union):
            found[tables[index]] = Rows(number, newest)
    return found


async def _positions(connection: Connection) -> Positions:
    if _catalog.tells_positions(connection):
        told = await connection.fetch(_catalog.POSITIONS)
        return {oid: (last, called) for oid, last, called in told}
    told = await connection.fetch(_CALLED)
    found = {oid: (last, True) for oid, _, last in told if last is not None}
    # The server tells no position of those that have handed out nothing.
    return found | await _catalog.positions(
        connection, {oid: name for oid, name, _ in told if oid not in found}
    )
