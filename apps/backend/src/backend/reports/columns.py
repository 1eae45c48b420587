"""Columns of a report: each account's amount, in the report's currency."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts.service import Account, AccountType
from backend.journal import service as journal_service
from backend.money import convert
from backend.rates import service as rates_service
from backend.reports.schemas import ReportRow, Section
from backend.reports.tree import depth_first, roll_up
from backend.users.service import Book

Column = Mapping[int, Decimal]

# Where debits are shown as positive amounts.
_DEBIT_TYPES = {AccountType.ASSET, AccountType.EXPENSE}


async def translation(
    session: AsyncSession, book: Book, currency: str, on: dt.date
) -> Callable[[Decimal], Decimal]:
    """Find what converts a base amount at the rate of a day; raises `RateNotFoundError`."""
    if currency == book.base_currency:
        return lambda amount: convert(amount, Decimal(1), currency)
    rate = await rates_service.find(session, book, book.base_currency, currency, on)
    return rate.convert


async def translated_column(
    session: AsyncSession, book: Book, amounts: Column, currency: str, on: dt.date
) -> Column:
    """Convert base amounts at the rate of a day, each rounded; raises `RateNotFoundError`."""
    translate = await translation(session, book, currency, on)
    return {account_id: translate(amount) for account_id, amount in amounts.items()}


async def columns_as_of(
    session: AsyncSession, book: Book, days: Sequence[dt.date], currency: str
) -> Sequence[Column]:
    """Give a column of balances for the end of each day; raises `RateNotFoundError`."""
    columns = []
    for day in days:
        balances = await journal_service.balances(session, book, day)
        amounts = {id_: balance.base_amount for id_, balance in balances.items()}
        columns.append(await translated_column(session, book, amounts, currency, day))
    return columns


def section(
    accounts: Sequence[Account], type_: AccountType, columns: Sequence[Column], currency: str
) -> Section:
    """Show the accounts of a type. A column has debits less credits, by account."""
    ours = [account for account in accounts if account.type is type_]
    debits = [
        {account.id: column.get(account.id, zero(currency)) for account in ours}
        for column in columns
    ]
    credits_ = [{id_: -amount for id_, amount in column.items()} for column in debits]
    shown = debits if type_ in _DEBIT_TYPES else credits_
    rolled_up = [roll_up(ours, column) for column in shown]
    rows = [
        ReportRow(
            account_id=account.id,
            code=account.code,
            name=account.name,
            depth=depth,
            own=[column[account.id] for column in shown],
            rolled_up=[column[account.id] for column in rolled_up],
        )
        for account, depth in depth_first(ours)
        if any(column[account.id] for column in (*shown, *rolled_up))
    ]
    return Section(rows=rows, total=[sum(column.values(), zero(currency)) for column in shown])


def zero(currency: str) -> Decimal:
    """Give nothing, with the decimals of the currency."""
    return convert(Decimal(), Decimal(1), currency)
