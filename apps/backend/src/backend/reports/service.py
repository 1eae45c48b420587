"""The trial balance: every account's net balance as of a date, and proof that the books balance."""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts import service as accounts_service
from backend.accounts.service import Account
from backend.journal import service as journal_service
from backend.money import convert
from backend.reports.schemas import Balance, TrialBalance, TrialBalanceQuery, TrialBalanceRow
from backend.users.service import Book


async def trial_balance(
    session: AsyncSession, book: Book, query: TrialBalanceQuery
) -> TrialBalance:
    """Report all accounts with a balance, own or below them, or all there are when asked to."""
    as_of = query.as_of or dt.datetime.now(dt.UTC).date()
    # In this order, because each query sees what is committed by then: an account that is opened
    # and posted to between the two is missing from the report with its lines, not without them.
    turnovers = await journal_service.turnovers(session, book, as_of)
    accounts = await accounts_service.in_book(session, book)
    own = {id_: turnover.debits - turnover.credits for id_, turnover in turnovers.items()}
    rolled_up = _roll_up(accounts, own)
    rows = [
        TrialBalanceRow(
            account_id=account.id,
            code=account.code,
            name=account.name,
            type=account.type,
            parent_id=account.parent_id,
            depth=depth,
            own=_on_its_side(own.get(account.id, Decimal()), book.base_currency),
            rolled_up=_on_its_side(rolled_up[account.id], book.base_currency),
        )
        for account, depth in _depth_first(accounts)
        if query.include_zero or own.get(account.id) or rolled_up[account.id]
    ]
    totals = Balance(
        debit=sum((row.own.debit for row in rows), _zero(book.base_currency)),
        credit=sum((row.own.credit for row in rows), _zero(book.base_currency)),
    )
    return TrialBalance(as_of=as_of, currency=book.base_currency, rows=rows, totals=totals)


def _zero(currency: str) -> Decimal:
    return convert(Decimal(), Decimal(1), currency)


def _on_its_side(net: Decimal, currency: str) -> Balance:
    net, zero = convert(net, Decimal(1), currency), _zero(currency)
    return Balance(debit=max(net, zero), credit=max(-net, zero))


def _children(accounts: Sequence[Account]) -> Mapping[int | None, Sequence[Account]]:
    children: dict[int | None, list[Account]] = defaultdict(list)
    for account in accounts:
        children[account.parent_id].append(account)
    return children


def _depth_first(accounts: Sequence[Account]) -> Iterator[tuple[Account, int]]:
    """Walk the forest, parents first, siblings in the order given; depth 0 is the top level."""
    children = _children(accounts)
    # A stack instead of recursion: nothing bounds how deep a user nests accounts.
    stack = [(account, 0) for account in reversed(children[None])]
    while stack:
        account, depth = stack.pop()
        yield account, depth
        stack.extend((child, depth + 1) for child in reversed(children[account.id]))


def _roll_up(accounts: Sequence[Account], own: Mapping[int, Decimal]) -> Mapping[int, Decimal]:
    """Add every account's net balance to all its ancestors'."""
    totals = {account.id: own.get(account.id, Decimal()) for account in accounts}
    # Walked backwards, an account comes after all its descendants, so its sum is complete.
    for account, _ in reversed(list(_depth_first(accounts))):
        if account.parent_id is not None:
            totals[account.parent_id] += totals[account.id]
    return totals
