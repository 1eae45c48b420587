"""Customers who search and look at prices, and a shop that changes its products.

moon run catalog:load
"""

import random

from locust import FastHttpUser, between, task

HEADERS = {"Authorization": "Bearer demo"}
WORDS = ("oak chair", "reading lamp", "kettle", "headphons", "sharp spade", "mug")


class Customer(FastHttpUser):
    """Looks for something, and at what it costs."""

    wait_time = between(0.01, 0.1)
    weight = 10

    @task
    def look(self) -> None:
        """Search, and ask for the first hit's price."""
        word = random.choice(WORDS)  # noqa: S311 - no secret
        hits = self.client.get(f"/search?q={word}", headers=HEADERS, name="/search").json()
        path = f"/products/{hits[0]['id']}/price?currency=EUR"
        self.client.get(path, headers=HEADERS, name="/products/.../price")


class Shop(FastHttpUser):
    """Renews its products."""

    wait_time = between(0.5, 1)
    weight = 1

    @task
    def renew(self) -> None:
        """Import a hundred products."""
        lines = (
            f'{{"sku": "LOAD-{number}", "name": "Lamp {number}", "category_id": 9}}'
            for number in range(100)
        )
        self.client.post("/products/import", data="\n".join(lines), headers=HEADERS)
