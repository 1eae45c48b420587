"""A test's sandbox is committed for real, so that its database can be kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._transaction import Transaction
    from ._wire import LiveWire


@dataclass(frozen=True, slots=True)
class Outcome:
    """What has become of a sandbox that was to be committed."""

    committed: bool
    remark: str | None = None
    """Why it could not be, or what is not in the database as one would expect."""


async def commit(live: LiveWire, patience: float) -> Outcome:
    """Commit what the test's transactions have committed; undo what they have not.

    That is what a database would hold in which the transactions had been real.
    """
    turns = live.turns
    left = [transaction for transaction in turns.open if transaction.wrote]
    for transaction in list(turns.open):
        turns.end(transaction)
    try:
        await turns.take_over(patience)
    except TimeoutError:
        return Outcome(committed=False, remark="a statement of the test was still running")
    try:
        if live.wire.is_closed() or live.escaped:
            return Outcome(committed=False, remark="the connection with its rows is gone")
        stuck = _undo(live, left)
        script = [*live.layers.finish(), "COMMIT"] if live.layers.begun else []
        if script:
            await live.wire.execute(";".join(script), timeout=patience)
    except live.wire_errors as error:
        return Outcome(committed=False, remark=f"its rows could not be committed: {error}")
    finally:
        turns.give()
    return Outcome(committed=True, remark=_remark(left, stuck))


def _undo(live: LiveWire, left: list[Transaction]) -> list[Transaction]:
    """Undo open transactions, from the top down; return those that others stand upon."""
    stuck = left
    while stuck:
        remaining = [each for each in stuck if live.layers.undo(each.frames) is not None]
        if len(remaining) == len(stuck):
            break
        stuck = remaining
    return stuck


def _remark(left: list[Transaction], stuck: list[Transaction]) -> str | None:
    undone = [transaction for transaction in left if transaction not in stuck]
    said = []
    if undone:
        said.append(f"without what was not committed: {_listed(undone)}")
    if stuck:
        said.append(f"with what savepoints cannot undo though it was open: {_listed(stuck)}")
    return "; ".join(said) or None


def _listed(transactions: list[Transaction]) -> str:
    return ", ".join(sorted(str(transaction) for transaction in transactions))
