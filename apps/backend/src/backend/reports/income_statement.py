"""The income statement, for one or several periods."""

from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts import service as accounts_service
from backend.accounts.service import AccountType
from backend.journal import service as journal_service
from backend.reports.columns import section, translated_column
from backend.reports.schemas import IncomeStatement, PeriodsQuery
from backend.users.service import Book


async def income_statement(
    session: AsyncSession, book: Book, query: PeriodsQuery
) -> IncomeStatement:
    """Report income and expenses; raises `RateNotFoundError` for a currency without rates."""
    currency = query.currency or book.base_currency
    columns = []
    for period in query.period:
        balances = await journal_service.balances(session, book, period.last, period.first)
        amounts = {id_: balance.base_amount for id_, balance in balances.items()}
        columns.append(await translated_column(session, book, amounts, currency, period.last))
    # After the balances: an account that was opened between the two is missing with its lines.
    accounts = await accounts_service.in_book(session, book)
    income = section(accounts, AccountType.INCOME, columns, currency)
    expenses = section(accounts, AccountType.EXPENSE, columns, currency)
    return IncomeStatement(
        periods=query.period,
        currency=currency,
        income=income,
        expenses=expenses,
        net_income=[i - e for i, e in zip(income.total, expenses.total, strict=True)],
    )
