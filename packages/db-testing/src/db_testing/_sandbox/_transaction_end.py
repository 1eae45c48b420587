"""What ends with a real transaction, and not with the savepoint that stands for it.

At a commit deferred constraints are checked, cursors are closed and tables ON COMMIT DROP dropped,
and what SET LOCAL has set gets the value back that it had before.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from .._origin import caller
from .._statements import _statements
from .._statements._catalog import Deferrable
from ..errors import SandboxConflictError
from ._failures import MARKER
from ._transaction import Noted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from .._statements._routines import Effect
    from .._statements._setting_statements import Made
    from ._failures import Failures
    from ._runtime import Wire
    from ._transaction import Transaction
    from ._wire import LiveWire

T = TypeVar("T")

_MOMENTS: Final = itertools.count()
_VALUES: Final = "SELECT name, current_setting(name, true) FROM unnest($1::text[]) AS name"
_MISSING: Final = """
    SELECT name FROM unnest($1::text[]) AS name
    WHERE to_regclass(format('pg_temp.%I', name)) IS NULL
"""
_PUT_BACK: Final = """
    SELECT set_config(name, coalesce(value, ''), false)
    FROM unnest($1::text[], $2::text[]) AS setting(name, value)
    WHERE current_setting(name, true) IS DISTINCT FROM value
"""
"""What has not changed is left alone: the server may know no setting of that name."""
_WHO: Final = ("session_authorization", "role")
"""What may forbid to put others back, and to drop tables."""


def taking_down(
    transaction: Transaction,
    sql: str,
    made: Made,
    effect: Effect,
    operation: Callable[[Wire], Awaitable[T]],
) -> Callable[[Wire], Awaitable[T]]:
    """Take down what of a statement's doing ends with its transaction; return what is to run."""
    lasting = made.lasting | effect.lasting
    if transaction.readonly and (lasting or _statements.outlasts(sql)):
        transaction.outlasting = True
    if not (effect.endings or effect.settings or lasting or _statements.may_end_something(sql)):
        return operation
    endings = _statements.endings(sql) | effect.endings
    tables = frozenset(name for kind, name in endings if kind == "new table")
    transaction.endings |= frozenset(each for each in endings if each[0] != "new table")
    transaction.frames[-1].constraint_modes += _statements.constraint_modes(sql)
    noted = transaction.local_settings
    for name in noted.keys() & lasting:
        del noted[name]
    if "all" in lasting:
        transaction.local_settings = {name: noted[name] for name in noted if name in _WHO}
    settings = (made.local | effect.settings) - lasting
    if transaction.local_settings.keys() >= settings and not tables:
        return operation
    return _noting(transaction, settings, tables, operation)


def _noting(
    transaction: Transaction,
    settings: frozenset[str],
    tables: frozenset[str],
    operation: Callable[[Wire], Awaitable[T]],
) -> Callable[[Wire], Awaitable[T]]:
    """Note before an operation what settings are, and which of the tables there are not."""

    async def note_first(wire: Wire) -> T:
        names = list(settings - transaction.local_settings.keys())
        for row in await wire.fetch(_VALUES, names) if names else ():
            noted = Noted(row["current_setting"], next(_MOMENTS))
            transaction.local_settings[row["name"]] = noted
        rows = await wire.fetch(_MISSING, list(tables)) if tables else ()
        transaction.endings |= frozenset(("table", row["name"]) for row in rows)
        return await operation(wire)

    return note_first


def check_settings(live: LiveWire, transaction: Transaction, failures: Failures) -> None:
    """Refuse to put settings back that another transaction has made since, for itself.

    Raises:
        SandboxConflictError: one has; the transaction has ended.
    """
    if not transaction.local_settings or len(live.turns.open) == 1:
        return
    for other in live.turns.open - {transaction}:
        names = [] if other.failed else _set_since(transaction, other)
        if names:
            live.turns.end(transaction)
            raise failures.note(
                SandboxConflictError(
                    f"{transaction} was committed at {caller()}, which ends what it has set by "
                    f"SET LOCAL; but {other} has set {', '.join(names)} since, on the same "
                    f"connection. End that one first, or add {MARKER} to {failures.test}."
                ),
                broken=True,
            )


def _set_since(transaction: Transaction, other: Transaction) -> list[str]:
    """Return what another has set for itself after a transaction really had.

    What only a trigger might have set, and the other too, that one puts back.
    """
    found = []
    for name, noted in list(transaction.local_settings.items()):
        since = other.local_settings.get(name)
        if since is None or since.moment < noted.moment:
            continue
        if since.value == noted.value:
            del transaction.local_settings[name]
        else:
            found.append(name)
    return found


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
        values = {name: noted.value for name, noted in settings.items()}
        await _put_back(wire, {name: values.pop(name) for name in _WHO if name in values})
        if endings:
            await _end(wire, endings)
        await _put_back(wire, values)

    changes = settings or endings or live.schema_changed or deferrable.writes
    return LastStep(run, reads=not changes)


async def _put_back(wire: Wire, values: Mapping[str, str | None]) -> None:
    if values:
        await wire.execute(_PUT_BACK, list(values), list(values.values()))


def _modes_besides(live: LiveWire, transaction: Transaction) -> list[str]:
    """Return what other open transactions have set constraints to, which the check undoes."""
    return [
        mode for other in live.turns.writers_besides(transaction) for mode in other.constraint_modes
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
