"""Listings come in pages, newest first."""

from httpx import AsyncClient


async def _publish(client: AsyncClient, number: int) -> int:
    body = {"type": "order.placed", "payload": {"number": number}}
    id_: int = (await client.post("/events", json=body)).json()["id"]
    return id_


async def test_pages_joined_are_the_whole(client: AsyncClient) -> None:
    """Each begins where the one before ended, and the last one says that it is the last."""
    ids = [await _publish(client, number) for number in range(5)]
    found: list[int] = []
    before: int | None = None
    pages = 0
    while pages == 0 or before is not None:
        query = {"limit": 2} | ({} if before is None else {"before": before})
        page = (await client.get("/events", params=query)).json()
        found += [event["id"] for event in page["items"]]
        before, pages = page["before"], pages + 1
    assert (found, pages) == (ids[::-1], 3)


async def test_a_full_last_page_is_the_last(client: AsyncClient) -> None:
    """No empty page follows it."""
    for number in range(2):
        await _publish(client, number)
    assert (await client.get("/events", params={"limit": 2})).json()["before"] is None


async def test_what_comes_meanwhile_moves_no_page(client: AsyncClient) -> None:
    """An event between two requests shows on neither page."""
    first, second = [await _publish(client, number) for number in range(2)]
    page = (await client.get("/events", params={"limit": 1})).json()
    await _publish(client, 2)
    next_page = (await client.get("/events", params={"before": page["before"]})).json()
    assert [page["items"][0]["id"], next_page["items"][0]["id"]] == [second, first]


async def test_a_page_has_bounds(client: AsyncClient) -> None:
    """Nobody asks for everything, or for nothing."""
    for limit in (0, 201):
        assert (await client.get("/events", params={"limit": limit})).status_code == 422
