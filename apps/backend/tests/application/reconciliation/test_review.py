"""The review of a match: proposed, confirmed, rejected, reopened."""

import asyncio
from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from ..bank import Bank
from ..people import sign_up

Match = dict[str, Any]
ANY = {"If-Match": "*"}
INVOICE = ("2026-03-10", "100.00", "Invoice 7")


@pytest.fixture
async def proposed(bank: Bank) -> Match:
    """Propose that a line of 100 is an entry of 100."""
    return await bank.match(await bank.statement(INVOICE), [await bank.book(*INVOICE)])


async def _do(client: AsyncClient, match: Match, what: str) -> int:
    response = await client.post(f"/matches/{match['id']}/{what}", headers=ANY)
    return response.status_code


async def test_a_match_by_hand_is_a_proposal(ada: AsyncClient, proposed: Match) -> None:
    """It has a score and can be fetched; nothing is decided yet."""
    assert (proposed["state"], proposed["score"], proposed["difference"]) == (
        "proposed",
        100,
        "0.00",
    )
    assert (await ada.get(f"/matches/{proposed['id']}")).json() == proposed


async def test_a_proposal_can_be_confirmed(ada: AsyncClient, proposed: Match) -> None:
    """Confirming is a new version of the match."""
    response = await ada.post(f"/matches/{proposed['id']}/confirm", headers={"If-Match": '"1"'})

    assert (response.json()["state"], response.headers["ETag"]) == ("confirmed", '"2"')


@pytest.mark.parametrize(
    ("steps", "statuses"),
    [
        (["confirm", "confirm"], [200, 409]),
        (["confirm", "reject"], [200, 409]),
        (["confirm", "reopen", "confirm"], [200, 200, 200]),
        (["confirm", "reopen", "reject"], [200, 200, 200]),
        (["reject", "confirm"], [200, 409]),
        (["reject", "reopen"], [200, 409]),
        (["reject", "reject"], [200, 409]),
        (["reopen"], [409]),
    ],
    ids=lambda value: "-".join(map(str, value)),
)
async def test_only_legal_steps_are_taken(
    ada: AsyncClient, proposed: Match, steps: list[str], statuses: list[int]
) -> None:
    """What is confirmed is reopened before anything else; what is rejected stays so."""
    assert [await _do(ada, proposed, step) for step in steps] == statuses


@pytest.mark.parametrize("step", ["confirm", "reject", "reopen"])
async def test_a_stale_review_is_refused(ada: AsyncClient, proposed: Match, step: str) -> None:
    """Who reviews has seen the version that is reviewed."""
    headers = {"If-Match": '"7"'}

    assert (await ada.post(f"/matches/{proposed['id']}/{step}", headers=headers)).status_code == 412


async def test_unequal_amounts_cannot_be_confirmed(ada: AsyncClient, bank: Bank) -> None:
    """The problem tells the difference: somebody has to book the bank's fee first."""
    lines = await bank.statement(("2026-03-10", "98.50", "Invoice 7"))
    made = await bank.match(lines, [await bank.book(*INVOICE)])

    response = await ada.post(f"/matches/{made['id']}/confirm", headers=ANY)

    assert (response.status_code, response.json()["difference"]) == (409, "-1.50")


async def test_one_line_can_be_several_entries(ada: AsyncClient, bank: Bank) -> None:
    """A customer pays two invoices at once."""
    lines = await bank.statement(INVOICE)
    entries = [await bank.book("2026-03-09", amount, "Invoice") for amount in ("60.00", "40.00")]

    assert await _do(ada, await bank.match(lines, entries), "confirm") == 200


async def test_several_lines_can_be_one_entry(ada: AsyncClient, bank: Bank) -> None:
    """A customer pays an invoice in two parts."""
    lines = await bank.statement(
        ("2026-03-10", "60.00", "Part one"), ("2026-03-11", "40.00", "Part two")
    )

    assert await _do(ada, await bank.match(lines, [await bank.book(*INVOICE)]), "confirm") == 200


async def test_many_to_many_is_refused(ada: AsyncClient, bank: Bank) -> None:
    """Which of them is which could not be told any more."""
    body = {"line_ids": [1, 2], "entry_ids": [1, 2]}

    assert (await ada.post(f"{bank.url}/matches", json=body)).status_code == 422


async def test_a_line_is_confirmed_once(ada: AsyncClient, bank: Bank) -> None:
    """Of two proposals for one line the second can no longer be confirmed."""
    lines = await bank.statement(INVOICE)
    first = await bank.match(lines, [await bank.book(*INVOICE)])
    second = await bank.match(lines, [await bank.book(*INVOICE)])
    await _do(ada, first, "confirm")

    response = await ada.post(f"/matches/{second['id']}/confirm", headers=ANY)

    assert response.json()["type"] == "/problems/already-reconciled"
    assert (await ada.get(f"/matches/{second['id']}")).json()["state"] == "proposed"


