"""The journal over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query, Response, status

from backend.database import RequestSession
from backend.fields import PathId
from backend.journal import audit, service
from backend.journal.models import JournalEntry
from backend.journal.schemas import (
    AuditEventOut,
    AuditQuery,
    EntryIn,
    EntryOut,
    EntryQuery,
    VoidIn,
)
from backend.pagination import Page
from backend.users.authentication import CurrentBook
from backend.versions import IfMatch, etag

router = APIRouter(prefix="/journal", tags=["journal"])


def _show(entry: JournalEntry, response: Response) -> EntryOut:
    response.headers["ETag"] = etag(entry.version)
    return EntryOut.model_validate(entry)


@router.post("/entries", status_code=status.HTTP_201_CREATED)
async def write_draft(
    data: EntryIn, book: CurrentBook, session: RequestSession, response: Response
) -> EntryOut:
    """Write a draft."""
    entry = await service.create_draft(session, book, data)
    response.headers["Location"] = f"/journal/entries/{entry.id}"
    return _show(entry, response)


@router.get("/entries")
async def list_entries(
    query: Annotated[EntryQuery, Query()], book: CurrentBook, session: RequestSession
) -> Page[EntryOut]:
    """List entries by date, newest first."""
    entries, next_cursor = await service.page(session, book, query)
    items = [EntryOut.model_validate(entry) for entry in entries]
    return Page(items=items, next_cursor=next_cursor)


@router.get("/entries/{entry_id}")
async def show_entry(
    entry_id: PathId, book: CurrentBook, session: RequestSession, response: Response
) -> EntryOut:
    """Show one entry."""
    return _show(await service.get(session, book, entry_id), response)


@router.put("/entries/{entry_id}")
async def replace_draft(  # noqa: PLR0917 - one parameter per part of the request
    entry_id: PathId,
    data: EntryIn,
    precondition: IfMatch,
    book: CurrentBook,
    session: RequestSession,
    response: Response,
) -> EntryOut:
    """Replace what a draft says, its lines included."""
    entry = await service.update_draft(session, book, entry_id, data, precondition)
    return _show(entry, response)


@router.delete("/entries/{entry_id}", status_code=status.HTTP_204_NO_CONTENT)
async def delete_draft(
    entry_id: PathId, precondition: IfMatch, book: CurrentBook, session: RequestSession
) -> None:
    """Remove a draft."""
    await service.delete_draft(session, book, entry_id, precondition)


@router.post("/entries/{entry_id}/post")
async def post_entry(
    entry_id: PathId,
    precondition: IfMatch,
    book: CurrentBook,
    session: RequestSession,
    response: Response,
) -> EntryOut:
    """Make a balanced draft part of the books, for good."""
    return _show(await service.post(session, book, entry_id, precondition), response)


@router.post("/entries/{entry_id}/void")
async def void_entry(  # noqa: PLR0917 - one parameter per part of the request
    entry_id: PathId,
    data: VoidIn,
    precondition: IfMatch,
    book: CurrentBook,
    session: RequestSession,
    response: Response,
) -> EntryOut:
    """Cancel a posted entry out with a reversing entry, whose id is `reversed_by_id`."""
    return _show(await service.void(session, book, entry_id, data, precondition), response)


@router.get("/audit-events")
async def list_audit_events(
    query: Annotated[AuditQuery, Query()], book: CurrentBook, session: RequestSession
) -> Page[AuditEventOut]:
    """List what was done in the journal, oldest first."""
    events, next_cursor = await audit.page(session, book, query)
    items = [AuditEventOut.model_validate(event) for event in events]
    return Page(items=items, next_cursor=next_cursor)
