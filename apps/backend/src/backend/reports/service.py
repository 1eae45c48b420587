"""The trial balance: every account's net balance as of a date, and proof that the books balance."""

import datetime as dt
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts import service as accounts_service
from backend.journal import service as journal_service
from backend.reports.columns import translated_column, zero
from backend.reports.schemas import Balance, TrialBalance, TrialBalanceQuery, TrialBalanceRow
from backend.reports.tree import depth_first, roll_up
from backend.users.service import Book


async def trial_balance(
    session: AsyncSession, book: Book, query: TrialBalanceQuery
) -> TrialBalance:
    """Report all accounts with a balance, own or below them, or all there are when asked to.

    Raises `RateNotFoundError` for a currency without rates.
    """
    as_of = query.as_of or dt.datetime.now(dt.UTC).date()
    currency = query.currency or book.base_currency
    # In this order, because each query sees what is committed by then: an account that is opened
    # and posted to between the two is missing from the report with its lines, not without them.
    balances = await journal_service.balances(session, book, as_of)
    accounts = await accounts_service.in_book(session, book)
    amounts = {id_: balance.base_amount for id_, balance in balances.items()}
    own = await translated_column(session, book, amounts, currency, as_of)
    rolled_up = roll_up(accounts, own)
    nothing = zero(currency)
    rows = [
        TrialBalanceRow(
            account_id=account.id,
            code=account.code,
            name=account.name,
            type=account.type,
            parent_id=account.parent_id,
            depth=depth,
            own=_on_its_side(own.get(account.id, nothing), nothing),
            rolled_up=_on_its_side(rolled_up[account.id] + nothing, nothing),
        )
        for account, depth in depth_first(accounts)
        if query.include_zero or own.get(account.id) or rolled_up[account.id]
    ]
    totals = Balance(
        debit=sum((row.own.debit for row in rows), nothing),
        credit=sum((row.own.credit for row in rows), nothing),
    )
    return TrialBalance(
        as_of=as_of,
        currency=currency,
        rows=rows,
        totals=totals,
        translation_difference=totals.debit - totals.credit,
    )


def _on_its_side(net: Decimal, nothing: Decimal) -> Balance:
    return Balance(debit=max(net, nothing), credit=max(-net, nothing))
