"""Search: by words, by likeness, by meaning, and by all of them."""

import pytest
from httpx import AsyncClient

PRODUCTS = {
    "CHR": ("Oak chair", "For the dining table, of solid oak.", 7),
    "TBL": ("Dining table", "Seats six, with chairs around it.", 8),
    "LMP": ("Reading lamp", "Warm light beside the sofa.", 9),
    "SPD": ("Spade", "Digs in heavy ground. Not for reading.", 11),
}


@pytest.fixture
async def shop(ada: AsyncClient) -> AsyncClient:
    """Add products to search in."""
    for sku, (name, description, category_id) in PRODUCTS.items():
        body = {"sku": sku, "name": name, "description": description, "category_id": category_id}
        assert (await ada.post("/products", json=body)).status_code == 201
    return ada


async def _found(client: AsyncClient, q: str, mode: str, **options: object) -> list[str]:
    answer = await client.get("/search", params={"q": q, "mode": mode} | options)  # type: ignore[arg-type]
    assert answer.status_code == 200
    return [hit["sku"] for hit in answer.json()]


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("chairs", ["CHR", "TBL"]),
        ("reading", ["LMP", "SPD"]),
        ("dining oak", ["CHR"]),
        ('"dining table"', ["TBL", "CHR"]),
        ("reading -lamp", ["SPD"]),
        ("spade or sofa", ["SPD", "LMP"]),
        ("nothing", []),
        ("the", []),
        ('"', []),
        ("a & | ! ( :*", []),
    ],
)
async def test_words_are_found_in_any_form(shop: AsyncClient, q: str, found: list[str]) -> None:
    """In names before descriptions; phrases, `or` and `-` are understood; nothing is an error."""
    assert await _found(shop, q, "words") == found


@pytest.mark.parametrize(("q", "first"), [("reding lamp", "LMP"), ("dinning tabel", "TBL")])
async def test_names_are_found_in_spite_of_typing_errors(
    shop: AsyncClient, q: str, first: str
) -> None:
    """By the likeness of their letters."""
    assert (await _found(shop, q, "likeness"))[:1] == [first]


async def test_no_name_is_like_something_else(shop: AsyncClient) -> None:
    """Likeness has a threshold."""
    assert await _found(shop, "xylophone", "likeness") == []


async def test_meaning_ranks_everything(shop: AsyncClient) -> None:
    """The nearest first, and the rest behind it."""
    found = await _found(shop, "chair made of oak", "meaning")
    assert found[0] == "CHR"
    assert set(found) == set(PRODUCTS)


async def test_what_several_ways_find_comes_first(shop: AsyncClient) -> None:
    """A typing error leaves likeness and meaning."""
    assert (await _found(shop, "reading lamp", "hybrid"))[0] == "LMP"
    assert (await _found(shop, "reeding lamp", "hybrid"))[0] == "LMP"


async def test_hybrid_is_the_default(shop: AsyncClient) -> None:
    """Who names no way gets all of them."""
    named = (await shop.get("/search", params={"q": "chair", "mode": "hybrid"})).json()
    assert (await shop.get("/search", params={"q": "chair"})).json() == named


@pytest.mark.parametrize("mode", ["words", "likeness", "meaning", "hybrid"])
async def test_a_search_stays_in_its_category(shop: AsyncClient, mode: str) -> None:
    """Those below it included."""
    assert await _found(shop, "chair", mode, category=10) in ([], ["SPD"])
    assert "CHR" in await _found(shop, "chair", mode, category=1)


async def test_an_answer_has_as_many_as_were_asked_for(shop: AsyncClient) -> None:
    """The best ones."""
    whole = await _found(shop, "chair", "meaning")
    assert await _found(shop, "chair", "meaning", limit=2) == whole[:2]


async def test_a_headline_marks_what_was_found(shop: AsyncClient) -> None:
    """In the form in which it stands there."""
    (hit,) = (await shop.get("/search", params={"q": "dig", "mode": "words"})).json()
    assert "<b>Digs</b>" in hit["headline"]


@pytest.mark.parametrize(
    "description",
    [
        "<img src=x onerror=alert(1) ",
        "</b><script>alert(1)</script>",
        "\x02<b>\x03 \x02bold",
        'with "quotes" & <more',
    ],
)
async def test_a_headline_is_html_and_its_text_is_not(ada: AsyncClient, description: str) -> None:
    """Whoever shows it shows what the tenant wrote, and runs none of it."""
    body = {"sku": "X", "name": "Armchair", "description": description, "category_id": 7}
    assert (await ada.post("/products", json=body)).status_code == 201
    (hit,) = (await ada.get("/search", params={"q": "armchair", "mode": "words"})).json()
    marked, _, rest = hit["headline"].partition("</b>")
    assert marked == "<b>Armchair"
    assert not set('<>"') & set(rest)


async def test_scores_fall(shop: AsyncClient) -> None:
    """The order of an answer is that of its scores."""
    for mode in ("words", "likeness", "meaning", "hybrid"):
        answer = (await shop.get("/search", params={"q": "reading chair", "mode": mode})).json()
        scores = [hit["score"] for hit in answer]
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"q": ""},
        {"q": "x" * 201},
        {"q": "a\0"},
        {"q": "x", "mode": "magic"},
        {"q": "x", "limit": 0},
    ],
)
async def test_what_is_no_search_is_refused(ada: AsyncClient, query: dict[str, str]) -> None:
    """Before it reaches the database."""
    assert (await ada.get("/search", params=query)).status_code == 422
