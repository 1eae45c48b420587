"""Two who change one entry at the same time."""

import asyncio

import pytest
from httpx import AsyncClient
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm.exc import StaleDataError

from backend.accounts import service as accounts_service
from backend.accounts.errors import AccountArchivedError
from backend.journal import service
from backend.journal.schemas import EntryIn
from backend.problems import StaleVersionError
from backend.versions import Precondition

from ..ledger import Ledger
from ..people import book_of


async def test_of_two_updates_with_one_etag_exactly_one_wins(
    ada: AsyncClient, ledger: Ledger
) -> None:
    """The loser is told that its version is stale, and the winner's text stays."""
    await ledger.draft()
    texts = ["First", "Second"]

    responses = await asyncio.gather(
        *(
            ada.put(
                "/journal/entries/1",
                json=ledger.entry(description=description),
                headers={"If-Match": '"1"'},
            )
            for description in texts
        )
    )

    statuses = [response.status_code for response in responses]
    assert sorted(statuses) == [200, 412]
    winner = texts[statuses.index(200)]
    assert (await ada.get("/journal/entries/1")).json()["description"] == winner
    loser = responses[statuses.index(412)]
    assert loser.json()["type"] == "/problems/stale-version"


async def test_an_entry_is_posted_once_however_often_it_is_asked_for(
    ada: AsyncClient, ledger: Ledger
) -> None:
    """Of five clicks on the button one posts, and the trail holds one event."""
    await ledger.draft()

    responses = await asyncio.gather(
        *(ada.post("/journal/entries/1/post", headers={"If-Match": '"1"'}) for _ in range(5))
    )

    assert sorted(r.status_code for r in responses) == [200, 412, 412, 412, 412]
    events = (await ada.get("/journal/audit-events")).json()["items"]
    assert [event["action"] for event in events] == ["created", "posted"]


async def test_an_entry_voided_twice_at_once_is_reversed_once(
    ada: AsyncClient, ledger: Ledger
) -> None:
    """Even without a version asked for, there is one reversal."""
    await ledger.post()

    responses = await asyncio.gather(
        *(
            ada.post("/journal/entries/1/void", json={"reason": "x"}, headers={"If-Match": "*"})
            for _ in range(2)
        )
    )

    assert sorted(r.status_code for r in responses) in ([200, 409], [200, 412])
    assert len((await ada.get("/journal/entries")).json()["items"]) == 2


async def test_a_session_with_a_stale_entry_cannot_write_it(
    db_sessionmaker: async_sessionmaker[AsyncSession], ledger: Ledger
) -> None:
    """The version column finds what slipped between the check of the ETag and the write."""
    book = await book_of(ledger.client)
    await ledger.draft()
    async with db_sessionmaker() as first, db_sessionmaker() as second:
        stale = await service.get(first, book, 1)
        await first.commit()
        await service.post(second, book, 1, Precondition.parse('"1"'))
        await second.commit()

        stale.description = "Written from an old version"
        with pytest.raises(StaleDataError):
            await first.flush()


async def test_a_service_refuses_a_stale_version_before_it_writes(
    db: AsyncSession, ledger: Ledger
) -> None:
    """The usual conflict, with time between reading and writing, is found without a write."""
    book = await book_of(ledger.client)
    await ledger.draft()
    data = EntryIn.model_validate({"date": "2026-03-02", "description": "Second"})
    await service.update_draft(db, book, 1, data, Precondition.parse('"1"'))
    await db.commit()

    with pytest.raises(StaleVersionError, match='version "2"'):
        await service.update_draft(db, book, 1, data, Precondition.parse('"1"'))


async def test_an_account_archived_elsewhere_takes_no_lines(
    ada: AsyncClient, db: AsyncSession, ledger: Ledger
) -> None:
    """A session that has loaded the account while it was open looks again before it writes."""
    book = await book_of(ada)
    seen_open = await accounts_service.get(db, book, ledger.ids["cash"])
    await db.commit()
    await ada.post(f"/accounts/{seen_open.id}/archive", headers={"If-Match": "*"})
    data = EntryIn.model_validate(ledger.entry(("cash", "debit", "1.00")))

    with pytest.raises(AccountArchivedError, match="cash"):
        await service.create_draft(db, book, data)


async def test_drafts_written_at_once_do_not_mix(ada: AsyncClient, ledger: Ledger) -> None:
    """Ten drafts written at once get ten ids, each with its own text."""
    answers = await asyncio.gather(*(ledger.draft(description=f"Draft {i}") for i in range(10)))

    assert len({answer["id"] for answer in answers}) == 10
    for answer in answers:
        stored = (await ada.get(f"/journal/entries/{answer['id']}")).json()
        assert stored == answer
