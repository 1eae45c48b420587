"""The audit trail: who did what to which entry, and when."""

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.fields import Id
from backend.journal.models import AuditAction, AuditEvent, JournalEntry
from backend.journal.schemas import AuditQuery, EntryOut
from backend.pagination import Keyset
from backend.users.service import Book

_OLDEST_FIRST = Keyset[AuditEvent]("audit", (AuditEvent.id,), TypeAdapter(tuple[Id]))


def snapshot(entry: JournalEntry) -> dict[str, Any]:
    """Write down what an entry says, amounts as decimal strings, for an event's details."""
    fields = {"date", "description", "reverses_id", "lines"}
    return EntryOut.model_validate(entry).model_dump(mode="json", include=fields)


def record(
    session: AsyncSession,
    book: Book,
    entry: JournalEntry,
    action: AuditAction,
    details: dict[str, Any],
) -> None:
    """Add an event about a flushed entry; it commits, or not, together with what it records."""
    session.add(
        AuditEvent(actor_id=book.owner_id, entry_id=entry.id, action=action, details=details)
    )


async def page(
    session: AsyncSession, book: Book, query: AuditQuery
) -> tuple[Sequence[AuditEvent], str | None]:
    """List the book's events, oldest first, with the cursor of the next page."""
    statement = select(AuditEvent).where(AuditEvent.actor_id == book.owner_id)
    if query.entry_id is not None:
        statement = statement.where(AuditEvent.entry_id == query.entry_id)
    return await _OLDEST_FIRST.page(session, statement, query)
