"""Reconciliation over HTTP."""

import datetime as dt
from typing import Annotated

from fastapi import APIRouter, Query, Response, status

from backend.database import RequestSession
from backend.fields import PathId
from backend.pagination import Page
from backend.reconciliation import finding, service
from backend.reconciliation.models import Match
from backend.reconciliation.schemas import (
    CandidateOut,
    MatchIn,
    MatchOut,
    MatchQuery,
    ProposalIn,
    Summary,
)
from backend.users.authentication import CurrentBook
from backend.versions import IfMatch, etag

router = APIRouter(tags=["reconciliation"])


def _show(match: Match, response: Response) -> MatchOut:
    response.headers["ETag"] = etag(match.version)
    return MatchOut.model_validate(match)


@router.get("/bank-accounts/{bank_account_id}/lines/{line_id}/candidates")
async def list_candidates(
    bank_account_id: PathId, line_id: PathId, book: CurrentBook, session: RequestSession
) -> list[CandidateOut]:
    """Find entries that a line could be, the likeliest first."""
    return await finding.candidates(session, book, bank_account_id, line_id)


@router.post("/bank-accounts/{bank_account_id}/proposals")
async def propose_matches(
    bank_account_id: PathId, data: ProposalIn, book: CurrentBook, session: RequestSession
) -> list[MatchOut]:
    """Propose matches of equal amounts for the lines of some days."""
    matches = await finding.suggest(session, book, bank_account_id, data)
    return [MatchOut.model_validate(match) for match in matches]


@router.get("/bank-accounts/{bank_account_id}/reconciliation")
async def show_summary(
    bank_account_id: PathId,
    book: CurrentBook,
    session: RequestSession,
    as_of: dt.date | None = None,
) -> Summary:
    """Compare statement and journal at the end of a day: today (UTC) unless given."""
    day = as_of or dt.datetime.now(dt.UTC).date()
    return await finding.summary(session, book, bank_account_id, day)


@router.post("/bank-accounts/{bank_account_id}/matches", status_code=status.HTTP_201_CREATED)
async def propose_match(
    bank_account_id: PathId,
    data: MatchIn,
    book: CurrentBook,
    session: RequestSession,
    response: Response,
) -> MatchOut:
    """Propose a match by hand."""
    match = await service.propose(session, book, bank_account_id, data)
    response.headers["Location"] = f"/matches/{match.id}"
    return _show(match, response)


@router.get("/bank-accounts/{bank_account_id}/matches")
async def list_matches(
    bank_account_id: PathId,
    query: Annotated[MatchQuery, Query()],
    book: CurrentBook,
    session: RequestSession,
) -> Page[MatchOut]:
    """List matches, oldest first."""
    matches, next_cursor = await service.page(session, book, bank_account_id, query)
    items = [MatchOut.model_validate(match) for match in matches]
    return Page(items=items, next_cursor=next_cursor)


@router.get("/matches/{match_id}")
async def show_match(
    match_id: PathId, book: CurrentBook, session: RequestSession, response: Response
) -> MatchOut:
    """Show one match."""
    return _show(await service.get(session, book, match_id), response)


@router.post("/matches/{match_id}/confirm")
async def confirm_match(
    match_id: PathId,
    precondition: IfMatch,
    book: CurrentBook,
    session: RequestSession,
    response: Response,
) -> MatchOut:
    """Decide that lines and entries are the same; its entries can no longer be voided."""
    return _show(await service.confirm(session, book, match_id, precondition), response)


@router.post("/matches/{match_id}/reject")
async def reject_match(
    match_id: PathId,
    precondition: IfMatch,
    book: CurrentBook,
    session: RequestSession,
    response: Response,
) -> MatchOut:
    """Decide that a proposal is wrong, for good."""
    return _show(await service.reject(session, book, match_id, precondition), response)


@router.post("/matches/{match_id}/reopen")
async def reopen_match(
    match_id: PathId,
    precondition: IfMatch,
    book: CurrentBook,
    session: RequestSession,
    response: Response,
) -> MatchOut:
    """Take a confirmation back; the match is proposed again."""
    return _show(await service.reopen(session, book, match_id, precondition), response)
