"""The database keeps the rules of the books, whatever writes to it."""

from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from backend.database import constraint_name
from backend.journal import service
from backend.journal.models import EntryState

from ..ledger import Ledger
from ..people import sign_up

POST = "UPDATE journal_entries SET state = 'posted' WHERE id = 1"


@pytest.mark.parametrize(
    "lines",
    [
        [("cash", "debit", "10.00"), ("sales", "credit", "9.99")],
        [("cash", "debit", "10.00")],
        [],
    ],
    ids=["unequal", "one line", "no lines"],
)
async def test_an_unbalanced_entry_is_refused_at_commit(
    db: AsyncSession, ledger: Ledger, lines: list[Any]
) -> None:
    """The deferred trigger lets the statement pass and stops the transaction."""
    await ledger.draft(("cash", "debit", "1.00"))
    await db.execute(text("DELETE FROM journal_lines"))
    for name, side, amount in lines:
        await db.execute(
            text(
                "INSERT INTO journal_lines"
                " (entry_id, position, account_id, side, amount, currency, rate, base_amount)"
                " SELECT 1, id, id, CAST(:side AS line_side), :amount, currency, 1, :amount"
                " FROM accounts WHERE code = :name"
            ).bindparams(side=side, amount=Decimal(amount), name=name)
        )
    await db.execute(text(POST))

    with pytest.raises(IntegrityError) as error:
        await db.commit()

    assert constraint_name(error.value) == "journal_entries_balance"


async def test_an_entry_may_be_unbalanced_until_the_commit(
    db: AsyncSession, ledger: Ledger
) -> None:
    """Only the end of the transaction counts: posted first, undone before the commit."""
    await ledger.draft(("cash", "debit", "1.00"), ("sales", "credit", "2.00"))
    savepoint = await db.begin_nested()
    await db.execute(text(POST))
    await savepoint.rollback()

    await db.commit()

    assert await db.scalar(text("SELECT state::text FROM journal_entries")) == "draft"


async def test_a_commit_that_fails_is_no_success_to_the_client(
    ada: AsyncClient, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the service forgot its check, the trigger would stop it, and the client would know."""
    await ledger.draft(("cash", "debit", "10.00"), ("sales", "credit", "9.99"))
    monkeypatch.setattr(service, "check_balance", lambda _: None)

    response = await ada.post("/journal/entries/1/post", headers={"If-Match": "*"})

    assert response.status_code == 409
    assert response.json()["type"] == "/problems/integrity"
    assert (await ada.get("/journal/entries/1")).json()["state"] == "draft"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE journal_entries SET date = '2026-04-01' WHERE id = 1",
        "UPDATE journal_entries SET description = 'x' WHERE id = 1",
        "UPDATE journal_entries SET state = 'draft' WHERE id = 1",
        "UPDATE journal_entries SET state = 'voided', date = '2026-04-01' WHERE id = 1",
        "DELETE FROM journal_entries WHERE id = 1",
        "TRUNCATE journal_entries CASCADE",
        """INSERT INTO journal_entries
        (owner_id, date, description, base_currency, state, version, created_at, updated_at)
        VALUES (1, '2026-03-01', 'x', 'EUR', 'posted', 1, now(), now())""",
    ],
)
async def test_a_posted_entry_is_immutable(
    db_asyncpg: asyncpg.Connection, ledger: Ledger, statement: str
) -> None:
    """Nothing but voiding changes a posted entry, and nothing begins as one."""
    await ledger.post()

    with pytest.raises(asyncpg.RestrictViolationError):
        await db_asyncpg.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE journal_lines SET amount = 1 WHERE position = 0",
        "UPDATE journal_lines SET memo = 'x' WHERE position = 0",
        "DELETE FROM journal_lines WHERE position = 0",
        "TRUNCATE journal_lines",
        """INSERT INTO journal_lines
        (entry_id, position, account_id, side, amount, currency, rate, base_amount)
        SELECT 1, 9, account_id, side, amount, currency, rate, base_amount FROM journal_lines""",
    ],
)
async def test_the_lines_of_a_posted_entry_are_immutable(
    db_asyncpg: asyncpg.Connection, ledger: Ledger, statement: str
) -> None:
    """Lines can be neither changed, removed nor added any more."""
    await ledger.post()

    with pytest.raises(asyncpg.RestrictViolationError):
        await db_asyncpg.execute(statement)


async def test_a_line_cannot_move_to_another_entry(
    db_asyncpg: asyncpg.Connection, ledger: Ledger
) -> None:
    """A line of a draft does not slip into a posted entry."""
    await ledger.post()
    await ledger.draft()

    with pytest.raises(asyncpg.RestrictViolationError):
        await db_asyncpg.execute("UPDATE journal_lines SET entry_id = 1 WHERE entry_id = 2")


async def test_an_entry_is_not_voided_without_a_reversal(db: AsyncSession, ledger: Ledger) -> None:
    """Marking an entry as voided alone would leave its amounts in the books."""
    await ledger.post()
    await db.execute(text("UPDATE journal_entries SET state = 'voided' WHERE id = 1"))

    with pytest.raises(IntegrityError, match="no reversing entry"):
        await db.commit()


@pytest.mark.parametrize(
    ("account", "currency"), [("foreign", "EUR"), ("cash", "USD")], ids=["owner", "currency"]
)
async def test_a_line_fits_its_account(
    db_asyncpg: asyncpg.Connection, ledger: Ledger, app: FastAPI, account: str, currency: str
) -> None:
    """A line has the owner of its entry and the currency of its account."""
    await ledger.draft()
    bob = await sign_up(app, "bob")
    body = {"code": "1", "name": "Cash", "type": "asset", "currency": "EUR"}
    foreign = (await bob.post("/accounts", json=body)).json()["id"]

    with pytest.raises(asyncpg.CheckViolationError, match="does not fit"):
        await db_asyncpg.execute(
            "INSERT INTO journal_lines"
            " (entry_id, position, account_id, side, amount, currency, rate, base_amount)"
            " VALUES (1, 9, $1, 'debit', 1, $2, 1, 1)",
            {"foreign": foreign, **ledger.ids}[account],
            currency,
        )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_events SET actor_id = actor_id",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events",
    ],
)
async def test_the_audit_trail_only_grows(
    db_asyncpg: asyncpg.Connection, ledger: Ledger, statement: str
) -> None:
    """Events are neither changed nor removed, not even all at once."""
    await ledger.draft()

    with pytest.raises(asyncpg.RestrictViolationError, match="audit_events is not allowed"):
        await db_asyncpg.execute(statement)

    assert await db_asyncpg.fetchval("SELECT count(*) FROM audit_events") == 1


async def test_the_states_are_those_of_the_database(db_asyncpg: asyncpg.Connection) -> None:
    """Python's states and PostgreSQL's enum have the same labels in the same order."""
    labels = await db_asyncpg.fetchval("SELECT enum_range(NULL::entry_state)::text[]")

    assert labels == [str(state) for state in EntryState]
