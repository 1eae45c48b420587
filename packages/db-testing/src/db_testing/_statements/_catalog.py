"""What the sandbox reads from a database's catalog, once per worker."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple, TypeAlias

from . import _transaction_identity
from ._routines import Routines

if TYPE_CHECKING:
    from .._sandbox._runtime import Wire

_SEQUENCES: Final = """
    SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'S' AND c.relpersistence <> 't'
"""
TELLS_POSITIONS: Final = 18
"""The first major version of PostgreSQL that tells positions of sequences by their oid."""
POSITIONS: Final = """
    SELECT c.oid, at.last_value, at.is_called
    FROM pg_class c CROSS JOIN LATERAL pg_get_sequence_data(c.oid) AS at
    WHERE c.relkind = 'S' AND c.relpersistence <> 't'
"""
"""Those positions, which are null where this user may not read a sequence."""
_MOVED: Final = """
    FROM pg_locks
    WHERE pid = pg_backend_pid() AND locktype = 'relation'
      AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock')
"""
"""What a sequence that was moved is among.

It is locked until the end of the transaction, also when the savepoint in which it was moved has
been rolled back. So the locks tell which sequences to restore, at a cost that does not depend on
how many there are.
"""
_DEFERRABLE: Final = """
    SELECT DISTINCT format('%I.%I', n.nspname, c.conname) AS name, c.conname AS constraint,
           c.condeferred AS deferred, c.contype = 't' AS trigger
    FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace
    WHERE c.condeferrable
"""


_PREPARED: Final = """
    SELECT name, format('DEALLOCATE %I', name) AS deallocate FROM pg_prepared_statements
    WHERE from_sql AND name NOT IN ('db_testing_reset', 'db_testing_come', 'db_testing_moved')
"""
"""Statements that PREPARE has made; what the drivers have prepared is theirs."""

Positions: TypeAlias = dict[int, tuple[int, bool]]
"""Of sequences, by oid: the last value, and whether it has been handed out."""


def restoring(positions: Positions) -> str:
    """Return the statement that undoes what no rollback does, but for `currval`.

    It puts the sequences back that this transaction has moved, and gives up the advisory locks of
    the session: in one statement, since each takes longer than what it does.
    """
    known = json.dumps({str(oid): position for oid, position in positions.items()})
    # Digits and booleans only, so nothing needs escaping.
    return f"""
        SELECT count(setval(relation::regclass, (at ->> 0)::bigint, (at ->> 1)::boolean)),
               pg_advisory_unlock_all()
        FROM (SELECT relation, '{known}'::jsonb -> relation::text AS at {_MOVED}) AS moved
        WHERE at IS NOT NULL
    """  # noqa: S608


async def positions(wire: Wire, sequences: dict[int, str]) -> Positions:
    """Return the positions of sequences, of which the names are given by oid."""
    found: Positions = {}
    names = list(sequences.items())
    for start in range(0, len(names), 200):
        union = " UNION ALL ".join(
            f"SELECT {oid}::oid, last_value, is_called FROM {name}"  # noqa: S608  # format('%I')
            for oid, name in names[start : start + 200]
        )
        found |= {oid: (last, called) for oid, last, called in await wire.fetch(union)}
    return found


def tells_positions(wire: Wire) -> bool:
    """Tell whether :data:`POSITIONS` can be asked for."""
    return bool(wire.get_server_version().major >= TELLS_POSITIONS)


async def _all_positions(wire: Wire) -> Positions:
    told = await wire.fetch(POSITIONS) if tells_positions(wire) else []
    found = {oid: (last, called) for oid, last, called in told if last is not None}
    names = {row["oid"]: row["name"] for row in await wire.fetch(_SEQUENCES)}
    # By its name, which has to be planned, each takes four times as long.
    return found | await positions(
        wire, {oid: name for oid, name in names.items() if oid not in found}
    )


async def prepared(wire: Wire) -> frozenset[str]:
    """Return the names of the statements that a test has prepared in SQL."""
    return frozenset([row["name"] for row in await wire.fetch(_PREPARED)])


async def deallocate(wire: Wire, keep: frozenset[str]) -> None:
    """Forget what a test has prepared in SQL, which no rollback does."""
    script = [row["deallocate"] for row in await wire.fetch(_PREPARED) if row["name"] not in keep]
    if script:
        await wire.execute(";".join(script))


@dataclass(frozen=True, slots=True)
class Deferrable:
    """The constraints whose check can be put off to the commit."""

    check: str | None
    """Checks what a commit would check, then restores the initial modes; None if there is none."""
    writes: bool
    """Whether the check may write, as only a trigger's function can."""
    names: frozenset[str] = frozenset()

    def may_wait(self, constraint: str | None) -> bool:
        """Tell whether a constraint is one of them."""
        return constraint in self.names

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
        return cls(
            check=check,
            writes=any(row["trigger"] for row in rows),
            names=frozenset(row["constraint"] for row in rows),
        )


class Known(NamedTuple):
    """What somebody else has read."""

    sequences: Positions
    identity: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Catalog:
    """Facts of the template that decide how a test is undone."""

    sequences: Positions
    deferrable: Deferrable
    routines: Routines
    identity: tuple[str, ...]
    """The objects that mention transaction identity."""

    FORGET: ClassVar = "DISCARD SEQUENCES"
    """Undoes what neither a rollback nor :func:`restoring` does: `currval`."""

    RESET: ClassVar = f"EXECUTE db_testing_reset;ROLLBACK;{FORGET}"
    """Undoes, with a return to the lowest savepoint before it, a test in one round trip.

    A rollback undoes rows, DDL, settings, roles, temporary tables and cursors. It leaves the
    positions of sequences, `currval`, and the session's advisory locks. Positions are restored
    before it, while locks tell which sequences were moved, but after the return to the savepoint:
    TRUNCATE ... RESTART IDENTITY gives a sequence new storage, which is thrown away.
    """

    @classmethod
    async def read(cls, wire: Wire, known: Known | None = None) -> Catalog:
        """Read the facts, but for what is known, from a database that no test has touched yet."""
        return cls(
            sequences=known.sequences if known else await _all_positions(wire),
            deferrable=await Deferrable.read(wire),
            routines=await Routines.read(wire),
            identity=known.identity if known else await _transaction_identity.read(wire),
        )

    async def prepare_reset(self, wire: Wire) -> None:
        """Prepare the statement that puts moved sequences back, for the life of the connection."""
        await wire.execute(f"PREPARE db_testing_reset AS {restoring(self.sequences)}")

    async def current_positions(self, wire: Wire) -> Positions:
        """Return the positions as they are in this transaction."""
        moved = await wire.fetch(
            f"{_SEQUENCES} AND (c.oid IN (SELECT relation {_MOVED}) OR c.oid <> ALL ($1))",
            list(self.sequences),
        )
        return self.sequences | await positions(wire, {row["oid"]: row["name"] for row in moved})

    async def restore_sequences(self, wire: Wire) -> None:
        """Put every sequence back, when nothing tells which were moved."""
        await wire.execute(
            "SELECT setval(oid::regclass, last, called)"
            " FROM unnest($1::oid[], $2::bigint[], $3::boolean[]) AS t(oid, last, called)",
            list(self.sequences),
            [last for last, _ in self.sequences.values()],
            [called for _, called in self.sequences.values()],
        )
