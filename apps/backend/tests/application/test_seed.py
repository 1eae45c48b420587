"""The demo company keeps the rules of the books."""

from collections.abc import Mapping
from typing import Any

import pytest
from httpx import AsyncClient
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncSession

from backend.seed import EMAIL, PASSWORD, run, seed
from backend.settings import Settings
from backend.users.errors import EmailTakenError

from .people import CREDENTIALS


@pytest.fixture
async def demo(client: AsyncClient, db: AsyncSession) -> AsyncClient:
    """Write the company, and sign in to it."""
    await seed(db, CREDENTIALS)
    await db.commit()
    sign_in = {"username": EMAIL, "password": PASSWORD}
    token = (await client.post("/users/token", data=sign_in)).json()["access_token"]
    client.headers["Authorization"] = f"Bearer {token}"
    return client


async def _get(client: AsyncClient, path: str, **params: str) -> Mapping[str, Any]:
    response = await client.get(path, params=params)
    assert response.status_code == 200, response.text
    answer: Mapping[str, Any] = response.json()
    return answer


async def test_the_books_of_the_demo_balance(demo: AsyncClient) -> None:
    """25000 + 10000 + 3200 - 2400 are assets of 35800: the bank, the dollars, the machine."""
    sheet = await _get(demo, "/reports/balance-sheet", as_of="2026-02-28")

    assert sheet["assets"]["total"] == sheet["liabilities_and_equity"] == ["35800.00"]


async def test_its_cash_is_explained(demo: AsyncClient) -> None:
    """27800 are left at the bank and in dollars after the machine."""
    period = "2026-01-01/2026-02-28"

    report = await _get(demo, "/reports/cash-flow", period=period)

    assert report["change"] == report["closing"] == ["27800.00"]


async def test_there_is_something_to_reconcile(demo: AsyncClient) -> None:
    """Every line of the statement but the bank's charges has a proposal."""
    summary = await _get(demo, "/bank-accounts/1/reconciliation", as_of="2026-02-28")
    matches = await _get(demo, "/bank-accounts/1/matches", state="proposed")

    assert summary["statement"]["open_count"] == len(matches["items"]) + 1 == 8


async def test_a_second_time_it_is_there_already(demo: AsyncClient, db: AsyncSession) -> None:
    """The caller rolls back, so a demo that somebody plays with is left alone."""
    with pytest.raises(EmailTakenError):
        await seed(db, CREDENTIALS)


@pytest.mark.db(isolation="commit")  # it has an engine of its own, which really commits
async def test_the_command_leaves_a_demo_alone(test_database_url: str) -> None:
    """Run a second time, as on each start of a developer's server, it changes nothing."""
    settings = Settings(
        database_url=SecretStr(test_database_url), token_secret=SecretStr("s3cret" * 6)
    )
    assert PASSWORD in await run(settings)
    assert "already" in await run(settings)
