"""What the sandbox reads from a database's catalog, once per worker."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from . import _statements

if TYPE_CHECKING:
    import re

    from ._sandbox import Wire

_SEQUENCES: Final = """
    SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'S' AND c.relpersistence <> 't'
"""
_INITIALLY_DEFERRED: Final = """
    SELECT format('%I.%I', n.nspname, c.conname) AS name, c.condeferred AS deferred
    FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace
    WHERE c.condeferrable
"""
# Functions written in C come from extensions and are not suspected of writing tables.
_ROUTINES: Final = """
    SELECT DISTINCT p.proname
    FROM pg_proc p
    JOIN pg_namespace n ON n.oid = p.pronamespace
    JOIN pg_language l ON l.oid = p.prolang
    WHERE p.provolatile = 'v' AND l.lanname NOT IN ('c', 'internal')
      AND n.nspname NOT IN ('pg_catalog', 'information_schema')
      AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
"""


@dataclass(frozen=True, slots=True)
class Catalog:
    """Facts of the template that decide how a test is undone."""

    sequences: dict[int, tuple[int, bool]]
    """By oid: the last value, and whether it has been handed out."""
    check_deferred: str | None
    """Checks what a commit would check, then defers again; None if nothing is deferrable."""
    routines: re.Pattern[str] | None
    """Matches calls of functions that may write."""

    RESET: ClassVar = (
        "RESET SESSION AUTHORIZATION;RESET ROLE;EXECUTE db_testing_reset;ROLLBACK;"
        "DISCARD SEQUENCES;SELECT pg_advisory_unlock_all()"
    )
    """Undoes a test in one round trip.

    A rollback undoes rows, DDL, settings, temporary tables, cursors and LISTEN. It leaves the
    positions of sequences, `currval`, and the session's advisory locks.
    """

    @classmethod
    async def read(cls, wire: Wire) -> Catalog:
        """Read the facts from a database that no test has touched yet."""
        names = [(row["oid"], row["name"]) for row in await wire.fetch(_SEQUENCES)]
        sequences: dict[int, tuple[int, bool]] = {}
        for start in range(0, len(names), 200):
            union = " UNION ALL ".join(
                f"SELECT {oid}::oid, last_value, is_called FROM {name}"  # noqa: S608  # format('%I')
                for oid, name in names[start : start + 200]
            )
            sequences |= {oid: (last, called) for oid, last, called in await wire.fetch(union)}

        deferrable = await wire.fetch(_INITIALLY_DEFERRED)
        deferred = ", ".join(row["name"] for row in deferrable if row["deferred"])
        check = "SET CONSTRAINTS ALL IMMEDIATE"
        if deferred:
            check += f"; SET CONSTRAINTS {deferred} DEFERRED"

        routines = [row["proname"] for row in await wire.fetch(_ROUTINES)]
        return cls(
            sequences=sequences,
            check_deferred=check if deferrable else None,
            routines=_statements.routine_calls(routines),
        )

    async def prepare_reset(self, wire: Wire) -> None:
        """Prepare the statement that puts moved sequences back, for the life of the connection.

        A sequence that was moved is locked until the end of the transaction, also when the
        savepoint in which it was moved has been rolled back. So the locks tell which sequences to
        restore, at a cost that does not depend on how many there are.
        """
        positions = json.dumps({str(oid): position for oid, position in self.sequences.items()})
        await wire.execute(
            f"""
            PREPARE db_testing_reset AS
            SELECT count(setval(held.relation::regclass,
                                (position.at ->> 0)::bigint, (position.at ->> 1)::boolean))
            FROM pg_locks AS held,
                 LATERAL (SELECT '{positions}'::jsonb -> held.relation::text AS at) AS position
            WHERE held.pid = pg_backend_pid() AND held.locktype = 'relation'
              AND held.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock')
              AND position.at IS NOT NULL
            """  # noqa: S608  # digits and booleans only
        )

    async def restore_sequences(self, wire: Wire) -> None:
        """Put every sequence back, when nothing tells which were moved."""
        await wire.execute(
            "SELECT setval(oid::regclass, last, called)"
            " FROM unnest($1::oid[], $2::bigint[], $3::boolean[]) AS t(oid, last, called)",
            list(self.sequences),
            [last for last, _ in self.sequences.values()],
            [called for _, called in self.sequences.values()],
        )
