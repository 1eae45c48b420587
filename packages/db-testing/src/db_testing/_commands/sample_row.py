"""A row of the user's own tables that can be made up: what the tests of `bench` write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import asyncpg

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

_USERS: Final = """
    n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%'
    AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.deptype = 'e' AND (
      d.classid = 'pg_class'::regclass AND d.objid = c.oid
      OR d.classid = 'pg_namespace'::regclass AND d.objid = n.oid))
    """
"""What does not belong to the server or to an extension."""

_TABLES: Final = f"""
    SELECT c.oid::regclass::text AS name
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND {_USERS}
    ORDER BY name
    """  # noqa: S608  # all ours

_CANDIDATES: Final = f"""
    WITH RECURSIVE base AS (
      SELECT oid, oid AS type, typcategory FROM pg_type WHERE typtype <> 'd'
      UNION ALL
      SELECT domain.oid, base.type, base.typcategory
      FROM pg_type AS domain JOIN base ON base.oid = domain.typbasetype
      WHERE domain.typtype = 'd'
    ), required AS (
      SELECT a.attrelid, a.attnum, quote_ident(a.attname) AS name,
        format_type(a.atttypid, a.atttypmod) AS type, base.type::regtype::text AS base,
        base.typcategory::text AS category
      FROM pg_attribute AS a
      JOIN pg_type AS t ON t.oid = a.atttypid
      JOIN base ON base.oid = a.atttypid
      WHERE a.attnum > 0 AND NOT a.attisdropped AND NOT a.atthasdef AND a.attidentity = ''
        AND (a.attnotnull OR t.typnotnull) AND t.typdefault IS NULL
    )
    SELECT c.oid::regclass::text AS table,
      coalesce(array_agg(r.name ORDER BY r.attnum) FILTER (WHERE r.name IS NOT NULL), '{{}}')
        AS names,
      coalesce(array_agg(r.type ORDER BY r.attnum) FILTER (WHERE r.name IS NOT NULL), '{{}}')
        AS types,
      coalesce(array_agg(r.base ORDER BY r.attnum) FILTER (WHERE r.name IS NOT NULL), '{{}}')
        AS bases,
      coalesce(array_agg(r.category ORDER BY r.attnum) FILTER (WHERE r.name IS NOT NULL), '{{}}')
        AS categories
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN required AS r ON r.attrelid = c.oid
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname <> 'alembic_version'
      AND {_USERS}
    GROUP BY c.oid, c.relnatts
    ORDER BY count(r.name), c.relnatts, c.oid::regclass::text
    """  # noqa: S608  # all ours
"""The tables, those first that ask for the fewest columns, with the columns that they ask for."""

NUMBER: Final = "$1::int4"

_BY_CATEGORY: Final = {
    "A": "'{{}}'",
    "B": "false",
    "D": "timestamp '2000-01-01' + {number} * interval '1 s'",
    "E": "(enum_range(NULL::{base}))[1]",
    "N": "{number}",
    "R": "'empty'",
    "S": "{number}::text",
    "T": "{number} * interval '1 s'",
}
"""Values by PostgreSQL's categories of types."""

_BY_TYPE: Final = {
    "bytea": "convert_to({number}::text, 'UTF8')",
    "json": "'{{}}'",
    "jsonb": "'{{}}'",
    "time without time zone": "time '00:00' + {number} * interval '1 s'",
    "uuid": "md5({number}::text)::uuid",
}


async def tables(connection: Connection) -> list[str]:
    """Return the tables of the user's, as SQL names them."""
    return [row["name"] for row in await connection.fetch(_TABLES)]


async def find(connection: Connection) -> tuple[str, str] | None:
    """Return a table, and what inserts a row for each number into it; None if there is no such.

    Two rows are inserted for trial, and rolled back: what a trigger or a constraint objects to, or
    needs a row of another table, is not chosen.
    """
    for row in await connection.fetch(_CANDIDATES):
        insert = _insert(row)
        if insert is not None and await _works(connection, insert):
            return row["table"], insert
    return None


def arguments(insert: str, number: int) -> tuple[int, ...]:
    """Return what a statement takes that is to insert one more row."""
    return (number,) if NUMBER in insert else ()


def _insert(row: asyncpg.Record) -> str | None:
    values = []
    for kind, base, category in zip(row["types"], row["bases"], row["categories"], strict=True):
        value = _BY_TYPE.get(base) or _BY_CATEGORY.get(category)
        if value is None:
            return None
        values.append(f"({value.format(number=NUMBER, base=base)})::{kind}")
    if not values:
        return f"INSERT INTO {row['table']} DEFAULT VALUES"
    columns = ", ".join(row["names"])
    return f"INSERT INTO {row['table']} ({columns}) VALUES ({', '.join(values)})"  # noqa: S608  # quoted


async def _works(connection: Connection, insert: str) -> bool:
    trial = connection.transaction()
    await trial.start()
    try:
        for number in (1, 2):
            await connection.execute(insert, *arguments(insert, number))
        await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except asyncpg.PostgresError:
        return False
    finally:
        await trial.rollback()
    return True
