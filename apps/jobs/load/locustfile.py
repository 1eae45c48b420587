"""Shops that place and pay orders, and an operator who looks at deliveries.

moon run jobs:load
"""

import os
import random

from locust import FastHttpUser, between, task

HEADERS = {"Authorization": f"Bearer {os.environ['JOBS_API_KEY']}"}


class Shop(FastHttpUser):
    """Sells."""

    wait_time = between(0.01, 0.1)
    weight = 10

    @task
    def sell(self) -> None:
        """Place an order, and have it paid."""
        total = f"{random.randint(1, 10_000) / 100:.2f}"  # noqa: S311 - no secret
        order = self.client.post(
            "/orders", json={"customer": "Ada", "total": total}, headers=HEADERS
        )
        self.client.post(
            f"/orders/{order.json()['id']}/payment", headers=HEADERS, name="/orders/.../payment"
        )


class Operator(FastHttpUser):
    """Looks after what could not be delivered."""

    wait_time = between(0.5, 1)
    weight = 1

    @task
    def look(self) -> None:
        """List dead letters."""
        self.client.get("/deliveries?state=dead", headers=HEADERS, name="/deliveries?state=dead")
