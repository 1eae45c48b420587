"""Orders, and the events that tell of them."""

import asyncio
from decimal import Decimal

import pytest
from httpx import AsyncClient
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from jobs.events.models import Event
from jobs.orders import service
from jobs.orders.errors import OrderPaidError
from jobs.orders.models import Order
from jobs.orders.schemas import OrderIn

ORDER = OrderIn(customer="Ada", total=Decimal("12.30"))


async def _types(session: AsyncSession) -> list[str]:
    return list(await session.scalars(select(Event.type).order_by(Event.id)))


async def test_an_order_is_placed_and_paid(client: AsyncClient) -> None:
    """Amounts are decimal, as texts, from end to end."""
    placed = (await client.post("/orders", json={"customer": "Ada", "total": "12.30"})).json()
    paid = (await client.post(f"/orders/{placed['id']}/payment")).json()
    shown = (await client.get(f"/orders/{placed['id']}")).json()
    assert placed["total"] == "12.30"
    assert placed["paid_at"] is None
    assert shown == paid
    assert paid["paid_at"] is not None


@pytest.mark.parametrize(("typed", "shown"), [("5", "5.00"), ("1E+5", "100000.00")])
async def test_an_amount_is_shown_alike_everywhere(
    client: AsyncClient, db: AsyncSession, typed: str, shown: str
) -> None:
    """However it was typed: in each answer, and in each event."""
    placed = (await client.post("/orders", json={"customer": "Ada", "total": typed})).json()
    paid = (await client.post(f"/orders/{placed['id']}/payment")).json()
    published = await db.scalars(select(Event.payload).order_by(Event.id))
    told = [payload["total"] for payload in published]
    assert [placed["total"], paid["total"], *told] == 4 * [shown]


async def test_each_change_is_published(db: AsyncSession) -> None:
    """In the order in which they happened."""
    order = await service.place(db, ORDER)
    await service.pay(db, order.id)
    assert await _types(db) == ["order.placed", "order.paid"]


async def test_an_event_says_what_happened(db: AsyncSession) -> None:
    """A receiver needs no second request to learn it."""
    order = await service.place(db, ORDER)
    event = (await db.scalars(select(Event))).one()
    assert event.payload == {"order": order.id, "customer": "Ada", "total": "12.30"}


async def test_what_is_rolled_back_was_never_published(db: AsyncSession) -> None:
    """Neither the order nor its event is left."""
    await service.place(db, ORDER)
    await db.rollback()
    assert await _types(db) == []
    assert (await db.scalars(select(Order))).all() == []


async def test_a_second_payment_is_refused(client: AsyncClient) -> None:
    """The answer says when the first one came."""
    placed = (await client.post("/orders", json={"customer": "Ada", "total": "1"})).json()
    paid = (await client.post(f"/orders/{placed['id']}/payment")).json()
    refused = await client.post(f"/orders/{placed['id']}/payment")
    assert refused.status_code == 409
    assert paid["paid_at"][:10] in refused.json()["detail"]


async def test_a_refused_payment_publishes_nothing(db: AsyncSession) -> None:
    """One order, one payment, one event of it."""
    order = await service.place(db, ORDER)
    await service.pay(db, order.id)
    with pytest.raises(OrderPaidError):
        await service.pay(db, order.id)
    assert await _types(db) == ["order.placed", "order.paid"]


@pytest.mark.db(isolation="commit")  # two connections that wait for each other
async def test_of_two_payments_at_the_same_time_one_wins(
    db_sessionmaker: async_sessionmaker[AsyncSession],
) -> None:
    """The second waits for the first one's commit, and sees it."""
    async with db_sessionmaker.begin() as session:
        order = await service.place(session, ORDER)

    async def pay() -> bool:
        async with db_sessionmaker.begin() as session:
            await service.pay(session, order.id)
        return True

    results = await asyncio.gather(pay(), pay(), return_exceptions=True)
    assert sorted(map(type, results), key=str) == sorted([bool, OrderPaidError], key=str)


@pytest.mark.parametrize(
    "change",
    [
        {"total": "0"},
        {"total": "-1"},
        {"total": "1.005"},
        {"total": 1.5},
        {"total": True},
        {"customer": ""},
        {"customer": "a\0"},
    ],
)
async def test_what_is_no_order_is_refused(client: AsyncClient, change: dict[str, object]) -> None:
    """Before it reaches the database."""
    body = {"customer": "Ada", "total": "1"} | change
    assert (await client.post("/orders", json=body)).status_code == 422


async def test_nobody_pays_an_order_that_does_not_exist(client: AsyncClient) -> None:
    """It is not found, as it is for those who look at it."""
    assert (await client.post("/orders/12345/payment")).status_code == 404
