"""Prices, and what they were at any moment."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from httpx import AsyncClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncSession

from catalog import tenants
from catalog.database import become
from catalog.embedding import HashingEmbedder
from catalog.prices import service
from catalog.prices.errors import InvalidPriceError, NoPriceError
from catalog.prices.schemas import PriceIn
from catalog.products import service as products
from catalog.products.schemas import ProductIn

NEW_YEAR = "2026-01-01T00:00:00Z"


@pytest.fixture
async def lamp(ada: AsyncClient) -> int:
    """Add a product without a price."""
    made = await ada.post("/products", json={"sku": "LMP", "name": "Lamp", "category_id": 9})
    id_: int = made.json()["id"]
    return id_


async def _put(client: AsyncClient, id_: int, amount: str, **change: object) -> None:
    body = {"currency": "EUR", "amount": amount, "valid_from": NEW_YEAR} | change
    assert (await client.put(f"/products/{id_}/prices", json=body)).status_code == 200


async def _at(client: AsyncClient, id_: int, moment: str, currency: str = "EUR") -> object:
    query = {"currency": currency, "at": moment}
    answer = await client.get(f"/products/{id_}/price", params=query)
    return answer.json()["amount"] if answer.status_code == 200 else answer.status_code


async def test_a_price_is_a_decimal_text(ada: AsyncClient, lamp: int) -> None:
    """No float on its way, and always with its cents."""
    body = {"currency": "EUR", "amount": "0.1", "valid_from": NEW_YEAR}
    answer = (await ada.put(f"/products/{lamp}/prices", json=body)).json()
    assert answer == {"currency": "EUR", "amount": "0.10", "valid_from": NEW_YEAR}


async def test_a_price_holds_until_the_next_one(ada: AsyncClient, lamp: int) -> None:
    """From its moment on, that moment included."""
    await _put(ada, lamp, "10.00")
    await _put(ada, lamp, "12.00", valid_from="2026-06-01T00:00:00Z")
    moments = [
        "2025-12-31T23:59:59.999999Z",
        NEW_YEAR,
        "2026-05-31T23:59:59Z",
        "2026-06-01T00:00:00Z",
    ]
    assert [await _at(ada, lamp, each) for each in moments] == [404, "10.00", "10.00", "12.00"]


async def test_moments_are_compared_across_offsets(ada: AsyncClient, lamp: int) -> None:
    """Midnight in Berlin is an hour before midnight in London."""
    await _put(ada, lamp, "10.00", valid_from="2026-01-01T00:00:00+01:00")
    assert await _at(ada, lamp, "2025-12-31T23:00:00Z") == "10.00"
    assert await _at(ada, lamp, "2025-12-31T22:59:59Z") == 404


async def test_currencies_have_prices_of_their_own(ada: AsyncClient, lamp: int) -> None:
    """None is converted into another."""
    await _put(ada, lamp, "10.00")
    await _put(ada, lamp, "11.50", currency="USD")
    assert await _at(ada, lamp, NEW_YEAR, "USD") == "11.50"
    assert await _at(ada, lamp, NEW_YEAR, "CHF") == 404


async def test_a_price_is_corrected_in_its_place(ada: AsyncClient, lamp: int) -> None:
    """The history has one of each moment."""
    await _put(ada, lamp, "10.00")
    await _put(ada, lamp, "11.00")
    history = (await ada.get(f"/products/{lamp}/prices")).json()
    assert [price["amount"] for price in history] == ["11.00"]


async def test_the_history_is_newest_first(ada: AsyncClient, lamp: int) -> None:
    """As much of it as was asked for."""
    for month in range(1, 5):
        await _put(ada, lamp, f"{month}.00", valid_from=f"2026-{month:02}-01T00:00:00Z")
    history = (await ada.get(f"/products/{lamp}/prices", params={"limit": 3})).json()
    assert [price["amount"] for price in history] == ["4.00", "3.00", "2.00"]


async def test_without_a_moment_a_price_holds_from_now_on(ada: AsyncClient, lamp: int) -> None:
    """And without a moment the present price is shown."""
    await ada.put(f"/products/{lamp}/prices", json={"currency": "EUR", "amount": "5"})
    now = await ada.get(f"/products/{lamp}/price", params={"currency": "EUR"})
    assert now.json()["amount"] == "5.00"


@pytest.mark.parametrize(
    "change",
    [
        {"amount": "-0.01"},
        {"amount": "0.001"},
        {"amount": "10000000000"},
        {"amount": "NaN"},
        {"amount": "Infinity"},
        {"amount": "much"},
        {"currency": "eur"},
        {"currency": "EURO"},
        {"valid_from": "2026-01-01T00:00:00"},
        {"valid_from": "1969-12-31T23:59:59Z"},
        {"valid_from": "2200-01-01T00:00:00Z"},
        {"valid_from": "0001-01-01T00:00:00+14:00"},
    ],
)
async def test_what_is_no_price_is_refused(
    ada: AsyncClient, lamp: int, change: dict[str, str]
) -> None:
    """Before it reaches the database."""
    body = {"currency": "EUR", "amount": "1", "valid_from": NEW_YEAR} | change
    assert (await ada.put(f"/products/{lamp}/prices", json=body)).status_code == 422


async def test_a_moment_without_an_offset_is_refused(ada: AsyncClient, lamp: int) -> None:
    """It could be meant anywhere."""
    assert await _at(ada, lamp, "2026-01-01T00:00:00") == 422


@pytest.mark.parametrize(
    "moment",
    [
        "0001-01-01T00:00:00+14:00",
        "1969-12-31T23:59:59Z",
        "2200-01-01T00:00:00Z",
        "9999-12-31T23:59:59-01:00",
    ],
)
async def test_a_moment_that_no_price_has_is_refused(
    ada: AsyncClient, lamp: int, moment: str
) -> None:
    """Also if it lies outside of the calendar once its offset is counted."""
    assert await _at(ada, lamp, moment) == 422


@pytest.mark.parametrize("path", ["/products/12345/prices", "/products/12345/price?currency=EUR"])
async def test_a_product_that_does_not_exist_has_no_price(ada: AsyncClient, path: str) -> None:
    """It is not found itself."""
    assert (await ada.get(path)).json()["title"] == "Product not found"


HOURS = st.integers(0, 20_000).map(
    lambda hours: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hours)
)
AMOUNTS = st.decimals(0, 9_999_999_999, places=2)


@given(
    set_=st.lists(st.tuples(HOURS, AMOUNTS, st.sampled_from(["EUR", "USD"])), max_size=8),
    asked=st.lists(st.tuples(HOURS, st.sampled_from(["EUR", "USD"])), min_size=1, max_size=5),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
async def test_prices_are_as_a_model_has_them(
    db_layer: Callable[[], AbstractAsyncContextManager[AsyncSession]],
    set_: list[tuple[datetime, Decimal, str]],
    asked: list[tuple[datetime, str]],
) -> None:
    """Whatever is set, in whatever order, over partitions or not."""
    model: dict[tuple[str, datetime], Decimal] = {}
    async with db_layer() as session:
        tenant, _ = await tenants.add(session, "Ada's")
        await become(session, tenant.id)
        data = ProductIn(sku="LMP", name="Lamp", category_id=9)
        product = await products.create(session, HashingEmbedder(), tenant.id, data)
        for moment, amount, currency in set_:
            model[currency, moment] = amount
            await service.put(session, product.id, PriceIn(currency, amount, moment))
        for moment, currency in asked:
            known = [key for key in model if key[0] == currency and key[1] <= moment]
            try:
                found = (await service.at(session, product.id, currency, moment)).amount
            except NoPriceError:
                assert not known
            else:
                assert found == model[max(known)]


@given(amount=st.decimals(allow_nan=True, allow_infinity=True))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
async def test_only_what_an_account_holds_is_an_amount(
    db_layer: Callable[[], AbstractAsyncContextManager[AsyncSession]], amount: Decimal
) -> None:
    """Two decimals, not negative, below 10,000,000,000; what is accepted comes back equal."""
    async with db_layer() as session:
        tenant, _ = await tenants.add(session, "Ada's")
        await become(session, tenant.id)
        data = ProductIn(sku="LMP", name="Lamp", category_id=9)
        product = await products.create(session, HashingEmbedder(), tenant.id, data)
        try:
            price = await service.put(session, product.id, PriceIn("EUR", amount))
        except InvalidPriceError:
            whole = amount.is_finite() and amount * 100 == int(amount * 100)
            assert not (whole and 0 <= amount < 10**10)
        else:
            assert price.amount == amount
