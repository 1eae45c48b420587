"""What the generated tests do, each as often as its weight says."""

import decimal
import itertools
import uuid

import pytest
import services
from httpx import AsyncClient
from models import shops
from sqlalchemy.ext.asyncio import AsyncSession

LINES = [("tea", 2, decimal.Decimal("3.50")), ("cup", 1, decimal.Decimal("8.00"))]


def address() -> str:
    """Return one that no other test has: some variants undo nothing."""
    return f"{uuid.uuid4().hex}@example.com"


async def serves_an_order(db: AsyncSession, shop: int, weight: int) -> None:
    """A service commits, and reads back what it has committed."""
    customer = await services.register(db, shops[shop], address(), "Ada")
    for _ in range(weight):
        order = await services.place(db, shops[shop], customer.id, LINES)
        assert await services.total(db, shops[shop], order.id) == decimal.Decimal("15.00")
    assert len(await services.orders_of(db, shops[shop], customer.id)) == weight


async def refuses_a_payment(db: AsyncSession, shop: int, weight: int) -> None:
    """A service raises, and has rolled back."""
    customer = await services.register(db, shops[shop], address(), "Bob")
    customer_id = customer.id  # a rollback forgets what is known of a customer
    for _ in range(weight):
        order_id = (await services.place(db, shops[shop], customer_id, LINES)).id
        await services.pay(db, shops[shop], order_id)
        with pytest.raises(services.NotPayable):
            await services.pay(db, shops[shop], order_id)


async def meets_a_constraint(db: AsyncSession, shop: int, weight: int) -> None:
    """A constraint fails, and the session goes on."""
    for _ in range(weight):
        email = address()
        await services.register(db, shops[shop], email, "Cy")
        with pytest.raises(services.Taken):
            await services.register(db, shops[shop], email, "Cyan")
        await services.register(db, shops[shop], address(), "Cyan")


async def answers_requests(client: AsyncClient, shop: int, weight: int) -> None:
    """Requests, each with a session of its own, see what those before have committed."""
    new = {"email": address(), "name": "Di"}
    customer = (await client.post(f"/shops/{shop}/customers", json=new)).json()["id"]
    lines = [{"product": "tea", "quantity": 2, "price": "3.50"}]
    for _ in range(weight):
        body = {"customer_id": customer, "lines": lines}
        order = (await client.post(f"/shops/{shop}/orders", json=body)).json()["id"]
        paid = await client.post(f"/shops/{shop}/orders/{order}/payment")
        assert paid.json() == {"amount": "7.00"}
    listed = await client.get(f"/shops/{shop}/customers/{customer}/orders")
    assert [order["state"] for order in listed.json()] == weight * ["paid"]


async def answers_a_conflict(client: AsyncClient, shop: int, weight: int) -> None:
    """A request fails, and the next one does not."""
    for _ in range(weight):
        new = {"email": address(), "name": "Eve"}
        statuses = [
            (await client.post(f"/shops/{shop}/customers", json=new)).status_code for _ in range(2)
        ]
        assert statuses == [201, 409]


def computes(weight: int) -> None:
    """No database at all."""
    for _ in range(weight):
        prices = list(itertools.accumulate(decimal.Decimal(n) / 100 for n in range(2000)))
        assert prices[-1] == decimal.Decimal("19990.00")
