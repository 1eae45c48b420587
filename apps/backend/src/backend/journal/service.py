"""Journal entries and their life: a draft is edited, posted, and after that only reversed."""

import datetime as dt
from collections.abc import Sequence

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts import service as accounts_service
from backend.database import translated
from backend.fields import Id
from backend.journal import audit
from backend.journal.balances import (
    AccountMovement,
    Balance,
    balances,
    flows_to,
    movements,
    movements_by_id,
    reversal_dates,
)
from backend.journal.errors import (
    EntryNotFoundError,
    EntryReconciledError,
    EntryStateError,
    VoidDateError,
)
from backend.journal.lines import check_balance, convert_lines, reversed_lines
from backend.journal.models import (
    AuditAction,
    EntryState,
    JournalEntry,
    JournalLine,
    Side,
)
from backend.journal.schemas import EntryIn, EntryQuery, LineIn, VoidIn
from backend.pagination import Keyset
from backend.users.service import Book
from backend.versions import Precondition

__all__ = [
    "AccountMovement",
    "Balance",
    "EntryIn",
    "LineIn",
    "Side",
    "VoidIn",
    "balances",
    "create_draft",
    "delete_draft",
    "flows_to",
    "get",
    "movements",
    "movements_by_id",
    "page",
    "post",
    "reversal_dates",
    "update_draft",
    "void",
]

_NEWEST_FIRST = Keyset[JournalEntry](
    "entries",
    (JournalEntry.date, JournalEntry.id),
    TypeAdapter(tuple[dt.date, Id]),
    descending=True,
)


async def create_draft(session: AsyncSession, book: Book, data: EntryIn) -> JournalEntry:
    """Write a draft, which need not balance yet.

    Raises `AccountNotFoundError`, `AccountArchivedError` or `InvalidLineError`.
    """
    entry = _new_entry(book, data.date, data.description, await _lines(session, book, data))
    session.add(entry)
    await session.flush()
    audit.record(session, book, entry, AuditAction.CREATED, audit.snapshot(entry))
    return entry


async def get(session: AsyncSession, book: Book, entry_id: int) -> JournalEntry:
    """Find an entry of the book; raises `EntryNotFoundError`."""
    entry = await session.scalar(
        select(JournalEntry).where(
            JournalEntry.id == entry_id, JournalEntry.owner_id == book.owner_id
        )
    )
    if entry is None:
        message = f"There is no entry {entry_id} in your books."
        raise EntryNotFoundError(message)
    return entry


async def page(
    session: AsyncSession, book: Book, query: EntryQuery
) -> tuple[Sequence[JournalEntry], str | None]:
    """List entries by date, newest first, with the cursor of the next page."""
    conditions: list[ColumnElement[bool]] = [JournalEntry.owner_id == book.owner_id]
    if query.date_from is not None:
        conditions.append(JournalEntry.date >= query.date_from)
    if query.date_to is not None:
        conditions.append(JournalEntry.date <= query.date_to)
    if query.account_id is not None:
        conditions.append(JournalEntry.lines.any(JournalLine.account_id == query.account_id))
    if query.state is not None:
        conditions.append(JournalEntry.state == query.state)
    if query.text is not None:
        conditions.append(JournalEntry.description.icontains(query.text, autoescape=True))
    return await _NEWEST_FIRST.page(session, select(JournalEntry).where(*conditions), query)


async def update_draft(
    session: AsyncSession, book: Book, entry_id: int, data: EntryIn, precondition: Precondition
) -> JournalEntry:
    """Replace what a draft says; raises `EntryStateError` when it is a draft no more."""
    entry = await _get_in_state(session, book, entry_id, EntryState.DRAFT, precondition)
    entry.lines = await _lines(session, book, data)
    entry.date = data.date
    entry.description = data.description
    entry.updated_at = _now()
    await session.flush()
    audit.record(session, book, entry, AuditAction.UPDATED, audit.snapshot(entry))
    return entry


