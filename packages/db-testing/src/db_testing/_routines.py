"""What the routines of a database do without a word of it in the statements that call them.

A function may create a table, or set something until its transaction ends, as helpers of row
security do. The text of a call does not say so; the body, which is in the catalog, does. What
triggers do, and routines that the test itself defines, is not looked for here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from . import _statements

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping, Sequence

    from ._runtime import Wire

# Functions written in C come from extensions and are not suspected of writing tables.
_ROUTINES: Final = """
    SELECT p.oid, p.proname AS name, p.provolatile = 'v' AS writes, p.prosrc AS source
    FROM pg_proc p
    JOIN pg_namespace n ON n.oid = p.pronamespace
    JOIN pg_language l ON l.oid = p.prolang
    WHERE l.lanname NOT IN ('c', 'internal')
      AND n.nspname NOT IN ('pg_catalog', 'information_schema')
      AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
"""

_VIEWS: Final = """
    WITH RECURSIVE uses AS (
        SELECT r.ev_class AS used_by, d.refclassid, d.refobjid
        FROM pg_depend d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
        WHERE r.ev_class <> d.refobjid
    ), writing AS (
        SELECT used_by AS oid
        FROM uses WHERE refclassid = 'pg_proc'::regclass AND refobjid = ANY ($1::oid[])
        UNION
        SELECT used_by
        FROM uses JOIN writing ON refclassid = 'pg_class'::regclass AND refobjid = writing.oid
    )
    SELECT c.relname AS name FROM writing JOIN pg_class c USING (oid)
"""
"""Views that call some routines, and views of those."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What a call does beyond reading and writing rows."""

    changes_schema: bool = False
    settings: frozenset[str] = frozenset()
    """The names of those that it makes for its transaction only."""

    def __or__(self, other: Effect) -> Effect:
        return Effect(self.changes_schema or other.changes_schema, self.settings | other.settings)


_NOTHING: Final = Effect()


@dataclass(frozen=True, slots=True, eq=False)
class Routines:
    """The routines of a database that are not the server's own."""

    writing: re.Pattern[str] | None
    """Matches calls of those that may write, and the names of views that call them."""
    effects: Mapping[str, Effect]
    """Of those that have one, by name in lower case."""
    calls: re.Pattern[str] | None
    """Matches calls of those."""

    @classmethod
    async def read(cls, wire: Wire) -> Routines:
        """Read them from the catalog."""
        rows = await wire.fetch(_ROUTINES)
        effects = _effects([(row["name"].lower(), row["source"]) for row in rows])
        writing = {row["oid"]: row["name"] for row in rows if row["writes"]}
        views = await wire.fetch(_VIEWS, list(writing)) if writing else []
        return cls(
            writing=_statements.routine_calls(
                {*writing.values(), *effects}, {row["name"] for row in views}
            ),
            effects=effects,
            calls=_statements.routine_calls(effects),
        )

    def effect(self, sql: str) -> Effect:
        """Return what a statement does by the routines that it calls."""
        if self.calls is None:
            return _NOTHING
        effect = _NOTHING
        for name in _statements.called(sql, self.calls):
            effect |= self.effects[name]
        return effect


def _effects(sources: Sequence[tuple[str, str]]) -> dict[str, Effect]:
    """Return the effects of routines by name, those of the routines that they call included."""
    effects: dict[str, Effect] = {}
    for name, source in sources:
        own = Effect(_statements.changes_schema(source), _statements.local_settings(source, ()))
        effects[name] = effects.get(name, _NOTHING) | own
    while True:
        effects = {name: effect for name, effect in effects.items() if effect != _NOTHING}
        calls = _statements.routine_calls(effects)
        before = dict(effects)
        for name, source in sources if calls is not None else ():
            for other in _statements.called(source, calls):
                effects[name] = effects.get(name, _NOTHING) | before[other]
        if effects == before:
            return effects