async def test_an_entry_is_confirmed_once(ada: AsyncClient, bank: Bank) -> None:
    """Two payments of the same amount need two entries."""
    lines = await bank.statement(INVOICE, ("2026-03-11", "100.00", "Invoice 7"))
    entry = await bank.book(*INVOICE)
    first, second = await bank.match(lines[:1], [entry]), await bank.match(lines[1:], [entry])
    await _do(ada, first, "confirm")

    assert await _do(ada, second, "confirm") == 409


async def test_what_is_reconciled_is_not_proposed_again(
    ada: AsyncClient, bank: Bank, proposed: Match
) -> None:
    """A match by hand is refused while another one is confirmed, and says what is taken."""
    await _do(ada, proposed, "confirm")
    body = {"line_ids": proposed["line_ids"], "entry_ids": proposed["entry_ids"]}

    response = await ada.post(f"{bank.url}/matches", json=body)

    assert response.json()["type"] == "/problems/already-reconciled"
    assert response.json()["line_ids"] == proposed["line_ids"]


async def test_reopening_frees_line_and_entry(
    ada: AsyncClient, proposed: Match, bank: Bank
) -> None:
    """Another match may have them then."""
    await _do(ada, proposed, "confirm")
    await _do(ada, proposed, "reopen")
    other = await bank.match(proposed["line_ids"], proposed["entry_ids"])

    assert await _do(ada, other, "confirm") == 200
    assert await _do(ada, proposed, "confirm") == 409


async def test_a_transfer_is_reconciled_on_both_accounts(ada: AsyncClient, bank: Bank) -> None:
    """One entry moves two bank accounts, and each bank has a line of its own about it."""
    transfer = await bank.book(*INVOICE, against="cash")
    first = await bank.match(await bank.statement(INVOICE), [transfer])
    other = await Bank.open(bank.ledger, "cash")
    second = await other.match(
        await other.statement(("2026-03-10", "-100.00", "Transfer")), [transfer]
    )

    assert [await _do(ada, each, "confirm") for each in (first, second)] == [200, 200]


async def test_a_reconciled_entry_cannot_be_voided(ada: AsyncClient, proposed: Match) -> None:
    """The bank says that it happened; the match has to be reopened first."""
    url = f"/journal/entries/{proposed['entry_ids'][0]}/void"
    await _do(ada, proposed, "confirm")

    refused = await ada.post(url, json={"reason": "Mistake"}, headers=ANY)
    await _do(ada, proposed, "reopen")
    voided = await ada.post(url, json={"reason": "Mistake"}, headers=ANY)

    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/entry-reconciled")
    assert voided.status_code == 200


async def test_a_voided_entry_cannot_be_confirmed(ada: AsyncClient, proposed: Match) -> None:
    """What was taken out of the books since is not what the bank reports."""
    entry_id = proposed["entry_ids"][0]
    await ada.post(f"/journal/entries/{entry_id}/void", json={"reason": "x"}, headers=ANY)

    response = await ada.post(f"/matches/{proposed['id']}/confirm", headers=ANY)

    assert (response.status_code, response.json()["type"]) == (409, "/problems/entry-not-posted")


async def test_only_posted_entries_of_the_account_can_be_matched(
    ada: AsyncClient, bank: Bank
) -> None:
    """A draft is not in the books, and an entry elsewhere is no movement of this account."""
    lines = await bank.statement(INVOICE)
    lines_of_entry = ("bank", "debit", "100.00"), ("sales", "credit", "100.00")
    draft = await bank.ledger.draft(*lines_of_entry, date="2026-03-10")
    body = {"line_ids": lines, "entry_ids": [draft["id"]]}

    response = await ada.post(f"{bank.url}/matches", json=body)

    assert response.json()["type"] == "/problems/entry-not-found"


async def test_an_unknown_line_cannot_be_matched(ada: AsyncClient, bank: Bank) -> None:
    """The problem says which one."""
    body = {"line_ids": [9], "entry_ids": [await bank.book(*INVOICE)]}

    response = await ada.post(f"{bank.url}/matches", json=body)

    assert response.json()["type"] == "/problems/statement-line-not-found"


@pytest.mark.parametrize("step", ["", "/confirm", "/reject", "/reopen"])
async def test_another_users_match_does_not_exist(proposed: Match, app: FastAPI, step: str) -> None:
    """Foreign matches are 404 like unknown ones."""
    bob = await sign_up(app, "bob")
    method = "POST" if step else "GET"

    foreign = await bob.request(method, f"/matches/{proposed['id']}{step}", headers=ANY)
    unknown = await bob.request(method, f"/matches/99{step}", headers=ANY)

    assert foreign.status_code == unknown.status_code == 404


async def test_matches_are_listed_by_state(ada: AsyncClient, bank: Bank, proposed: Match) -> None:
    """A reviewer asks for what is still proposed."""
    other = await bank.match(proposed["line_ids"], proposed["entry_ids"])
    await _do(ada, proposed, "reject")

    listed = await ada.get(f"{bank.url}/matches", params={"state": "proposed"})

    assert [item["id"] for item in listed.json()["items"]] == [other["id"]]


