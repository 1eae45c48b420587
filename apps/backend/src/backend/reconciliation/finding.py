"""Finding matches: candidates for one line, proposals for many, and what is still open."""

import datetime as dt
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.concurrency import run_in_threadpool

from backend.journal import service as journal_service
from backend.reconciliation import service
from backend.reconciliation.models import Match, MatchState
from backend.reconciliation.schemas import CandidateOut, ProposalIn, Side, Summary
from backend.reconciliation.scoring import WINDOW, Movement, near, score, together, total
from backend.statements import service as statements_service
from backend.statements.service import BankAccount
from backend.users.service import Book

Group = tuple[Movement, ...]
Pairing = tuple[frozenset[int], frozenset[int]]

_FIRST_DAY = dt.date(1, 1, 1)


@dataclass(frozen=True)
class Ranked:
    """Hold lines and entries that could be the same."""

    score: int
    lines: Group
    entries: Group

    @property
    def pairing(self) -> Pairing:
        """Say which they are, whatever their order."""
        return _ids(self.lines), _ids(self.entries)


async def candidates(
    session: AsyncSession, book: Book, bank_account_id: int, line_id: int
) -> list[CandidateOut]:
    """Find entries that a line could be, the likeliest first; nothing is stored."""
    bank_account = await statements_service.get(session, book, bank_account_id)
    found = await statements_service.lines_by_id(session, bank_account, [line_id])
    (line,) = service.of_lines(found)
    entries = await _open_entries(session, book, bank_account, line.date, line.date)
    groups = [(entry,) for entry in near(line, entries)] + list(together(line, entries))
    shown = [
        CandidateOut(
            entry_ids=sorted(_ids(group)),
            score=score([line], group),
            difference=line.amount - total(group),
        )
        for group in groups
    ]
    return sorted(shown, key=lambda candidate: (-candidate.score, candidate.entry_ids))


async def suggest(
    session: AsyncSession, book: Book, bank_account_id: int, data: ProposalIn
) -> list[Match]:
    """Propose matches for the lines of some days: equal amounts only, the likeliest first.

    A line or an entry is proposed once at a time, and what was rejected is not proposed again.
    """
    # Two at once would propose the same.
    bank_account = await statements_service.get(session, book, bank_account_id, lock=True)
    lines = await _open_lines(session, bank_account, data.date_from, data.date_to)
    entries = await _open_entries(session, book, bank_account, data.date_from, data.date_to)
    rejected = await _rejected(session, bank_account)
    # It takes its time with big books, so it runs in a thread: others are served meanwhile.
    ranked = await run_in_threadpool(_ranked, lines, entries, rejected, data.min_score)
    matches: list[Match] = []
    used_lines: set[int] = set()
    used_entries: set[int] = set()
    for one in ranked:
        line_ids, entry_ids = one.pairing
        if used_lines.isdisjoint(line_ids) and used_entries.isdisjoint(entry_ids):
            used_lines |= line_ids
            used_entries |= entry_ids
            matches.append(await service.add(session, bank_account, one.lines, one.entries))
    return matches


async def summary(
    session: AsyncSession, book: Book, bank_account_id: int, as_of: dt.date
) -> Summary:
    """Add up both sides until the end of a day, and what of them no confirmed match has."""
    bank_account = await statements_service.get(session, book, bank_account_id)
    lines = await statements_service.lines_between(session, bank_account, _FIRST_DAY, as_of)
    entries = await journal_service.movements(
        session, book, bank_account.account_id, _FIRST_DAY, as_of
    )
    return Summary(
        as_of=as_of,
        currency=bank_account.currency,
        statement=_side(
            service.of_lines(lines), await service.reconciled_lines(session, bank_account)
        ),
        journal=_side(
            service.of_entries(entries), await service.reconciled_entries(session, bank_account)
        ),
    )


def _side(movements: Sequence[Movement], reconciled: Collection[int]) -> Side:
    still_open = [movement for movement in movements if movement.id not in reconciled]
    return Side(
        count=len(movements),
        total=total(movements),
        open_count=len(still_open),
        open_total=total(still_open),
    )


def _ids(movements: Sequence[Movement]) -> frozenset[int]:
    return frozenset(movement.id for movement in movements)


def _ranked(
    lines: Sequence[Movement],
    entries: Sequence[Movement],
    rejected: Collection[Pairing],
    min_score: int,
) -> list[Ranked]:
    """List what can be proposed, the likeliest first."""
    ranked = [
        one
        for one in _equal(lines, entries)
        if one.score >= min_score and one.pairing not in rejected
    ]
    ranked.sort(key=lambda one: (-one.score, *map(sorted, one.pairing)))
    return ranked


def _equal(lines: Sequence[Movement], entries: Sequence[Movement]) -> Iterator[Ranked]:
    """Pair what has equal amounts: one to one, one line to several entries, and the reverse."""
    for line in lines:
        equal = [(entry,) for entry in near(line, entries) if entry.amount == line.amount]
        for group in [*equal, *together(line, entries)]:
            yield Ranked(score([line], group), (line,), group)
    for entry in entries:
        for group in together(entry, lines):
            yield Ranked(score(group, [entry]), group, (entry,))


async def _open_lines(
    session: AsyncSession, bank_account: BankAccount, first: dt.date, last: dt.date
) -> list[Movement]:
    found = await statements_service.lines_between(session, bank_account, first, last)
    taken = {id_ for match in await _live(session, bank_account) for id_ in match.line_ids}
    return [line for line in service.of_lines(found) if line.id not in taken]


async def _open_entries(
    session: AsyncSession, book: Book, bank_account: BankAccount, first: dt.date, last: dt.date
) -> list[Movement]:
    """Fetch the entries that lines of some days could be: they may be a fortnight away."""
    first = max(first, _FIRST_DAY + WINDOW) - WINDOW
    last = min(last, dt.date.max - WINDOW) + WINDOW
    found = await journal_service.movements(session, book, bank_account.account_id, first, last)
    taken = {id_ for match in await _live(session, bank_account) for id_ in match.entry_ids}
    # A transfer between two accounts can be nothing on one of them.
    return [
        entry
        for entry in service.of_entries(found)
        if entry.id not in taken and entry.amount != Decimal()
    ]


async def _live(session: AsyncSession, bank_account: BankAccount) -> Sequence[Match]:
    found = await session.scalars(
        select(Match).where(
            Match.bank_account_id == bank_account.id, Match.state != MatchState.REJECTED
        )
    )
    return found.all()


async def _rejected(session: AsyncSession, bank_account: BankAccount) -> Collection[Pairing]:
    found = await session.scalars(
        select(Match).where(
            Match.bank_account_id == bank_account.id, Match.state == MatchState.REJECTED
        )
    )
    return {(frozenset(match.line_ids), frozenset(match.entry_ids)) for match in found}
