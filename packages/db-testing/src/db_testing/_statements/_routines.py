"""What the routines of a database do without a word of it in the statements that call them.

A function may create a table, or set something until its transaction ends, as helpers of row
security do. The text of a call does not say so; the body, which is in the catalog, does. Nothing
says which triggers a statement fires, foreign keys and other triggers included, so that any that
writes is taken to do what some trigger's function does. So is any that follows the definition of a
routine by the test itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from . import _setting_statements, _statements
from ._statement_text import strings_in

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping, Sequence

    from .._sandbox._runtime import Wire

# Nothing but that it is volatile says that a function written in C may write, as those of pg_cron
# and TimescaleDB do; its source is a symbol's name.
_ROUTINES: Final = """
    SELECT p.oid, p.proname AS name, p.provolatile = 'v' AS writes,
           CASE l.lanname WHEN 'c' THEN '' ELSE p.prosrc END AS source,
           p.prorettype IN ('trigger'::regtype, 'event_trigger'::regtype) AS fires
    FROM pg_proc p
    JOIN pg_namespace n ON n.oid = p.pronamespace
    JOIN pg_language l ON l.oid = p.prolang
    WHERE l.lanname <> 'internal'
      AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
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
    lasting: frozenset[str] = frozenset()
    """The names of those that it makes for longer."""
    untold_settings: bool = False
    """Whether it makes others, whose names only the call knows."""
    endings: frozenset[tuple[str, str]] = frozenset()
    """What it makes that ends with its transaction."""
    asks_for_locks: bool = False
    """Whether it depends on what other transactions have locked."""

    def __or__(self, other: Effect) -> Effect:
        return Effect(
            self.changes_schema or other.changes_schema,
            self.settings | other.settings,
            (self.lasting - other.settings) | (other.lasting - self.settings),
            self.untold_settings or other.untold_settings,
            self.endings | other.endings,
            self.asks_for_locks or other.asks_for_locks,
        )

    @property
    def unasked(self) -> Effect:
        """What of it a statement may do that does not call the routine: it may fire a trigger.

        Only a call is refused for what it might do, or outlasts its transaction for certain.
        """
        return replace(self, lasting=frozenset(), untold_settings=False, asks_for_locks=False)

    @classmethod
    def of(cls, body: str) -> Effect:
        """Read what the body of a routine does, also what it makes up and executes."""
        made = _setting_statements.made_by_body(body)
        return cls(
            _statements.changes_schema(body),
            made.local,
            made.lasting - made.local,
            made.untold,
            _statements.endings_of_body(body),
            _statements.asks_for_locks(body),
        )


NOTHING: Final = Effect()


@dataclass(frozen=True, slots=True, eq=False)
class Routines:
    """The routines of a database that are not the server's own."""

    writing: re.Pattern[str] | None
    """Matches calls of those that may write, and the names of views that call them."""
    effects: Mapping[str, Effect]
    """Of those that have one, by name in lower case."""
    calls: re.Pattern[str] | None
    """Matches calls of those."""
    fired: Effect = NOTHING
    """What any statement that writes may do besides: fire triggers, or call what the test made."""

    @classmethod
    async def read(cls, wire: Wire) -> Routines:
        """Read them from the catalog."""
        rows = await wire.fetch(_ROUTINES)
        effects = _effects([(row["name"].lower(), row["source"]) for row in rows])
        fired = NOTHING
        for row in rows:
            if row["fires"]:
                # Dynamic SQL, as in audits, is not taken for DDL: that would cost every test.
                ddl = _statements.defines_something(row["source"])
                effect = effects.get(row["name"].lower(), NOTHING)
                fired |= replace(effect.unasked, changes_schema=ddl)
        rows = [row for row in rows if not row["fires"]]
        called = {row["name"].lower() for row in rows}
        effects = {name: effect for name, effect in effects.items() if name in called}
        writing = {row["oid"]: row["name"] for row in rows if row["writes"]}
        views = await wire.fetch(_VIEWS, list(writing)) if writing else []
        return cls(
            writing=_statements.routine_calls(
                {*writing.values(), *effects}, {row["name"] for row in views}
            ),
            effects=effects,
            calls=_statements.routine_calls(effects),
            fired=fired,
        )

    def beside(self, definition: str) -> Routines:
        """Return these, with what a statement of the test's own has defined."""
        writing = _statements.ANY_CALL
        if self.writing is _statements.ANYTHING or _statements.defines_view(definition):
            writing = _statements.ANYTHING
        effect = Effect.of(definition)
        names = _statements.routines_defined(definition)
        for body in strings_in(definition):
            effect |= Effect.of(body) | self.effect(body)
            names |= _statements.routines_defined(body)  # it may be executed
        effects = dict(self.effects)
        for name in names:
            effects[name] = effects.get(name, NOTHING) | effect
        return Routines(
            writing=writing,
            effects=effects,
            calls=_statements.routine_calls(effects),
            fired=self.fired | effect.unasked,
        )

    def effect(self, sql: str) -> Effect:
        """Return what a statement that may write does by the routines that it runs."""
        if self.calls is None:
            return self.fired
        effect = self.fired
        for name in _statements.called(sql, self.calls):
            effect |= self.effects[name]
        return effect


def _effects(sources: Sequence[tuple[str, str]]) -> dict[str, Effect]:
    """Return the effects of routines by name, those of the routines that they call included."""
    effects: dict[str, Effect] = {}
    for name, source in sources:
        effects[name] = effects.get(name, NOTHING) | Effect.of(source)
    while True:
        effects = {name: effect for name, effect in effects.items() if effect != NOTHING}
        calls = _statements.routine_calls(effects)
        before = dict(effects)
        for name, source in sources if calls is not None else ():
            for other in _statements.called(source, calls):
                effects[name] = effects.get(name, NOTHING) | before[other]
        if effects == before:
            return effects
