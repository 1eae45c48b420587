"""Bookkeepers at work: each posts entries in books of their own and looks at reports."""

import time
import uuid
from typing import Any

import requests
from locust import HttpUser, between, events, task

_PATIENCE = 60.0


@events.init.add_listener
def wait_for_health(environment: Any, **_: object) -> None:  # noqa: ANN401 - as locust calls it
    """Begin when the service answers; raises the last error after a minute without one."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            requests.get(f"{environment.host}/health", timeout=5).raise_for_status()
        except requests.RequestException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)  # a server that does not listen yet has nothing to wait for
        else:
            return


@events.quitting.add_listener
def fail_without_requests(environment: Any, **_: object) -> None:  # noqa: ANN401 - as above
    """Fail when there was no request: locust alone would call that a success."""
    if not environment.stats.total.num_requests:
        environment.process_exit_code = 1


class Bookkeeper(HttpUser):
    """Register, open two accounts, then work."""

    wait_time = between(0.05, 0.2)

    def on_start(self) -> None:
        """Register with books of one's own."""
        user = {
            "email": f"{uuid.uuid4()}@example.com",
            "name": "Bookkeeper",
            "base_currency": "EUR",
            "password": "the password of a bookkeeper",
        }
        token = self._post("/users", user)["access_token"]
        self.client.headers["Authorization"] = f"Bearer {token}"
        accounts = [("cash", "asset"), ("sales", "income")]
        self.accounts = [
            self._post("/accounts", {"code": code, "name": code, "type": type_, "currency": "EUR"})
            for code, type_ in accounts
        ]

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        with self.client.post(path, json=body, catch_response=True) as response:
            if response.status_code != requests.codes.created:
                response.failure(f"{response.status_code}: {response.text}")
            answer: dict[str, Any] = response.json()
            return answer

    @task(3)
    def post_an_entry(self) -> None:
        """Write a draft and post it."""
        sides = ("debit", "credit")
        lines = [
            {"account_id": account["id"], "side": side, "amount": "12.30"}
            for account, side in zip(self.accounts, sides, strict=True)
        ]
        body = {"date": "2026-03-01", "description": "Sale", "lines": lines}
        entry = self._post("/journal/entries", body)
        self.client.post(
            f"/journal/entries/{entry['id']}/post",
            headers={"If-Match": "*"},
            name="/journal/entries/{id}/post",
        )

    @task(2)
    def read_the_journal(self) -> None:
        """Look at the newest entries."""
        self.client.get("/journal/entries?limit=20")

    @task(1)
    def report(self) -> None:
        """Look at the balance sheet and the trial balance."""
        self.client.get("/reports/balance-sheet")
        self.client.get("/reports/trial-balance")
