"""Revaluations over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query, Response, status

from backend.database import RequestSession
from backend.fields import PathId
from backend.pagination import Page, PageQuery
from backend.revaluation import service
from backend.revaluation.schemas import RevaluationIn, RevaluationOut, ReversalIn
from backend.users.authentication import CurrentBook

router = APIRouter(prefix="/revaluations", tags=["revaluation"])


@router.post("", status_code=status.HTTP_201_CREATED)
async def revalue(
    data: RevaluationIn, book: CurrentBook, session: RequestSession, response: Response
) -> RevaluationOut:
    """Post the unrealised gains and losses of balances in foreign currencies."""
    revaluation = await service.revalue(session, book, data)
    response.headers["Location"] = f"/revaluations/{revaluation.id}"
    return RevaluationOut.model_validate(revaluation)


@router.get("")
async def list_revaluations(
    query: Annotated[PageQuery, Query()], book: CurrentBook, session: RequestSession
) -> Page[RevaluationOut]:
    """List revaluations by date."""
    revaluations, next_cursor = await service.page(session, book, query)
    items = [RevaluationOut.model_validate(revaluation) for revaluation in revaluations]
    return Page(items=items, next_cursor=next_cursor)


@router.get("/{revaluation_id}")
async def show_revaluation(
    revaluation_id: PathId, book: CurrentBook, session: RequestSession
) -> RevaluationOut:
    """Show one revaluation."""
    return RevaluationOut.model_validate(await service.get(session, book, revaluation_id))


@router.post("/{revaluation_id}/reverse")
async def reverse_revaluation(
    revaluation_id: PathId, data: ReversalIn, book: CurrentBook, session: RequestSession
) -> RevaluationOut:
    """Take a revaluation back by a reversing entry."""
    revaluation = await service.reverse(session, book, revaluation_id, data)
    return RevaluationOut.model_validate(revaluation)
