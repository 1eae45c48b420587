"""Revaluing balances in foreign currencies: unrealised gains and losses, posted and reversible.

The journal holds each line at the rate of its day. A revaluation finds what the balances are worth
at another day's rate, and posts the differences to an adjustment account in the base currency.
Later ones post only what has changed since, so revaluing twice is revaluing once.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts import service as accounts_service
from backend.accounts.service import Account, AccountType
from backend.fields import Id
from backend.journal import service as journal_service
from backend.journal.service import Balance, EntryIn, LineIn, Side, VoidIn
from backend.pagination import Keyset, PageQuery
from backend.rates import service as rates_service
from backend.revaluation.errors import (
    NothingPostedError,
    RevaluationAccountError,
    RevaluationNotFoundError,
    RevaluationOrderError,
    RevaluationTooLargeError,
)
from backend.revaluation.models import Revaluation, RevaluationItem
from backend.revaluation.schemas import RevaluationIn, ReversalIn
from backend.users.service import Book, lock_book
from backend.versions import ANY_VERSION

_HELD_OR_OWED = {AccountType.ASSET, AccountType.LIABILITY}

_OLDEST_FIRST = Keyset[Revaluation](
    "revaluations", (Revaluation.date, Revaluation.id), TypeAdapter(tuple[dt.date, Id])
)


async def revalue(session: AsyncSession, book: Book, data: RevaluationIn) -> Revaluation:
    """Revalue every asset and liability in a foreign currency, and post the differences.

    Raises `RevaluationAccountError`, `RevaluationOrderError`, `RevaluationTooLargeError`,
    `RateNotFoundError`, and what the journal raises for unknown or archived accounts.
    """
    # Two at once would both post the same difference.
    await lock_book(session, book)
    await _check_accounts(session, book, data)
    adjusted = await _adjustments(session, book, data.date)
    balances = await journal_service.balances(session, book, data.date)
    items = [
        await _item(session, book, account, balances[account.id], adjusted[account.id], data.date)
        for account in await accounts_service.in_book(session, book)
        if account.type in _HELD_OR_OWED
        and account.currency != book.base_currency
        and account.id in balances
    ]
    revaluation = Revaluation(
        owner_id=book.owner_id,
        date=data.date,
        entry_id=await _post(session, book, data, items),
        items=items,
    )
    session.add(revaluation)
    await session.flush()
    return revaluation


async def get(session: AsyncSession, book: Book, revaluation_id: int) -> Revaluation:
    """Find a revaluation of the book; raises `RevaluationNotFoundError`."""
    revaluation = await session.get(Revaluation, revaluation_id)
    if revaluation is None or revaluation.owner_id != book.owner_id:
        message = f"There is no revaluation {revaluation_id} in your books."
        raise RevaluationNotFoundError(message)
    return revaluation


async def page(
    session: AsyncSession, book: Book, query: PageQuery
) -> tuple[Sequence[Revaluation], str | None]:
    """List revaluations by date, with the cursor of the next page."""
    statement = select(Revaluation).where(Revaluation.owner_id == book.owner_id)
    return await _OLDEST_FIRST.page(session, statement, query)


async def reverse(
    session: AsyncSession, book: Book, revaluation_id: int, data: ReversalIn
) -> Revaluation:
    """Void the entry of a revaluation: from the day of the reversal on it is not in force.

    Raises `NothingPostedError`, or what voiding raises: `EntryStateError` for the second time.
    """
    await lock_book(session, book)
    revaluation = await get(session, book, revaluation_id)
    if revaluation.entry_id is None:
        message = f"Revaluation {revaluation_id} found no difference, so it posted nothing."
        raise NothingPostedError(message)
    void = VoidIn(reason=data.reason, date=data.date)
    await journal_service.void(session, book, revaluation.entry_id, void, ANY_VERSION)
    return revaluation


async def _check_accounts(session: AsyncSession, book: Book, data: RevaluationIn) -> None:
    results = {AccountType.INCOME, AccountType.EXPENSE}
    wanted = [
        (data.adjustment_account_id, _HELD_OR_OWED),
        (data.gain_account_id, results),
        (data.loss_account_id, results),
    ]
    accounts = await accounts_service.lock_for_lines(session, book, {id_ for id_, _ in wanted})
    for account_id, types in wanted:
        account = accounts[account_id]
        if account.type not in types or account.currency != book.base_currency:
            message = (
                f"Account {account.code} is {account.type} in {account.currency}; "
                f"{' or '.join(sorted(types))} in {book.base_currency} is needed."
            )
            raise RevaluationAccountError(message)


async def _adjustments(session: AsyncSession, book: Book, on: dt.date) -> Mapping[int, Decimal]:
    """Add up, by account, the differences of the revaluations that are in force on a day.

    Raises `RevaluationOrderError` when one was made for a later day: it has counted on what was in
    the books then.
    """
    found = await session.scalars(
        select(Revaluation).where(
            Revaluation.owner_id == book.owner_id, Revaluation.entry_id.is_not(None)
        )
    )
    revaluations = {r.entry_id: r for r in found if r.entry_id is not None}
    reversed_on = await journal_service.reversal_dates(session, book, revaluations.keys())
    adjusted: defaultdict[int, Decimal] = defaultdict(Decimal)
    for entry_id, revaluation in revaluations.items():
        if reversed_on.get(entry_id, dt.date.max) <= on:
            continue
        if revaluation.date > on:
            if entry_id in reversed_on:
                continue
            message = f"There is a revaluation of {revaluation.date}; reverse it first."
            raise RevaluationOrderError(message)
        for item in revaluation.items:
            adjusted[item.account_id] += item.difference
    return adjusted


async def _item(  # noqa: PLR0917 - what is known of one account
    session: AsyncSession,
    book: Book,
    account: Account,
    balance: Balance,
    adjusted: Decimal,
    on: dt.date,
) -> RevaluationItem:
    rate = await rates_service.find(session, book, account.currency, book.base_currency, on)
    carrying = balance.base_amount + adjusted
    revalued = rate.convert(balance.amount)
    return RevaluationItem(
        account_id=account.id,
        currency=account.currency,
        balance=balance.amount,
        rate=rate.rounded,
        carrying=carrying,
        revalued=revalued,
        difference=revalued - carrying,
    )


async def _post(
    session: AsyncSession, book: Book, data: RevaluationIn, items: Sequence[RevaluationItem]
) -> int | None:
    description = f"Revaluation at the end of {data.date}"
    try:
        lines = [line for item in items if item.difference for line in _lines(data, item)]
        entry_in = EntryIn(date=data.date, description=description, lines=lines)
    except ValidationError as error:
        message = f"The differences do not fit into one entry: {error.errors()[0]['msg']}."
        raise RevaluationTooLargeError(message) from None
    if not lines:
        return None
    entry = await journal_service.create_draft(session, book, entry_in)
    await journal_service.post(session, book, entry.id, ANY_VERSION)
    return entry.id


def _lines(data: RevaluationIn, item: RevaluationItem) -> list[LineIn]:
    """Make two lines: what an asset gains is a debit, what a liability gains is one as well."""
    amount = abs(item.difference)
    memo = f"{item.balance} {item.currency} on account {item.account_id}"
    if item.difference > 0:
        sides = (data.adjustment_account_id, data.gain_account_id)
    else:
        sides = (data.loss_account_id, data.adjustment_account_id)
    return [
        LineIn(account_id=account_id, side=side, amount=amount, memo=memo)
        for account_id, side in zip(sides, (Side.DEBIT, Side.CREDIT), strict=True)
    ]
