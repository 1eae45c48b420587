"""What the journal adds up to, by account: for reports, reconciliation and revaluation."""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import ColumnElement, Select, SQLColumnExpression, case, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.journal.errors import EntryNotFoundError
from backend.journal.models import EntryState, JournalEntry, JournalLine, Side
from backend.users.service import Book


@dataclass(frozen=True)
class Turnover:
    """Sum up an account's lines, in the base currency."""

    debits: Decimal
    credits: Decimal


async def turnovers(session: AsyncSession, book: Book, as_of: dt.date) -> Mapping[int, Turnover]:
    """Sum up what is in the books until the end of `as_of`, by account; drafts are not.

    A voided entry counts, because the entry that reverses it does.
    """
    zero = Decimal()
    debits, credits_ = (
        func.coalesce(func.sum(JournalLine.base_amount).filter(JournalLine.side == side), zero)
        for side in (Side.DEBIT, Side.CREDIT)
    )
    rows = await session.execute(
        select(JournalLine.account_id, debits, credits_)
        .join(JournalEntry, JournalEntry.id == JournalLine.entry_id)
        .where(
            JournalEntry.owner_id == book.owner_id,
            JournalEntry.date <= as_of,
            JournalEntry.state != EntryState.DRAFT,
        )
        .group_by(JournalLine.account_id)
    )
    return {account_id: Turnover(debit, credit) for account_id, debit, credit in rows}


def _signed(amount: SQLColumnExpression[Decimal]) -> ColumnElement[Decimal]:
    return func.sum(case((JournalLine.side == Side.DEBIT, amount), else_=-amount))


@dataclass(frozen=True)
class AccountMovement:
    """Say what an entry moves on one account, in its currency; debits are positive."""

    entry_id: int
    date: dt.date
    description: str
    amount: Decimal


async def movements(
    session: AsyncSession, book: Book, account_id: int, first: dt.date, last: dt.date
) -> Sequence[AccountMovement]:
    """List what moved an account from one day to another, both included, by date.

    An entry and the one that reverses it are left out: together they moved nothing.
    """
    statement = _movements(book, account_id).where(
        JournalEntry.date.between(first, last), JournalEntry.reverses_id.is_(None)
    )
    return [AccountMovement(*row) for row in await session.execute(statement)]


async def movements_by_id(
    session: AsyncSession, book: Book, account_id: int, entry_ids: Collection[int]
) -> Sequence[AccountMovement]:
    """Fetch what posted entries move on an account.

    Raises `EntryNotFoundError` for one that is not posted or does not touch the account.
    """
    statement = _movements(book, account_id).where(JournalEntry.id.in_(entry_ids))
    found = [AccountMovement(*row) for row in await session.execute(statement)]
    if missing := sorted(set(entry_ids) - {movement.entry_id for movement in found}):
        message = f"There is no posted entry {missing[0]} on account {account_id} in your books."
        raise EntryNotFoundError(message)
    return found


def _movements(book: Book, account_id: int) -> Select[int, dt.date, str, Decimal]:
    return (
        select(
            JournalEntry.id,
            JournalEntry.date,
            JournalEntry.description,
            _signed(JournalLine.amount),
        )
        .join(JournalLine, JournalLine.entry_id == JournalEntry.id)
        .where(
            JournalEntry.owner_id == book.owner_id,
            JournalEntry.state == EntryState.POSTED,
            JournalLine.account_id == account_id,
        )
        .group_by(JournalEntry.id)
        .order_by(JournalEntry.date, JournalEntry.id)
    )
