import pytest
from sqlalchemy import func, select

from bookings.models import Attendee, AuditEntry, Booking


def new(room, user, starts=9, ends=10, **changes):
    times = {"starts": f"2026-11-02T{starts:02}:00:00", "ends": f"2026-11-02T{ends:02}:00:00"}
    return {"room_id": room.id, "user_id": user.id} | times | changes


async def test_book(client, room, user):
    response = await client.post("/bookings", json=new(room, user))
    assert response.status_code == 201
    assert response.json()["id"] == 1
    assert response.json()["status"] == "held"


async def test_attendees(client, session, room, user):
    emails = ["grace@example.org", "alan@example.org"]
    await client.post("/bookings", json=new(room, user, attendees=emails))
    assert set(await session.scalars(select(Attendee.email))) == set(emails)


@pytest.mark.parametrize("number", range(7))
async def test_seats(client, session, room, user, number):
    attendees = [f"{name}@example.org" for name in "abcdefg"[:number]]
    response = await client.post("/bookings", json=new(room, user, attendees=attendees))
    fits = number <= room.seats
    assert response.status_code == (201 if fits else 422)
    assert await session.scalar(select(func.count()).select_from(Booking)) == fits


HOURS = [(starts, ends) for starts in range(6, 13) for ends in range(starts + 1, 14)]


@pytest.mark.parametrize(("starts", "ends"), HOURS)
async def test_overlap(client, room, user, starts, ends):
    await client.post("/bookings", json=new(room, user, 9, 11))
    response = await client.post("/bookings", json=new(room, user, starts, ends))
    assert response.status_code == (409 if starts < 11 and ends > 9 else 201)


async def test_ends_before_it_starts(client, room, user):
    assert (await client.post("/bookings", json=new(room, user, 10, 9))).status_code == 422


async def test_room_that_is_not_there(client, room, user):
    response = await client.post("/bookings", json=new(room, user, room_id=7))
    assert response.json()["detail"] == "Room 7 is not there"


async def test_user_that_is_not_there(client, room, user):
    response = await client.post("/bookings", json=new(room, user, user_id=7))
    assert response.json()["detail"] == "User 7 is not there"


async def test_confirm(client, room, user):
    await client.post("/bookings", json=new(room, user))
    assert (await client.post("/bookings/1/confirm")).json()["status"] == "confirmed"
    assert (await client.post("/bookings/1/confirm")).status_code == 409


async def test_cancelled_is_free_again(client, room, user):
    await client.post("/bookings", json=new(room, user))
    assert (await client.post("/bookings/1/cancel")).json()["status"] == "cancelled"
    assert (await client.post("/bookings", json=new(room, user))).status_code == 201


async def test_cancelled_is_not_confirmed(client, room, user):
    await client.post("/bookings", json=new(room, user))
    await client.post("/bookings/1/cancel")
    response = await client.post("/bookings/1/confirm")
    assert (response.status_code, response.json()["detail"]) == (409, "it is cancelled")


async def test_booking_that_is_not_there(client):
    assert (await client.post("/bookings/1/cancel")).status_code == 404


@pytest.mark.parametrize(("starts", "ends"), HOURS)
async def test_free(client, room, user, starts, ends):
    await client.post("/bookings", json=new(room, user, 9, 11))
    times = new(room, user, starts, ends)
    params = {"starts": times["starts"], "ends": times["ends"]}
    response = await client.get(f"/rooms/{room.id}/free", params=params)
    assert response.json() is not (starts < 11 and ends > 9)


async def test_audit(client, session, room, user):
    await client.post("/bookings", json=new(room, user))
    await client.post("/bookings/1/confirm")
    entries = (await session.scalars(select(AuditEntry.what).order_by(AuditEntry.id))).all()
    assert entries == ["booked", "confirmed"]


async def test_notification_of_a_background_task(client, room, user):
    await client.post("/bookings", json=new(room, user))
    response = await client.get(f"/users/{user.id}/notifications")
    assert response.json() == ["Lovelace is held for you"]


async def test_no_notification_without_a_booking(client, user):
    assert (await client.get(f"/users/{user.id}/notifications")).json() == []
