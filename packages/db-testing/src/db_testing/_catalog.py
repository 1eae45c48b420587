"""What the sandbox reads from a database's catalog, once per worker."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from . import _statements, _transaction_identity

if TYPE_CHECKING:
    import re

    from ._wire import Wire

_SEQUENCES: Final = """
    SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'S' AND c.relpersistence <> 't'
"""
_DEFERRABLE: Final = """
    SELECT DISTINCT format('%I.%I', n.nspname, c.conname) AS name, c.condeferred AS deferred,
           c.contype = 't' AS trigger
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
class Deferrable:
    """The constraints whose check can be put off to the commit."""

    check: str | None
    """Checks what a commit would check, then restores the initial modes; None if there is none."""
    writes: bool
    """Whether the check may write, as only a trigger's function can."""

    @classmethod
    async def read(cls, wire: Wire) -> Deferrable:
        """Read them from the catalog."""
        rows = await wire.fetch(_DEFERRABLE)
        if not rows:
            return cls(check=None, writes=False)
        check = "SET CONSTRAINTS ALL IMMEDIATE;SET CONSTRAINTS ALL DEFERRED"
        # By name only IMMEDIATE is safe: another table may have a constraint of that name which
        # cannot be deferred.
        immediate = ", ".join(row["name"] for row in rows if not row["deferred"])
        if immediate:
            check += f";SET CONSTRAINTS {immediate} IMMEDIATE"
        return cls(check=check, writes=any(row["trigger"] for row in rows))


@dataclass(frozen=True, slots=True)
class Catalog:
    """Facts of the template that decide how a test is undone."""

    sequences: dict[int, tuple[int, bool]]
    """By oid: the last value, and whether it has been handed out."""
    deferrable: Deferrable
    routines: re.Pattern[str] | None
    """Matches calls of functions that may write."""
    identity: tuple[str, ...]
    """The objects that mention transaction identity."""

    RESET: ClassVar = (
        "EXECUTE db_testing_reset;ROLLBACK;DISCARD SEQUENCES;SELECT pg_advisory_unlock_all()"
    )
    """Undoes, with a return to the lowest savepoint before it, a test in one round trip.

    A rollback undoes rows, DDL, settings, roles, temporary tables and cursors. It leaves the
    positions of sequences, `currval`, and the session's advisory locks. Positions are restored
    before it, while locks tell which sequences were moved, but after the return to the savepoint:
    TRUNCATE ... RESTART IDENTITY gives a sequence new storage, which is thrown away.
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

        routines = [row["proname"] for row in await wire.fetch(_ROUTINES)]
        return cls(
            sequences=sequences,
            deferrable=await Deferrable.read(wire),
            routines=_statements.routine_calls(routines),
            identity=await _transaction_identity.read(wire),
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
