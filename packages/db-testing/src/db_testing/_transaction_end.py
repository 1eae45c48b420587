"""What ends with a real transaction, and not with the savepoint that stands for it.

At a commit deferred constraints are checked, cursors are closed and tables ON COMMIT DROP dropped,
and what SET LOCAL has set gets the value back that it had before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from . import _statements
from ._catalog import Deferrable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ._routines import Effect
    from ._runtime import Wire
    from ._transaction import Transaction
    from ._wire import LiveWire

T = TypeVar("T")

_VALUES: Final = "SELECT name, current_setting(name, true) FROM unnest($1::text[]) AS name"
_PUT_BACK: Final = """
    SELECT set_config(name, coalesce(value, ''), false)
    FROM unnest($1::text[], $2::text[]) AS setting(name, value)
    WHERE current_setting(name, true) IS DISTINCT FROM value
"""
"""What has not changed is left alone: the server may know no setting of that name."""


def taking_down(
    transaction: Transaction,
    sql: str,
    args: Sequence[Any],
    effect: Effect,
    operation: Callable[[Wire], Awaitable[T]],
) -> Callable[[Wire], Awaitable[T]]:
    """Take down what of a statement's doing ends with its transaction; return what is to run."""
    if not (effect.endings or effect.settings or _statements.may_end_something(sql)):
        return operation
    transaction.endings |= _statements.endings(sql) | effect.endings
    transaction.frames[-1].constraint_modes += _statements.constraint_modes(sql)
    lasting = _statements.lasting_settings(sql, args)
    for name in transaction.local_settings.keys() & lasting:
        del transaction.local_settings[name]
    settings = (_statements.local_settings(sql, args) | effect.settings) - lasting
    if transaction.local_settings.keys() >= settings:
        return operation
    return _noting(transaction, settings, operation)


def _noting(
    transaction: Transaction,
    settings: frozenset[str],
    operation: Callable[[Wire], Awaitable[T]],
) -> Callable[[Wire], Awaitable[T]]:
    """Note the values of settings before an operation that sets them for its transaction."""

    async def note_first(wire: Wire) -> T:
        rows = await wire.fetch(_VALUES, list(settings - transaction.local_settings.keys()))
        transaction.local_settings |= {row["name"]: row["current_setting"] for row in rows}
        return await operation(wire)

    return note_first


@dataclass(frozen=True, slots=True)
class LastStep:
    """What is to happen in a transaction before it is committed."""

    run: Callable[[Wire], Awaitable[None]]
    reads: bool


def last_step(live: LiveWire, transaction: Transaction) -> LastStep | None:
    """Return what a real commit would do in a transaction; None if that is nothing."""
    settings = transaction.local_settings
    deferrable = live.catalog.deferrable
    endings = transaction.endings
    if not (settings or endings or live.schema_changed or deferrable.check):
        return None

    async def run(wire: Wire) -> None:
        check = (await Deferrable.read(wire) if live.schema_changed else deferrable).check
        if check is not None:
            await wire.execute(";".join([check, *_modes_besides(live, transaction)]))
        if endings:
            await _end(wire, endings)
        if settings:
            await wire.execute(_PUT_BACK, list(settings), list(settings.values()))

    changes = settings or endings or live.schema_changed or deferrable.writes
    return LastStep(run, reads=not changes)


def _modes_besides(live: LiveWire, transaction: Transaction) -> list[str]:
    """Return what other open transactions have set constraints to, which the check undoes."""
    return [
        mode
        for other in live.turns.writers_besides(transaction)
        for frame in (other.frames[:-1] if other.failed else other.frames)
        for mode in frame.constraint_modes
    ]


async def _end(wire: Wire, endings: frozenset[tuple[str, str]]) -> None:
    """Drop and close what ends with a transaction, where that has not done so itself."""
    still_open = {row["name"] for row in await wire.fetch("SELECT name FROM pg_cursors")}
    script = []
    for kind, name in endings:
        quoted = name.replace('"', '""')
        if kind == "table":
            script.append(f'DROP TABLE IF EXISTS pg_temp."{quoted}"')
        elif name in still_open:
            script.append(f'CLOSE "{quoted}"')
    if script:
        await wire.execute(";".join(script))
