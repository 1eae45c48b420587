"""Importing many products at once, by COPY."""

import asyncio
import json
import threading

import pytest
from httpx import AsyncClient, Response
from sqlalchemy import text

from catalog.database import Sessions
from catalog.embedding import HashingEmbedder

from .waiting import until_waiting

LAMP = {"sku": "LMP", "name": "Lamp", "category_id": 9}
MUG = {"sku": "MUG", "name": "Mug", "category_id": 4, "attributes": {"colour": "red"}}


async def _import(client: AsyncClient, *lines: object) -> Response:
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    return await client.post("/products/import", content="\n".join(texts))


async def _names(client: AsyncClient) -> list[str]:
    return [product["name"] for product in (await client.get("/products")).json()["items"]]


async def test_products_are_added(ada: AsyncClient) -> None:
    """In the order of their SKUs, whatever that of the file."""
    assert (await _import(ada, MUG, LAMP)).json() == {"created": 2, "updated": 0}
    assert await _names(ada) == ["Lamp", "Mug"]


async def test_products_of_the_same_sku_are_renewed(ada: AsyncClient) -> None:
    """They keep their ids, and so their prices."""
    await _import(ada, LAMP)
    (before,) = (await ada.get("/products")).json()["items"]
    imported = await _import(ada, LAMP | {"name": "Reading lamp", "description": "Warm."}, MUG)
    assert imported.json() == {"created": 1, "updated": 1}
    renewed = (await ada.get(f"/products/{before['id']}")).json()
    assert renewed == before | {"name": "Reading lamp", "description": "Warm."}


async def test_what_was_imported_is_found(ada: AsyncClient) -> None:
    """By words and by meaning, as if it had been added by itself."""
    await _import(ada, LAMP, MUG)
    for mode in ("words", "meaning"):
        hits = (await ada.get("/search", params={"q": "lamps", "mode": mode})).json()
        assert hits[0]["sku"] == "LMP"


async def test_empty_lines_are_nothing(ada: AsyncClient) -> None:
    """Files end with one, as a rule."""
    assert (await _import(ada, "", LAMP, "  ", "")).json() == {"created": 1, "updated": 0}


async def test_an_empty_file_adds_nothing(ada: AsyncClient) -> None:
    """And is no error."""
    assert (await _import(ada)).json() == {"created": 0, "updated": 0}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("{", "Line 2"),
        ('{"sku": "x"}', "Line 2: Object missing required field `name`"),
        (LAMP | {"sku": "x", "category_id": 12345}, "Line 2: there is no category 12345"),
        (LAMP, "Line 2: 'LMP' stands in the file already"),
        (LAMP | {"sku": "x", "name": "a\0"}, "Line 2"),
        (LAMP | {"sku": "x", "price": 1}, "unknown field `price`"),
        (b"\xff".decode("latin-1"), "Line 2"),
    ],
    ids=["no JSON", "a field missing", "no category", "twice", "NUL", "unknown", "no object"],
)
async def test_a_bad_line_leaves_nothing(ada: AsyncClient, bad: object, reason: str) -> None:
    """The answer names the line and what is wrong; the good lines are not kept."""
    refused = await _import(ada, LAMP, bad, MUG)
    assert refused.status_code == 422
    assert reason in refused.json()["detail"]
    assert await _names(ada) == []


async def test_a_refused_file_can_be_mended(ada: AsyncClient) -> None:
    """The next attempt on the same connection finds nothing of the first."""
    await _import(ada, LAMP, "{")
    assert (await _import(ada, LAMP)).json() == {"created": 1, "updated": 0}


async def test_many_products_are_imported(ada: AsyncClient) -> None:
    """A thousand, in one request."""
    many = [LAMP | {"sku": f"LMP-{number}", "name": f"Lamp {number}"} for number in range(1000)]
    assert (await _import(ada, *many)).json() == {"created": 1000, "updated": 0}


async def test_the_server_goes_on_while_texts_are_embedded(
    ada: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each text waits here for the event loop, on which other requests are answered."""
    loop = asyncio.get_running_loop()
    embed = HashingEmbedder.embed

    def embed_later(self: HashingEmbedder, *texts: str) -> list[float]:
        went_on = threading.Event()
        loop.call_soon_threadsafe(went_on.set)
        assert went_on.wait(10)
        return embed(self, *texts)

    monkeypatch.setattr(HashingEmbedder, "embed", embed_later)
    assert (await _import(ada, LAMP, MUG)).json() == {"created": 2, "updated": 0}


@pytest.mark.db(isolation="commit")  # three connections that wait for each other
async def test_imports_at_the_same_time_take_turns(
    ada: AsyncClient, db_sessionmaker: Sessions
) -> None:
    """Whatever the order of their lines: each would else lock one that the other waits for."""
    lines = [LAMP | {"sku": sku} for sku in "ABC"]
    await _import(ada, *lines)
    async with asyncio.TaskGroup() as tasks, db_sessionmaker.begin() as between:
        await between.execute(text("SELECT FROM products WHERE sku = 'B' FOR UPDATE"))
        imports = [tasks.create_task(_import(ada, *each)) for each in (lines, lines[::-1])]
        await until_waiting(between, 2)
    assert [each.result().json() for each in imports] == 2 * [{"created": 0, "updated": 3}]
