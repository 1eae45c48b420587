"""The server and the command as processes: from an empty database to an answer over a socket."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, text

SCHEMA = Path(__file__).parents[1] / "schema"
PATIENCE = 30
"""Seconds within which a process must have answered or ended."""

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.db(isolation="database"),  # which they fill from nothing
]


@pytest.fixture
def environment(db_sync_engine: Engine, test_database_url: str) -> dict[str, str]:
    """Lead processes to an empty database."""
    with db_sync_engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
        connection.execute(text("GRANT USAGE ON SCHEMA public TO PUBLIC"))
        url = connection.engine.url.set(drivername="postgresql")
    del test_database_url
    return os.environ | {
        "CATALOG_DATABASE_URL": url.render_as_string(hide_password=False),
        "CATALOG_SCHEMA": str(SCHEMA),
    }


Ran = subprocess.CompletedProcess[str]


def _maintain(environment: dict[str, str], *arguments: str) -> Ran:
    command = [sys.executable, "-m", "catalog.maintenance", *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


@contextmanager
def _served(environment: dict[str, str]) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number = listening.fileno()
        server = ["-m", "uvicorn", "--factory", "catalog.main:app", "--fd", str(number)]
        process = subprocess.Popen([sys.executable, *server], env=environment, pass_fds=[number])
        try:
            yield "http://{}:{}".format(*listening.getsockname())
        finally:
            process.terminate()
            process.wait(PATIENCE)


def test_a_catalog_begins_empty_and_answers(environment: dict[str, str]) -> None:
    """Migrated, seeded, with a tenant of its own: the product it adds is found."""
    assert "0004_prices.sql" in _maintain(environment, "migrate").stdout
    assert _maintain(environment, "migrate").stdout == "Nothing to run.\n"
    assert _maintain(environment, "seed").returncode == 0
    key = _maintain(environment, "tenant", "Ada's").stdout.strip()
    headers = {"Authorization": f"Bearer {key}"}
    with _served(environment) as url, httpx.Client(base_url=url, headers=headers) as client:
        client.timeout = httpx.Timeout(PATIENCE)
        chair = {"sku": "CHR", "name": "Oak chair", "category_id": 7}
        assert client.post("/products", json=chair).status_code == 201
        assert [hit["sku"] for hit in client.get("/search", params={"q": "chairs"}).json()] == [
            "CHR"
        ]


def test_the_demo_is_sown_once(environment: dict[str, str]) -> None:
    """`dev` asks for it at each start; its products have prices."""
    _maintain(environment, "migrate")
    sown = _maintain(environment, "seed", "--demo")
    assert (sown.stdout, sown.stderr) == ("Added a tenant, with the key 'demo'.\n", "")
    assert _maintain(environment, "seed", "--demo").stdout == ""
    headers = {"Authorization": "Bearer demo"}
    with _served(environment) as url, httpx.Client(base_url=url, headers=headers) as client:
        client.timeout = httpx.Timeout(PATIENCE)
        (hit, *_) = client.get("/search", params={"q": "lamp"}).json()
        price = client.get(f"/products/{hit['id']}/price", params={"currency": "EUR"}).json()
    assert (hit["sku"], price["amount"]) == ("LMP-RD", "89.00")


def test_partitions_are_made_ahead_and_retired(environment: dict[str, str]) -> None:
    """By a command for a timer, which says what it has done."""
    _maintain(environment, "migrate")
    made = _maintain(environment, "partitions", "--ahead", "2").stdout
    months = re.findall(r"\d{4}-\d\d", made)
    assert len(months) == 3
    assert months[0] <= f"{datetime.now(UTC):%Y-%m}"
    assert _maintain(environment, "partitions", "--ahead", "2").stdout == ""


def test_a_category_is_moved(environment: dict[str, str]) -> None:
    """A move that would close a cycle is refused, with the reason, and changes nothing."""
    _maintain(environment, "migrate")
    _maintain(environment, "seed")
    assert _maintain(environment, "move", "2", "--below", "10").returncode == 0
    refused = _maintain(environment, "move", "10", "--below", "2")
    assert (refused.returncode, refused.stderr) == (1, "Category 2 lies below 10, or is it.\n")


def test_a_folder_without_files_is_named(environment: dict[str, str], tmp_path: Path) -> None:
    """And the setting that says where they are."""
    failed = _maintain(environment | {"CATALOG_SCHEMA": str(tmp_path)}, "migrate")
    assert failed.returncode == 1
    assert str(tmp_path) in failed.stderr
    assert "CATALOG_SCHEMA" in failed.stderr
