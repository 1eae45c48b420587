import pytest

from bookings.models import Room


def new(building, **changes):
    return {"building_id": building.id, "name": "Babbage", "seats": 8, "price": "35.50"} | changes


async def test_create(client, building):
    response = await client.post("/rooms", json=new(building))
    assert response.status_code == 201
    assert response.json() == {"id": 1, "name": "Babbage", "seats": 8, "price": "35.50"}


async def test_name_is_unique_in_a_building(client, building, room):
    response = await client.post("/rooms", json=new(building, name=room.name))
    assert (response.status_code, response.json()["detail"]) == (
        409,
        "there is a room of this name",
    )
    assert (await client.post("/rooms", json=new(building))).status_code == 201


async def test_building_that_is_not_there(client, building):
    response = await client.post("/rooms", json=new(building, building_id=99))
    assert response.status_code == 404


@pytest.mark.parametrize("seats", [0, -1])
async def test_room_has_seats(client, building, seats):
    assert (await client.post("/rooms", json=new(building, seats=seats))).status_code == 422


async def test_price_is_not_negative(client, building):
    assert (await client.post("/rooms", json=new(building, price="-1"))).status_code == 422


@pytest.mark.parametrize("seats", range(1, 11))
async def test_rooms_by_seats(client, session, building, seats):
    sizes = {"C": 8, "A": 2, "B": 4}
    for name, number in sizes.items():
        session.add(Room(building_id=building.id, name=name, seats=number, price=1))
    await session.commit()
    response = await client.get("/rooms", params={"seats": seats})
    names = sorted(name for name, number in sizes.items() if number >= seats)
    assert [room["name"] for room in response.json()] == names


async def test_room(client, room):
    assert (await client.get(f"/rooms/{room.id}")).json()["name"] == "Lovelace"


async def test_room_that_is_not_there(client):
    assert (await client.get("/rooms/1")).status_code == 404


@pytest.mark.parametrize("stars", range(1, 6))
async def test_reviews(client, room, user, stars):
    url = f"/rooms/{room.id}/reviews"
    response = await client.post(url, json={"user_id": user.id, "stars": stars})
    assert response.json() == {"stars": stars}


async def test_one_review_for_each_user(client, room, user):
    url = f"/rooms/{room.id}/reviews"
    assert (await client.post(url, json={"user_id": user.id, "stars": 4})).status_code == 201
    assert (await client.post(url, json={"user_id": user.id, "stars": 1})).status_code == 409


@pytest.mark.parametrize("stars", [0, 6])
async def test_stars(client, room, user, stars):
    response = await client.post(
        f"/rooms/{room.id}/reviews", json={"user_id": user.id, "stars": stars}
    )
    assert response.status_code == 422
