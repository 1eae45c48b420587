import datetime as dt

import pytest
import pytest_asyncio

from bookings.models import Booking, Status


@pytest_asyncio.fixture
async def confirmed(session, room, user):
    booking = Booking(
        room_id=room.id,
        user_id=user.id,
        starts=dt.datetime(2026, 11, 2, 9),
        ends=dt.datetime(2026, 11, 2, 10),
        status=Status.CONFIRMED,
    )
    session.add(booking)
    await session.commit()
    return booking


@pytest_asyncio.fixture
async def invoice(client, organisation, confirmed):
    response = await client.post(f"/organisations/{organisation.id}/invoices")
    return response.json()


async def test_invoice(invoice):
    assert invoice == {"number": "2026-0001", "total": "20.00"}


async def test_billed_once(client, organisation, invoice):
    response = await client.post(f"/organisations/{organisation.id}/invoices")
    assert (response.status_code, response.json()["detail"]) == (409, "there is nothing to bill")


async def test_held_is_not_billed(client, session, organisation, confirmed):
    confirmed.status = Status.HELD
    await session.commit()
    response = await client.post(f"/organisations/{organisation.id}/invoices")
    assert response.status_code == 409


@pytest.mark.parametrize("amount", range(1, 26))
async def test_payment(client, invoice, amount):
    payment = {"amount": amount, "reference": "A1"}
    response = await client.post("/invoices/1/payments", json=payment)
    assert response.json() == {"left": f"{20 - amount}.00"}


async def test_payments_add_up(client, invoice):
    await client.post("/invoices/1/payments", json={"amount": "5", "reference": "A1"})
    response = await client.post("/invoices/1/payments", json={"amount": "5", "reference": "A2"})
    assert response.json() == {"left": "10.00"}


async def test_payment_that_is_known(client, invoice):
    payment = {"amount": "5", "reference": "A1"}
    assert (await client.post("/invoices/1/payments", json=payment)).status_code == 201
    assert (await client.post("/invoices/1/payments", json=payment)).status_code == 409


async def test_invoice_that_is_not_there(client):
    payment = {"amount": "5", "reference": "A1"}
    assert (await client.post("/invoices/1/payments", json=payment)).status_code == 404
