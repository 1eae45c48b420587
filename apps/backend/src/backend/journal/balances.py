"""What the journal adds up to, by account: for reports, reconciliation and revaluation."""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import ColumnElement, Select, SQLColumnExpression, and_, case, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.journal.errors import EntryNotFoundError
from backend.journal.models import EntryState, JournalEntry, JournalLine, Side
from backend.users.service import Book


def _signed(amount: SQLColumnExpression[Decimal]) -> ColumnElement[Decimal]:
    return func.sum(case((JournalLine.side == Side.DEBIT, amount), else_=-amount))


@dataclass(frozen=True)
class Balance:
    """Hold an account's balance, debits less credits."""

    amount: Decimal
    """In the account's currency."""
    base_amount: Decimal


async def balances(
    session: AsyncSession, book: Book, last: dt.date, first: dt.date = dt.date.min
) -> Mapping[int, Balance]:
    """Sum up what was posted from one day to another, both included, by account.

    A voided entry counts, because the entry that reverses it does.
    """
    rows = await session.execute(
        select(
            JournalLine.account_id, _signed(JournalLine.amount), _signed(JournalLine.base_amount)
        )
        .join(JournalEntry, JournalEntry.id == JournalLine.entry_id)
        .where(_in_books(book, first, last))
        .group_by(JournalLine.account_id)
    )
    return {account_id: Balance(amount, base_amount) for account_id, amount, base_amount in rows}


@dataclass(frozen=True)
class Flow:
    """Hold base amounts of an account before a period and within it, debits less credits."""

    before: Decimal
    within: Decimal


async def flows_to(
    session: AsyncSession,
    book: Book,
    account_ids: Collection[int],
    first: dt.date,
    last: dt.date,
) -> Mapping[int, Flow]:
    """Sum up the entries that touch any of these accounts, on all their accounts.

    An entry balances, so what it adds to `account_ids` is what its other lines are credited. One
    statement sees it all: what is posted meanwhile is on each of its accounts or on none.
    """
    touching = select(JournalLine.entry_id).where(JournalLine.account_id.in_(account_ids))
    amount = JournalLine.base_amount
    rows = await session.execute(
        select(
            JournalLine.account_id,
            _signed(case((JournalEntry.date < first, amount), else_=Decimal())),
            _signed(case((JournalEntry.date >= first, amount), else_=Decimal())),
        )
        .join(JournalEntry, JournalEntry.id == JournalLine.entry_id)
        .where(_in_books(book, dt.date.min, last), JournalEntry.id.in_(touching))
        .group_by(JournalLine.account_id)
    )
    return {account_id: Flow(before, within) for account_id, before, within in rows}


async def reversal_dates(
    session: AsyncSession, book: Book, entry_ids: Collection[int]
) -> Mapping[int, dt.date]:
    """Say when entries were reversed, those that were."""
    rows = await session.execute(
        select(JournalEntry.reverses_id, JournalEntry.date).where(
            JournalEntry.owner_id == book.owner_id, JournalEntry.reverses_id.in_(entry_ids)
        )
    )
    return {entry_id: date for entry_id, date in rows if entry_id is not None}


def _in_books(book: Book, first: dt.date, last: dt.date) -> ColumnElement[bool]:
    return and_(
        JournalEntry.owner_id == book.owner_id,
        JournalEntry.date.between(first, last),
        JournalEntry.state != EntryState.DRAFT,
    )


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