async def test_an_import_with_confirmed_lines_cannot_be_undone(
    ada: AsyncClient, bank: Bank, proposed: Match
) -> None:
    """The match would be about nothing."""
    await _do(ada, proposed, "confirm")

    response = await ada.delete(f"{bank.url}/imports/1")

    assert (response.status_code, response.json()["type"]) == (
        409,
        "/problems/statement-lines-in-use",
    )


@pytest.mark.parametrize("step", [None, "reject"])
async def test_an_undone_import_takes_its_proposals_along(
    ada: AsyncClient, proposed: Match, bank: Bank, step: str | None
) -> None:
    """What nobody has confirmed does not keep the wrong file in the books."""
    if step is not None:
        await _do(ada, proposed, step)

    assert (await ada.delete(f"{bank.url}/imports/1")).status_code == 204
    assert (await ada.get(f"/matches/{proposed['id']}")).status_code == 404


@pytest.mark.parametrize(
    "statement_",
    [
        "UPDATE matches SET state = 'rejected'",
        "UPDATE matches SET difference = 1",
        "DELETE FROM matches",
        """INSERT INTO matches (bank_account_id, state, score, difference, version)
        VALUES (1, 'confirmed', 0, 0, 1)""",
    ],
)
async def test_the_database_keeps_confirmed_matches(
    ada: AsyncClient, proposed: Match, db_asyncpg: asyncpg.Connection, statement_: str
) -> None:
    """No other program makes one without a proposal, changes it, or removes it."""
    await _do(ada, proposed, "confirm")

    with pytest.raises(asyncpg.RestrictViolationError):
        await db_asyncpg.execute(statement_)


# Two who really wait for each other's rows: rollback isolation lets writers take turns.
@pytest.mark.db(isolation="commit")
async def test_a_match_confirmed_twice_at_once_is_confirmed_once(
    ada: AsyncClient, proposed: Match, db_asyncpg: asyncpg.Connection
) -> None:
    """Of five clicks on the button one confirms, and the line is reconciled once."""
    statuses = await asyncio.gather(*(_do(ada, proposed, "confirm") for _ in range(5)))

    assert statuses.count(200) == 1
    assert set(statuses) <= {200, 409, 412}
    assert await db_asyncpg.fetchval("SELECT count(*) FROM reconciled_lines") == 1


@pytest.mark.db(isolation="commit")
async def test_two_matches_of_one_line_confirmed_at_once_leave_one(
    ada: AsyncClient, proposed: Match, bank: Bank
) -> None:
    """The primary key of what is reconciled decides, whichever comes first."""
    others = [await bank.match(proposed["line_ids"], [await bank.book(*INVOICE)]) for _ in range(3)]

    statuses = await asyncio.gather(*(_do(ada, each, "confirm") for each in [proposed, *others]))

    assert sorted(statuses) == [200, 409, 409, 409]


@pytest.mark.db(isolation="commit")
@pytest.mark.parametrize("first", ["confirm", "void"])
async def test_an_entry_is_not_both_confirmed_and_voided(
    proposed: Match, db_engine: AsyncEngine, first: str
) -> None:
    """Whoever comes second waits for the first, and is refused when that commits."""
    entry_id, line_id = proposed["entry_ids"][0], proposed["line_ids"][0]
    confirm = [
        f"INSERT INTO reconciled_entries VALUES (1, {entry_id}, {proposed['id']})",
        f"INSERT INTO reconciled_lines VALUES ({line_id}, {proposed['id']})",
    ]
    void = [
        f"""INSERT INTO journal_entries (owner_id, date, description, base_currency, state,
        reverses_id, version, created_at, updated_at)
        SELECT owner_id, date, 'x', base_currency, 'draft', id, 1, now(), now()
        FROM journal_entries WHERE id = {entry_id}""",
        f"""INSERT INTO journal_lines (entry_id, position, account_id, side, amount, currency, rate,
        base_amount)
        SELECT currval(pg_get_serial_sequence('journal_entries', 'id')), position, account_id,
        CASE side WHEN 'debit' THEN 'credit' ELSE 'debit' END::line_side,
        amount, currency, rate, base_amount
        FROM journal_lines WHERE entry_id = {entry_id}""",
        f"UPDATE journal_entries SET state = 'posted' WHERE reverses_id = {entry_id}",
        f"UPDATE journal_entries SET state = 'voided' WHERE id = {entry_id}",
    ]
    orders = {"confirm": (confirm, void), "void": (void, confirm)}
    async with (
        db_engine.connect() as winner,
        db_engine.connect() as loser,
        db_engine.connect() as watcher,
    ):
        for sql in orders[first][0]:
            await winner.exec_driver_sql(sql)
        pid = await loser.scalar(text("SELECT pg_backend_pid()"))

        async def second() -> None:
            for sql in orders[first][1]:
                await loser.exec_driver_sql(sql)

        waiting = asyncio.create_task(second())
        blocked = text("SELECT cardinality(pg_blocking_pids(:pid)) > 0").bindparams(pid=pid)
        async with asyncio.timeout(30):
            while not await watcher.scalar(blocked):
                assert not waiting.done()
        await winner.commit()

        with pytest.raises(IntegrityError, match=r"is not posted|is reconciled"):
            await waiting
