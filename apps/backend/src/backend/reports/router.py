"""Reports over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query

from backend.database import RequestSession
from backend.reports import balance_sheet, cash_flow, income_statement, service
from backend.reports.schemas import (
    BalanceSheet,
    CashFlow,
    DaysQuery,
    IncomeStatement,
    PeriodsQuery,
    TrialBalance,
    TrialBalanceQuery,
)
from backend.users.authentication import CurrentBook

router = APIRouter(prefix="/reports", tags=["reports"])


@router.get("/trial-balance")
async def show_trial_balance(
    query: Annotated[TrialBalanceQuery, Query()], book: CurrentBook, session: RequestSession
) -> TrialBalance:
    """Report the balances of all accounts, in a column for each day."""
    return await service.trial_balance(session, book, query)


@router.get("/balance-sheet")
async def show_balance_sheet(
    query: Annotated[DaysQuery, Query()], book: CurrentBook, session: RequestSession
) -> BalanceSheet:
    """Report what is owned and owed, in a column for each day."""
    return await balance_sheet.balance_sheet(session, book, query)


@router.get("/income-statement")
async def show_income_statement(
    query: Annotated[PeriodsQuery, Query()], book: CurrentBook, session: RequestSession
) -> IncomeStatement:
    """Report income and expenses, in a column for each period."""
    return await income_statement.income_statement(session, book, query)


@router.get("/cash-flow")
async def show_cash_flow(
    query: Annotated[PeriodsQuery, Query()], book: CurrentBook, session: RequestSession
) -> CashFlow:
    """Report why cash changed, by the direct method, in a column for each period."""
    return await cash_flow.cash_flow(session, book, query)
