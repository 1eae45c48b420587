"""The service as it is deployed: a process that talks over a socket."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from backend import seed
from backend.seed import EMAIL, PASSWORD
from backend.settings import Settings

pytestmark = [
    pytest.mark.e2e,
    # The server has connections of its own, which see only what is committed.
    pytest.mark.db(isolation="commit"),
]
SECONDS = 120


@pytest.fixture
def environment(test_database_url: str) -> dict[str, str]:
    """Configure the service as a deployment does."""
    return {
        **os.environ,
        "BACKEND_DATABASE_URL": test_database_url,
        "BACKEND_TOKEN_SECRET": "0" * 32,
        "BACKEND_DATABASE_POOL_SIZE": "2",
    }


@dataclass(frozen=True)
class Server:
    """Hold a running service and where it listens."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path


@pytest.fixture
def server(environment: dict[str, str], tmp_path: Path) -> Iterator[Server]:
    """Start uvicorn on a socket that listens already: a client that is early just waits."""
    log = tmp_path / "log"
    program = [sys.executable, "-m", "uvicorn", "--factory", "backend.main:app"]
    with socket.create_server(("127.0.0.1", 0)) as listening, log.open("wb") as output:
        file, port = listening.fileno(), listening.getsockname()[1]
        process = subprocess.Popen(
            [*program, "--fd", str(file)],
            env=environment,
            pass_fds=[file],
            stdout=output,
            stderr=output,
        )
    try:
        yield Server(process, f"http://127.0.0.1:{port}", log)
    finally:
        process.terminate()
        process.wait(SECONDS)


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    """Talk to the service over its socket."""
    with httpx.Client(base_url=server.url, timeout=SECONDS) as client:
        yield client


def _seed(environment: dict[str, str]) -> str:
    program = [sys.executable, "-m", "backend.seed"]
    done = subprocess.run(
        program, env=environment, check=True, timeout=SECONDS, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


@pytest.fixture
async def demo(test_database_url: str) -> None:
    """Write the demo company."""
    secret = SecretStr("0" * 32)
    await seed.run(Settings(database_url=SecretStr(test_database_url), token_secret=secret))


def _sign_in(client: httpx.Client) -> None:
    sign_in = {"username": EMAIL, "password": PASSWORD}
    token = client.post("/users/token", data=sign_in).json()["access_token"]
    client.headers["Authorization"] = f"Bearer {token}"


def test_the_server_answers_until_it_is_told_to_stop(server: Server, client: httpx.Client) -> None:
    """It finds its database by its environment, and ends in order at a deployment's signal."""
    assert client.get("/health").json() == {"status": "ok"}
    client.close()

    server.process.send_signal(signal.SIGTERM)
    server.process.wait(SECONDS)

    log = server.log.read_text()
    assert "Application shutdown complete" in log
    assert "Traceback" not in log


def test_a_month_is_closed_over_the_socket(
    client: httpx.Client, environment: dict[str, str]
) -> None:
    """Sign in as the seed says, confirm its proposals, book charges, revalue dollars, and report.

    Charges of 9.90 are new. 2000 dollars at 0.95 are 1900, 60 more than the 1840 they have cost.
    Earnings: 3200 - 2400 - 9.90 + 60 = 850.10; assets: 35800 - 9.90 + 60 = 35850.10.
    """
    printed = _seed(environment)
    assert EMAIL in printed
    assert PASSWORD in printed
    _sign_in(client)
    any_version = {"If-Match": "*"}
    accounts = client.get("/accounts").json()["items"]
    ids = {account["code"]: account["id"] for account in accounts}
    for match in client.get("/bank-accounts/1/matches").json()["items"]:
        assert client.post(f"/matches/{match['id']}/confirm", headers=any_version).is_success
    lines = [
        {"account_id": ids["5100"], "side": "debit", "amount": "9.90"},
        {"account_id": ids["1100"], "side": "credit", "amount": "9.90"},
    ]
    charges = {"date": "2026-02-28", "description": "Account charges", "lines": lines}
    entry = client.post("/journal/entries", json=charges).json()
    client.post(f"/journal/entries/{entry['id']}/post", headers=any_version)
    february = {"date_from": "2026-02-28", "date_to": "2026-02-28"}
    (proposal,) = client.post("/bank-accounts/1/proposals", json=february).json()
    client.post(f"/matches/{proposal['id']}/confirm", headers=any_version)
    revaluation = {
        "date": "2026-02-28",
        "adjustment_account_id": ids["1190"],
        "gain_account_id": ids["4900"],
        "loss_account_id": ids["5900"],
    }
    assert client.post("/revaluations", json=revaluation).is_success

    day = {"as_of": "2026-02-28"}
    summary = client.get("/bank-accounts/1/reconciliation", params=day).json()
    sheet = client.get("/reports/balance-sheet", params=day).json()

    assert (summary["statement"]["open_count"], summary["journal"]["open_count"]) == (0, 0)
    assert (sheet["earnings"], sheet["assets"]["total"]) == (["850.10"], ["35850.10"])


@pytest.mark.usefixtures("demo")
def test_a_large_statement_is_streamed(client: httpx.Client) -> None:
    """20000 rows sent in chunks, without a length told before, are all there."""
    _sign_in(client)

    def rows() -> Iterator[bytes]:
        yield b"Date,Amount,Payee,Text\n"
        for number in range(20_000):
            yield f"2026-03-01,{number + 1}.00,Payee {number},Text\n".encode()

    response = client.post(
        "/bank-accounts/1/imports", content=rows(), headers={"Content-Type": "text/csv"}
    )

    assert (response.status_code, response.json()["imported"]) == (201, 20_000)
