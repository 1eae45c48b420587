"""The cash flow statement, by the direct method.

Cash is what accounts with the activity `cash` hold. Each entry that moves it says by its other
lines what for, and their accounts say which activity that is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts import service as accounts_service
from backend.accounts.service import Account, Activity
from backend.journal import service as journal_service
from backend.reports.columns import Column, translation, zero
from backend.reports.schemas import CashFlow, FlowRow, Flows, Period, PeriodsQuery
from backend.users.service import Book


@dataclass(frozen=True)
class _PeriodFlows:
    opening: Decimal
    flows: Column
    closing: Decimal


async def cash_flow(session: AsyncSession, book: Book, query: PeriodsQuery) -> CashFlow:
    """Report why cash changed; raises `RateNotFoundError` for a currency without rates."""
    currency = query.currency or book.base_currency
    accounts = await accounts_service.in_book(session, book)
    cash = {account.id for account in accounts if account.activity is Activity.CASH}
    columns = [await _column(session, book, cash, currency, period) for period in query.period]
    # Once more: the flows may come from an account that was opened after the first look.
    accounts = await accounts_service.in_book(session, book)
    activities = [
        _flows(activity, accounts, columns, currency)
        for activity in Activity
        if activity is not Activity.CASH
    ]
    change = [
        sum(amounts, zero(currency))
        for amounts in zip(*(flows.total for flows in activities), strict=True)
    ]
    return CashFlow(
        periods=query.period,
        currency=currency,
        opening=[column.opening for column in columns],
        activities=activities,
        change=change,
        translation_difference=[
            column.closing - column.opening - moved
            for column, moved in zip(columns, change, strict=True)
        ],
        closing=[column.closing for column in columns],
    )


async def _column(
    session: AsyncSession, book: Book, cash: set[int], currency: str, period: Period
) -> _PeriodFlows:
    # One statement for all three: what is posted meanwhile would be a difference between them.
    moved = await journal_service.flows_to(session, book, cash, period.first, period.last)
    # At the rate of the column's last day, all three: rates alone change nothing.
    translate = await translation(session, book, currency, period.last)
    held = [flow for account_id, flow in moved.items() if account_id in cash]
    return _PeriodFlows(
        opening=sum((translate(flow.before) for flow in held), zero(currency)),
        flows={
            account_id: translate(-flow.within)
            for account_id, flow in moved.items()
            if account_id not in cash
        },
        closing=sum((translate(flow.before + flow.within) for flow in held), zero(currency)),
    )


def _flows(
    activity: Activity, accounts: Sequence[Account], columns: Sequence[_PeriodFlows], currency: str
) -> Flows:
    nothing = zero(currency)
    rows = [
        FlowRow(account_id=account.id, code=account.code, name=account.name, amounts=amounts)
        for account in accounts
        if account.activity is activity
        for amounts in [[column.flows.get(account.id, nothing) for column in columns]]
        if any(amounts)
    ]
    total = [sum((row.amounts[i] for row in rows), nothing) for i in range(len(columns))]
    return Flows(activity=activity, rows=rows, total=total)
