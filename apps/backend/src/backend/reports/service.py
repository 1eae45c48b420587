"""The trial balance: every account's net balance as of days, and proof that the books balance."""

import datetime as dt
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts import service as accounts_service
from backend.reports.columns import columns_as_of, zero
from backend.reports.schemas import Balance, TrialBalance, TrialBalanceQuery, TrialBalanceRow
from backend.reports.tree import depth_first, roll_up
from backend.users.service import Book


async def trial_balance(
    session: AsyncSession, book: Book, query: TrialBalanceQuery
) -> TrialBalance:
    """Report all accounts with a balance, own or below them, or all there are when asked to.

    Raises `RateNotFoundError` for a currency without rates.
    """
    days = query.as_of or [dt.datetime.now(dt.UTC).date()]
    currency = query.currency or book.base_currency
    columns = await columns_as_of(session, book, days, currency)
    # After the columns: an account that is opened and posted to between the two is missing from the
    # report with its lines, not without them.
    accounts = await accounts_service.in_book(session, book)
    rolled_up = [roll_up(accounts, column) for column in columns]
    nothing = zero(currency)
    rows = [
        TrialBalanceRow(
            account_id=account.id,
            code=account.code,
            name=account.name,
            type=account.type,
            parent_id=account.parent_id,
            depth=depth,
            own=[_on_its_side(column.get(account.id, nothing), nothing) for column in columns],
            rolled_up=[_on_its_side(column[account.id] + nothing, nothing) for column in rolled_up],
        )
        for account, depth in depth_first(accounts)
        if query.include_zero or any(column.get(account.id) for column in (*columns, *rolled_up))
    ]
    totals = [
        Balance(
            debit=sum((row.own[i].debit for row in rows), nothing),
            credit=sum((row.own[i].credit for row in rows), nothing),
        )
        for i in range(len(days))
    ]
    return TrialBalance(
        as_of=days,
        currency=currency,
        rows=rows,
        totals=totals,
        translation_difference=[total.debit - total.credit for total in totals],
    )


def _on_its_side(net: Decimal, nothing: Decimal) -> Balance:
    return Balance(debit=max(net, nothing), credit=max(-net, nothing))
