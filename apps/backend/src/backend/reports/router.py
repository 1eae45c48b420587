"""Reports over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query

from backend.database import RequestSession
from backend.reports import service
from backend.reports.schemas import TrialBalance, TrialBalanceQuery
from backend.users.authentication import CurrentBook

router = APIRouter(prefix="/reports", tags=["reports"])


@router.get("/trial-balance")
async def trial_balance(
    query: Annotated[TrialBalanceQuery, Query()], book: CurrentBook, session: RequestSession
) -> TrialBalance:
    """Report the balances of all accounts as of a date."""
    return await service.trial_balance(session, book, query)
