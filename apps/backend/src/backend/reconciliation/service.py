"""Matches between statements and journal, and their review."""

from collections.abc import Collection, Sequence

from pydantic import TypeAdapter
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.database import translated
from backend.fields import Id
from backend.journal import service as journal_service
from backend.pagination import Keyset
from backend.reconciliation.errors import (
    AlreadyReconciledError,
    EntryNotPostedError,
    MatchNotFoundError,
    MatchStateError,
    MatchUnbalancedError,
)
from backend.reconciliation.models import (
    Match,
    MatchEntry,
    MatchLine,
    MatchState,
    ReconciledEntry,
    ReconciledLine,
)
from backend.reconciliation.schemas import MatchIn, MatchQuery
from backend.reconciliation.scoring import Movement, score, total
from backend.statements import service as statements_service
from backend.statements.service import BankAccount, StatementLine
from backend.users.service import Book
from backend.versions import Precondition

_MATCHES = Keyset[Match]("matches", (Match.id,), TypeAdapter(tuple[Id]))


async def get(session: AsyncSession, book: Book, match_id: int) -> Match:
    """Find a match of the book; raises `MatchNotFoundError`."""
    match = await session.get(Match, match_id)
    if match is not None:
        bank_account = await session.get_one(BankAccount, match.bank_account_id)
        if bank_account.owner_id == book.owner_id:
            return match
    message = f"There is no match {match_id} in your books."
    raise MatchNotFoundError(message)


async def page(
    session: AsyncSession, book: Book, bank_account_id: int, query: MatchQuery
) -> tuple[Sequence[Match], str | None]:
    """List the matches of a bank account, oldest first, with the cursor of the next page."""
    await statements_service.get(session, book, bank_account_id)
    statement = select(Match).where(Match.bank_account_id == bank_account_id)
    if query.state is not None:
        statement = statement.where(Match.state == query.state)
    return await _MATCHES.page(session, statement, query)


async def propose(session: AsyncSession, book: Book, bank_account_id: int, data: MatchIn) -> Match:
    """Propose a match by hand; its amounts need not be equal yet.

    Raises `StatementLineNotFoundError`, `EntryNotFoundError`, or `AlreadyReconciledError` when a
    confirmed match has one of them.
    """
    bank_account = await statements_service.get(session, book, bank_account_id)
    lines = await statements_service.lines_by_id(session, bank_account, data.line_ids)
    entries = await journal_service.movements_by_id(
        session, book, bank_account.account_id, data.entry_ids
    )
    taken_lines = set(data.line_ids) & set(await reconciled_lines(session, bank_account))
    taken_entries = set(data.entry_ids) & set(await reconciled_entries(session, bank_account))
    if taken_lines or taken_entries:
        message = "A confirmed match has some of these already; reopen that one first."
        raise AlreadyReconciledError(
            message, line_ids=sorted(taken_lines), entry_ids=sorted(taken_entries)
        )
    return await add(session, bank_account, of_lines(lines), of_entries(entries))


async def confirm(
    session: AsyncSession, book: Book, match_id: int, precondition: Precondition
) -> Match:
    """Decide that lines and entries are the same; from now on its entries cannot be voided.

    Raises `MatchStateError`, `MatchUnbalancedError`, `AlreadyReconciledError` when another match
    was confirmed before, and `EntryNotPostedError` when an entry was voided before.
    """
    match = await _get_in_state(session, book, match_id, MatchState.PROPOSED, precondition)
    if match.difference != 0:
        message = f"Lines and entries differ by {match.difference}; match what is equal."
        raise MatchUnbalancedError(message, difference=str(match.difference))
    await _set_state(session, match, MatchState.CONFIRMED)
    session.add_all(
        ReconciledLine(statement_line_id=line_id, match_id=match.id) for line_id in match.line_ids
    )
    session.add_all(
        ReconciledEntry(bank_account_id=match.bank_account_id, entry_id=entry_id, match_id=match.id)
        for entry_id in match.entry_ids
    )
    another = AlreadyReconciledError(f"Another match has a line or an entry of match {match_id}.")
    voided = EntryNotPostedError(f"An entry of match {match_id} has been voided; reject the match.")
    with translated(
        {
            "pk_reconciled_lines": another,
            "pk_reconciled_entries": another,
            "reconciled_entries_posted": voided,
        }
    ):
        await session.flush()
    return match


async def reject(
    session: AsyncSession, book: Book, match_id: int, precondition: Precondition
) -> Match:
    """Decide that a proposal is wrong, for good; raises `MatchStateError`."""
    match = await _get_in_state(session, book, match_id, MatchState.PROPOSED, precondition)
    return await _set_state(session, match, MatchState.REJECTED)


async def reopen(
    session: AsyncSession, book: Book, match_id: int, precondition: Precondition
) -> Match:
    """Take a confirmation back: the match is proposed again. Raises `MatchStateError`."""
    match = await _get_in_state(session, book, match_id, MatchState.CONFIRMED, precondition)
    await session.execute(delete(ReconciledLine).where(ReconciledLine.match_id == match_id))
    await session.execute(delete(ReconciledEntry).where(ReconciledEntry.match_id == match_id))
    return await _set_state(session, match, MatchState.PROPOSED)


async def add(
    session: AsyncSession,
    bank_account: BankAccount,
    lines: Sequence[Movement],
    entries: Sequence[Movement],
) -> Match:
    """Store a proposal with its score."""
    match = Match(
        bank_account_id=bank_account.id,
        state=MatchState.PROPOSED,
        score=score(lines, entries),
        difference=total(lines) - total(entries),
        lines=[MatchLine(statement_line_id=line.id) for line in lines],
        entries=[MatchEntry(entry_id=entry.id) for entry in entries],
    )
    session.add(match)
    await session.flush()
    return match


def of_lines(lines: Sequence[StatementLine]) -> list[Movement]:
    """Make lines of a statement comparable."""
    return [Movement(line.id, line.date, line.amount, line.description) for line in lines]


def of_entries(entries: Sequence[journal_service.AccountMovement]) -> list[Movement]:
    """Make entries comparable, as they move the account."""
    return [Movement(e.entry_id, e.date, e.amount, e.description) for e in entries]


async def reconciled_lines(session: AsyncSession, bank_account: BankAccount) -> Collection[int]:
    """List the lines of a bank account that a confirmed match has."""
    of_account = select(Match.id).where(Match.bank_account_id == bank_account.id)
    return set(
        await session.scalars(
            select(ReconciledLine.statement_line_id).where(ReconciledLine.match_id.in_(of_account))
        )
    )


async def reconciled_entries(session: AsyncSession, bank_account: BankAccount) -> Collection[int]:
    """List the entries that a confirmed match has, on this bank account."""
    return set(
        await session.scalars(
            select(ReconciledEntry.entry_id).where(
                ReconciledEntry.bank_account_id == bank_account.id
            )
        )
    )


async def _get_in_state(
    session: AsyncSession, book: Book, match_id: int, state: MatchState, precondition: Precondition
) -> Match:
    match = await get(session, book, match_id)
    precondition.check(match.version)
    if match.state is not state:
        message = f"Match {match_id} is {match.state}; only a {state} match allows this."
        raise MatchStateError(message, state=match.state)
    return match


async def _set_state(session: AsyncSession, match: Match, state: MatchState) -> Match:
    match.state = state
    await session.flush()
    return match
