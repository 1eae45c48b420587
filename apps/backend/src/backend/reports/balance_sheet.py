"""The balance sheet, as of one or several days."""

import datetime as dt

from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts import service as accounts_service
from backend.accounts.service import AccountType
from backend.reports.columns import columns_as_of, section
from backend.reports.schemas import BalanceSheet, DaysQuery
from backend.users.service import Book


async def balance_sheet(session: AsyncSession, book: Book, query: DaysQuery) -> BalanceSheet:
    """Report what is owned and owed; raises `RateNotFoundError` for a currency without rates."""
    days = query.as_of or [dt.datetime.now(dt.UTC).date()]
    currency = query.currency or book.base_currency
    columns = await columns_as_of(session, book, days, currency)
    # After the columns: an account that was opened between the two is missing with its lines.
    accounts = await accounts_service.in_book(session, book)
    assets, liabilities, equity, income, expenses = (
        section(accounts, type_, columns, currency)
        for type_ in (
            AccountType.ASSET,
            AccountType.LIABILITY,
            AccountType.EQUITY,
            AccountType.INCOME,
            AccountType.EXPENSE,
        )
    )
    earnings = [i - e for i, e in zip(income.total, expenses.total, strict=True)]
    claims = zip(liabilities.total, equity.total, earnings, strict=True)
    claimed = [sum(column) for column in claims]
    difference = [a - c for a, c in zip(assets.total, claimed, strict=True)]
    return BalanceSheet(
        as_of=days,
        currency=currency,
        assets=assets,
        liabilities=liabilities,
        equity=equity,
        earnings=earnings,
        translation_difference=difference,
        liabilities_and_equity=[c + d for c, d in zip(claimed, difference, strict=True)],
    )
