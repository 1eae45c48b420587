"""The command: what an operator or a timer calls, and what it says."""

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from httpx import AsyncClient
from typer.testing import CliRunner

from catalog.maintenance.__main__ import command

# It has engines of its own, which really commit.
pytestmark = pytest.mark.db(isolation="commit")

Maintain = Callable[..., tuple[int, str, str]]


@pytest.fixture
def maintain(test_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Maintain:
    """Call the command on the test's database; return its status, output and errors."""
    monkeypatch.setenv("CATALOG_DATABASE_URL", test_database_url.replace("+asyncpg", ""))

    def maintain(*arguments: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(command, arguments)
        return result.exit_code, result.stdout, result.stderr

    return maintain


@pytest.mark.db(isolation="database")  # partitions are tables
def test_partitions_are_made_ahead_and_retired(maintain: Maintain) -> None:
    """Those of this month and the two after it; a second time there is nothing to do."""
    _, made, _ = maintain("partitions", "--ahead", "2")
    months = re.findall(r"\d{4}-\d\d", made)
    assert len(months) == 3
    assert months[0] <= f"{datetime.now(UTC):%Y-%m}"
    assert maintain("partitions", "--ahead", "2") == (0, "", "")


def test_a_category_is_moved(maintain: Maintain) -> None:
    """A move that would close a cycle is refused, with the reason, and changes nothing."""
    assert maintain("move", "2", "--below", "10") == (0, "", "")
    refused = maintain("move", "10", "--below", "2")
    assert refused == (1, "", "Category 2 lies below 10, or is it.\n")


def test_the_demo_is_sown_once(maintain: Maintain) -> None:
    """`dev` asks for it at each start."""
    assert maintain("seed", "--demo") == (0, "Added a tenant, with the key 'demo'.\n", "")
    assert maintain("seed", "--demo") == (0, "", "")


async def test_products_of_the_demo_have_prices(maintain: Maintain, ada: AsyncClient) -> None:
    """And are found."""
    await asyncio.to_thread(maintain, "seed", "--demo")
    ada.headers["Authorization"] = "Bearer demo"
    (hit, *_) = (await ada.get("/search", params={"q": "lamp"})).json()
    price = await ada.get(f"/products/{hit['id']}/price", params={"currency": "EUR"})
    assert (hit["sku"], price.json()["amount"]) == ("LMP-RD", "89.00")


def test_a_folder_without_files_is_named(
    maintain: Maintain, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And the setting that says where they are."""
    monkeypatch.setenv("CATALOG_SCHEMA", str(tmp_path))
    status, _, errors = maintain("migrate")
    assert status == 1
    assert str(tmp_path) in errors
    assert "CATALOG_SCHEMA" in errors
