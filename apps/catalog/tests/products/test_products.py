"""Products, one by one."""

import asyncio

import pytest
from httpx import AsyncClient

from catalog.database import Sessions
from catalog.embedding import HashingEmbedder
from catalog.products import service
from catalog.products.schemas import ProductChange

from .waiting import until_waiting

CHAIR = {
    "sku": "CHR-OAK",
    "name": "Oak chair",
    "category_id": 7,
    "description": "Solid.",
    "attributes": {"colour": "brown"},
}


async def _add(client: AsyncClient, **change: object) -> int:
    made = await client.post("/products", json=CHAIR | change)
    assert made.status_code == 201
    id_: int = made.json()["id"]
    return id_


async def test_a_product_is_shown_as_it_was_added(ada: AsyncClient) -> None:
    """All that was sent comes back."""
    id_ = await _add(ada)
    shown = (await ada.get(f"/products/{id_}")).json()
    assert {name: shown[name] for name in CHAIR} == CHAIR


async def test_description_and_attributes_may_be_left_out(ada: AsyncClient) -> None:
    """Both are empty then."""
    needed = {name: CHAIR[name] for name in ("sku", "name", "category_id")}
    made = (await ada.post("/products", json=needed)).json()
    assert (made["description"], made["attributes"]) == ("", {})


async def test_a_sku_is_taken_once(ada: AsyncClient) -> None:
    """The answer says which one."""
    await _add(ada)
    refused = await ada.post("/products", json=CHAIR)
    assert (refused.status_code, refused.json()["title"]) == (409, "SKU taken")
    assert "CHR-OAK" in refused.json()["detail"]


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_a_category_must_exist(ada: AsyncClient, method: str) -> None:
    """Whether a product is added or changed."""
    path = "/products" if method == "POST" else f"/products/{await _add(ada, sku='other')}"
    body = CHAIR | {"category_id": 12345} if method == "POST" else {"category_id": 12345}
    refused = await ada.request(method, path, json=body)
    assert (refused.status_code, refused.json()["title"]) == (422, "Unknown category")


@pytest.mark.parametrize(
    "change",
    [{"name": "Ash chair"}, {"description": ""}, {"category_id": 8}, {"attributes": {}}, {}],
)
async def test_a_change_leaves_what_it_does_not_name(
    ada: AsyncClient, change: dict[str, object]
) -> None:
    """All of it."""
    id_ = await _add(ada)
    before = (await ada.get(f"/products/{id_}")).json()
    assert (await ada.patch(f"/products/{id_}", json=change)).json() == before | change


async def _found(client: AsyncClient, q: str) -> list[tuple[int, float]]:
    hits = (await client.get("/search", params={"q": q, "mode": "meaning"})).json()
    return [(hit["id"], hit["score"]) for hit in hits]


async def test_a_changed_product_is_found_by_its_new_words(ada: AsyncClient) -> None:
    """At once, and before one that has only some of them."""
    other = await _add(ada, sku="SPD", name="Spade", description="")
    id_ = await _add(ada)
    await ada.patch(f"/products/{id_}", json={"name": "Garden spade", "description": ""})
    assert [found for found, _ in await _found(ada, "garden spade")] == [id_, other]


@pytest.mark.db(isolation="commit")  # two connections, one of which waits for the other
async def test_changes_at_the_same_time_are_embedded_together(
    ada: AsyncClient, db_sessionmaker: Sessions
) -> None:
    """The second one's words are not embedded with those that the first has replaced."""
    id_ = await _add(ada)
    async with asyncio.TaskGroup() as tasks, db_sessionmaker.begin() as first:
        change = ProductChange(name="Garden spade")
        await service.change(first, HashingEmbedder(), id_, change)
        tasks.create_task(ada.patch(f"/products/{id_}", json={"description": "Digs."}))
        await until_waiting(first)
    ((found, score),) = await _found(ada, "garden spade digs")
    assert found == id_
    assert score > 0.99


@pytest.mark.db(isolation="commit")  # two connections, one of which waits for the other
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/products/{}", {"name": "Ash chair"}),
        ("PUT", "/products/{}/prices", {"currency": "EUR", "amount": "1"}),
    ],
    ids=["change", "price"],
)
async def test_what_waits_for_a_removal_finds_nothing(
    ada: AsyncClient, db_sessionmaker: Sessions, method: str, path: str, body: dict[str, str]
) -> None:
    """As if it had come afterwards."""
    id_ = await _add(ada)
    async with asyncio.TaskGroup() as tasks, db_sessionmaker.begin() as first:
        await service.remove(first, id_)
        request = tasks.create_task(ada.request(method, path.format(id_), json=body))
        await until_waiting(first)
    assert request.result().status_code == 404


async def test_a_removed_product_is_gone(ada: AsyncClient) -> None:
    """With its prices; its SKU is free again."""
    id_ = await _add(ada)
    await ada.put(f"/products/{id_}/prices", json={"currency": "EUR", "amount": "1"})
    assert (await ada.delete(f"/products/{id_}")).status_code == 204
    assert (await ada.get(f"/products/{id_}")).status_code == 404
    assert await _add(ada) != id_


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("PATCH", {}), ("DELETE", None)])
async def test_what_does_not_exist_is_not_found(
    ada: AsyncClient, method: str, body: dict[str, object] | None
) -> None:
    """The answer names it."""
    answer = await ada.request(method, "/products/12345", json=body)
    assert answer.status_code == 404
    assert "12345" in answer.json()["detail"]


@pytest.mark.parametrize(
    "change",
    [
        {"sku": ""},
        {"name": "x" * 201},
        {"name": "a\0b"},
        {"category_id": 0},
        {"category_id": 2**63},
        {"attributes": {"colour": 1}},
        {"attributes": {"a\0": "b"}},
        {"colour": "brown"},
    ],
)
async def test_what_is_no_product_is_refused(ada: AsyncClient, change: dict[str, object]) -> None:
    """Before it reaches the database; unknown fields are no silent loss."""
    assert (await ada.post("/products", json=CHAIR | change)).status_code == 422


async def test_pages_joined_are_the_whole(ada: AsyncClient) -> None:
    """In the order of ids; the last page says that it is the last."""
    ids = [await _add(ada, sku=f"CHR-{number}") for number in range(5)]
    found: list[int] = []
    after: int | None = 0
    pages = 0
    while after is not None:
        page = (await ada.get("/products", params={"limit": 2, "after": after})).json()
        found += [product["id"] for product in page["items"]]
        after, pages = page["after"], pages + 1
    assert (found, pages) == (ids, 3)


async def test_a_category_has_what_lies_below_it(ada: AsyncClient) -> None:
    """A chair is furniture, and for the home; it is not for the garden."""
    id_ = await _add(ada)
    listed = {}
    for category in (1, 6, 7, 10, 12345):
        page = (await ada.get("/products", params={"category": category})).json()
        listed[category] = [product["id"] for product in page["items"]]
    assert listed == {1: [id_], 6: [id_], 7: [id_], 10: [], 12345: []}
