"""Lines that come again in a later file."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from httpx import AsyncClient, Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from backend.statements.models import StagedStatementLine

from ..bank import Bank

HEADER = "Date,Payee,Text,Amount\n"
COFFEE = "2026-01-05,Café,Coffee,-2.80\n"
RENT = "2026-01-06,Landlord,Rent,-900.00\n"


def _counts(response: Response) -> tuple[int, int]:
    report = response.json()
    return report["imported"], report["duplicates"]


async def test_the_same_file_again_brings_nothing(bank: Bank) -> None:
    """A user who clicks twice has each movement once."""
    await bank.send(HEADER + COFFEE + RENT)

    assert _counts(await bank.send(HEADER + COFFEE + RENT)) == (0, 2)
    assert len(await bank.lines()) == 2


async def test_files_may_overlap(bank: Bank) -> None:
    """Only what is new is taken from a file that begins before the last one ended."""
    await bank.send(HEADER + COFFEE + RENT)

    assert _counts(await bank.send(HEADER + RENT + "2026-01-07,Acme,x,1.00\n")) == (1, 1)


async def test_two_movements_that_look_alike_are_two(bank: Bank) -> None:
    """Two coffees on one day are two lines, and a second import of them brings none."""
    assert _counts(await bank.send(HEADER + COFFEE + COFFEE)) == (2, 0)
    assert _counts(await bank.send(HEADER + COFFEE + COFFEE)) == (0, 2)
    assert len(await bank.lines()) == 2


async def test_a_third_that_looks_alike_is_new(bank: Bank) -> None:
    """Numbers are counted within a file, so a third coffee in a later file is recognised."""
    await bank.send(HEADER + COFFEE + COFFEE)

    assert _counts(await bank.send(HEADER + COFFEE * 3)) == (1, 2)


@pytest.mark.parametrize(
    "other",
    [
        "2026-01-06,Café,Coffee,-2.80\n",
        "2026-01-05,Café,Coffee,2.80\n",
        "2026-01-05,Café,Coffees,-2.80\n",
    ],
    ids=["date", "amount", "text"],
)
async def test_a_line_that_differs_in_anything_is_new(bank: Bank, other: str) -> None:
    """Date, amount and text together tell movements apart."""
    await bank.send(HEADER + COFFEE)

    assert _counts(await bank.send(HEADER + other)) == (1, 0)


async def test_how_an_amount_is_written_makes_no_difference(bank: Bank) -> None:
    """-2.8 and -2.80 are the same amount, and white space says nothing."""
    await bank.send(HEADER + COFFEE)

    assert _counts(await bank.send(f"{HEADER}2026-01-05, Café ,Coffee,-2.8\n")) == (0, 1)


async def test_the_banks_reference_tells_lines_apart(ada: AsyncClient, bank: Bank) -> None:
    """With a reference neither text nor number matters: a bank may add to the text later."""
    columns = {"date": "Date", "amount": "Amount", "description": ["Text"], "reference": "Ref"}
    body = {
        "account_id": bank.shown["account_id"],
        "name": "Giro",
        "csv_format": {"columns": columns},
    }
    await ada.put(f"{bank.url}", json=body, headers={"If-Match": "*"})
    header = "Date,Text,Amount,Ref\n"
    await bank.send(f"{header}2026-01-05,Coffee,-2.80,A1\n2026-01-05,Coffee,-2.80,A2\n")

    again = f"{header}2026-01-05,Coffee (settled),-2.80,A1\n2026-01-05,Coffee,-2.80,A3\n"

    assert _counts(await bank.send(again)) == (1, 1)


async def test_a_reference_twice_in_a_file_is_one_movement(ada: AsyncClient, bank: Bank) -> None:
    """Unlike a text, a reference is never given twice."""
    columns = {"date": "Date", "amount": "Amount", "description": ["Text"], "reference": "Ref"}
    body = {
        "account_id": bank.shown["account_id"],
        "name": "Giro",
        "csv_format": {"columns": columns},
    }
    await ada.put(f"{bank.url}", json=body, headers={"If-Match": "*"})

    response = await bank.send("Date,Text,Amount,Ref\n" + "2026-01-05,Coffee,-2.80,A1\n" * 2)

    assert _counts(response) == (1, 1)


async def test_what_is_a_duplicate_is_a_matter_of_one_bank_account(
    ada: AsyncClient, bank: Bank
) -> None:
    """A transfer fee may look the same on two accounts."""
    account = {"code": "1200", "name": "Bank", "type": "asset", "currency": "EUR"}
    account_id = (await ada.post("/accounts", json=account)).json()["id"]
    body = {"account_id": account_id, "name": "B", "csv_format": bank.shown["csv_format"]}
    other = (await ada.post("/bank-accounts", json=body)).json()["id"]
    await bank.send(HEADER + COFFEE)

    response = await ada.post(
        f"/bank-accounts/{other}/imports",
        content=HEADER + COFFEE,
        headers={"Content-Type": "text/csv"},
    )

    assert _counts(response) == (1, 0)


async def test_an_import_can_be_undone_and_done_again(ada: AsyncClient, bank: Bank) -> None:
    """The lines of the wrong file go with it, and are no duplicates afterwards."""
    import_id = (await bank.send(HEADER + COFFEE)).json()["id"]

    response = await ada.delete(f"{bank.url}/imports/{import_id}")

    assert response.status_code == 204
    assert await bank.lines() == []
    assert _counts(await bank.send(HEADER + COFFEE)) == (1, 0)


async def test_an_unknown_import_cannot_be_undone(ada: AsyncClient, bank: Bank) -> None:
    """The answer is 404, as for the import of another bank account."""
    response = await ada.delete(f"{bank.url}/imports/9")

    assert (response.status_code, response.json()["type"]) == (404, "/problems/import-not-found")


async def test_nothing_stays_staged(bank: Bank, db: AsyncSession) -> None:
    """The staging table is empty after an import, whether its rows were new or known."""
    await bank.send(HEADER + COFFEE)
    await bank.send(HEADER + COFFEE + RENT)

    assert (await db.scalars(select(StagedStatementLine))).all() == []


# Two connections wait for each other's rows: only real transactions do.
@pytest.mark.db(isolation="commit")
async def test_two_imports_at_once_bring_each_line_once(bank: Bank) -> None:
    """The second waits for the first, and finds its lines known."""
    file = HEADER + "".join(f"2026-01-05,a,{i},1.00\n" for i in range(50))

    counts = [_counts(r) for r in await asyncio.gather(*(bank.send(file) for _ in range(3)))]

    assert sorted(counts) == [(0, 50), (0, 50), (50, 0)]
    assert len(await bank.lines()) == 50


# A file larger than a batch takes COPY several times within one transaction.
async def test_a_large_file_is_written_batch_by_batch(bank: Bank, db: AsyncSession) -> None:
    """Five thousand rows, more than two batches and than what is kept in memory, are all there."""
    rows = (f"2026-01-05,{'payee ' * 40},{i},{i + 1}.00\n" for i in range(5000))

    response = await bank.send(HEADER + "".join(rows))

    assert _counts(response) == (5000, 0)
    total = await db.scalar(text("SELECT sum(amount) FROM statement_lines"))
    assert total == 5000 * 5001 / 2


MOVEMENTS = st.lists(st.sampled_from([COFFEE, RENT, "2026-01-07,a,b,1.00\n"]), max_size=6)


# The fixtures hold nothing between examples: `db_layer` undoes what each writes.
@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(first=MOVEMENTS, second=MOVEMENTS)
async def test_after_two_imports_each_movement_is_there_as_often_as_in_the_fuller_file(
    bank: Bank, db_layer: Callable[[], Any], first: list[str], second: list[str]
) -> None:
    """Of what looks the same m times in one file and n times in another, max(m, n) stay."""
    async with db_layer():
        await bank.send(HEADER + "".join(first))
        await bank.send(HEADER + "".join(second))

        expected = sum(max(first.count(row), second.count(row)) for row in {*first, *second})
        assert len(await bank.lines()) == expected
