"""The balance sheet, as of one or several days."""

import datetime as dt

from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts import service as accounts_service
from backend.accounts.service import AccountType
from backend.journal import service as journal_service
from backend.reports.columns import section, translated_column
from backend.reports.schemas import BalanceSheet, BalanceSheetQuery
from backend.users.service import Book


async def balance_sheet(
    session: AsyncSession, book: Book, query: BalanceSheetQuery
) -> BalanceSheet:
    """Report what is owned and owed; raises `RateNotFoundError` for a currency without rates."""
    days = query.as_of or [dt.datetime.now(dt.UTC).date()]
    currency = query.currency or book.base_currency
    columns = []
    for day in days:
        balances = await journal_service.balances(session, book, day)
        amounts = {id_: balance.base_amount for id_, balance in balances.items()}
        columns.append(await translated_column(session, book, amounts, currency, day))
    # After the balances: an account that was opened between the two is missing with its lines.
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
