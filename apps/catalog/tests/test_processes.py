"""The server and the command as processes: from an empty database to an answer over a socket."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, text

SCHEMA = Path(__file__).parents[1] / "schema"
PATIENCE = 60
"""Seconds within which a process must have answered or ended."""

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.db(isolation="database"),  # which the command fills from nothing
]


@pytest.fixture
def environment(db_sync_engine: Engine) -> dict[str, str]:
    """Lead processes to an empty database."""
    with db_sync_engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
        connection.execute(text("GRANT USAGE ON SCHEMA public TO PUBLIC"))
        url = connection.engine.url.set(drivername="postgresql")
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
            status = process.wait(PATIENCE)
        assert status in {0, -signal.SIGTERM}


def test_a_catalog_begins_empty_and_answers(environment: dict[str, str]) -> None:
    """Migrated and seeded, with a tenant whose product is found, unlike those of the demo's."""
    assert "0004_prices.sql" in _maintain(environment, "migrate").stdout
    assert _maintain(environment, "seed", "--demo").returncode == 0
    key = _maintain(environment, "tenant", "Ada's").stdout.strip()
    headers = {"Authorization": f"Bearer {key}"}
    with _served(environment) as url, httpx.Client(base_url=url, headers=headers) as client:
        client.timeout = httpx.Timeout(PATIENCE)
        chair = {"sku": "CHR", "name": "Oak chair", "category_id": 7}
        assert client.post("/products", json=chair).status_code == 201
        hits = client.get("/search", params={"q": "chairs"}).json()
    assert [hit["sku"] for hit in hits] == ["CHR"]
