"""Products, one by one."""

import pytest
from httpx import AsyncClient

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
    """And is found by its new words at once."""
    id_ = await _add(ada)
    before = (await ada.get(f"/products/{id_}")).json()
    assert (await ada.patch(f"/products/{id_}", json=change)).json() == before | change


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