async def delete_draft(
    session: AsyncSession, book: Book, entry_id: int, precondition: Precondition
) -> None:
    """Remove a draft; the audit trail keeps what it said. Raises `EntryStateError`."""
    entry = await _get_in_state(session, book, entry_id, EntryState.DRAFT, precondition)
    audit.record(session, book, entry, AuditAction.DELETED, audit.snapshot(entry))
    await session.delete(entry)
    await session.flush()


async def post(
    session: AsyncSession, book: Book, entry_id: int, precondition: Precondition
) -> JournalEntry:
    """Make a draft part of the books, for good.

    Raises `EntryStateError`, `UnbalancedEntryError`, or `AccountArchivedError` when an account
    was archived after the draft was written.
    """
    entry = await _get_in_state(session, book, entry_id, EntryState.DRAFT, precondition)
    check_balance(entry.lines)
    accounts = await accounts_service.lock_for_lines(
        session, book, {line.account_id for line in entry.lines}
    )
    accounts_service.require_open(accounts.values())
    await _set_state(session, entry, EntryState.POSTED)
    audit.record(session, book, entry, AuditAction.POSTED, audit.snapshot(entry))
    return entry


async def void(
    session: AsyncSession, book: Book, entry_id: int, data: VoidIn, precondition: Precondition
) -> JournalEntry:
    """Cancel a posted entry out with a reversing entry, which is posted along with it.

    Both stay in the books, so a report as of a date between the two does not change. Archived
    accounts take the reversal too: a mistake on them can still be put right. Raises
    `EntryStateError`, also for an entry that itself reverses one, `VoidDateError`, and
    `EntryReconciledError` while the bank's statement says that it happened.
    """
    entry = await _get_in_state(session, book, entry_id, EntryState.POSTED, precondition)
    if entry.reverses_id is not None:
        message = f"Entry {entry_id} reverses entry {entry.reverses_id}; post a new entry instead."
        raise EntryStateError(message, state=entry.state)
    reversal_date = data.date or max(_now().date(), entry.date)
    if reversal_date < entry.date:
        message = f"The reversal cannot be dated before the entry's own date, {entry.date}."
        raise VoidDateError(message, pointer="/date")
    description = f"Reversal of entry {entry.id}: {data.reason}"
    reversal = _new_entry(book, reversal_date, description, reversed_lines(entry.lines))
    reversal.reverses_id = entry.id
    session.add(reversal)
    await session.flush()
    await _set_state(session, reversal, EntryState.POSTED)
    audit.record(session, book, reversal, AuditAction.POSTED, audit.snapshot(reversal))
    reconciled = EntryReconciledError(
        f"A confirmed match has entry {entry_id}; reopen the match before voiding the entry."
    )
    with translated({"journal_entries_reconciled": reconciled}):
        await _set_state(session, entry, EntryState.VOIDED)
    await session.refresh(entry, ["reversed_by_id"])
    details = {"reason": data.reason, "reversed_by_id": reversal.id}
    audit.record(session, book, entry, AuditAction.VOIDED, details)
    return entry


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _new_entry(
    book: Book, date: dt.date, description: str, lines: list[JournalLine]
) -> JournalEntry:
    now = _now()
    return JournalEntry(
        owner_id=book.owner_id,
        date=date,
        description=description,
        base_currency=book.base_currency,
        state=EntryState.DRAFT,
        reversed_by_id=None,
        created_at=now,
        updated_at=now,
        lines=lines,
    )


async def _lines(session: AsyncSession, book: Book, data: EntryIn) -> list[JournalLine]:
    accounts = await accounts_service.lock_for_lines(
        session, book, {line.account_id for line in data.lines}
    )
    accounts_service.require_open(accounts.values())
    return convert_lines(data.lines, accounts, book.base_currency)


async def _get_in_state(
    session: AsyncSession,
    book: Book,
    entry_id: int,
    state: EntryState,
    precondition: Precondition,
) -> JournalEntry:
    entry = await get(session, book, entry_id)
    precondition.check(entry.version)
    if entry.state is not state:
        message = f"Entry {entry_id} is {entry.state}; only a {state} entry allows this."
        raise EntryStateError(message, state=entry.state)
    return entry


async def _set_state(session: AsyncSession, entry: JournalEntry, state: EntryState) -> None:
    entry.state = state
    entry.updated_at = _now()
    await session.flush()
