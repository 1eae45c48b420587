"""Storing exchange rates and finding them."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient, Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from backend.rates import service
from backend.rates.errors import RateNotFoundError
from backend.rates.schemas import RateIn
from backend.users.service import Book

from ..people import book_of, sign_up

Rate = tuple[str, str, str, str]


async def _store(client: AsyncClient, *rates: Rate) -> None:
    keys = ("date", "base", "quote", "rate")
    response = await client.put("/rates", json=[dict(zip(keys, r, strict=True)) for r in rates])
    assert response.json()["stored"] == len(rates), response.text


async def _convert(client: AsyncClient, base: str, quote: str, on: str) -> dict[str, Any]:
    params = {"base": base, "quote": quote, "on": on}
    response = await client.get("/rates/conversion", params=params)
    assert response.status_code == 200, response.text
    conversion: dict[str, Any] = response.json()
    return conversion


@pytest.mark.parametrize(
    ("on", "rate", "date"),
    [
        ("2026-01-05", "1.1", "2026-01-05"),
        ("2026-01-08", "1.1", "2026-01-05"),
        ("2026-01-09", "1.2", "2026-01-09"),
        ("2030-01-01", "1.2", "2026-01-09"),
    ],
)
async def test_the_newest_rate_on_or_before_the_day_counts(
    ada: AsyncClient, on: str, rate: str, date: str
) -> None:
    """A weekend has Friday's rate; what was published later is not known yet."""
    await _store(ada, ("2026-01-05", "EUR", "USD", "1.10"), ("2026-01-09", "EUR", "USD", "1.20"))

    conversion = await _convert(ada, "EUR", "USD", on)

    assert (conversion["rate"], conversion["date"]) == (rate, date)


async def test_before_the_first_rate_there_is_none(ada: AsyncClient) -> None:
    """A rate of the future is not taken for the past."""
    await _store(ada, ("2026-01-05", "EUR", "USD", "1.10"))
    params = {"base": "EUR", "quote": "USD", "on": "2026-01-04"}

    response = await ada.get("/rates/conversion", params=params)

    assert (response.status_code, response.json()["type"]) == (404, "/problems/rate-not-found")


async def test_a_currency_costs_one_of_itself(ada: AsyncClient) -> None:
    """Without any rate stored."""
    conversion = await _convert(ada, "EUR", "EUR", "2026-01-05")

    assert (conversion["rate"], conversion["date"], conversion["legs"]) == ("1", None, [])


async def test_a_rate_is_inverted_when_only_the_other_direction_is_known(ada: AsyncClient) -> None:
    """One euro for 1.25 dollars is one dollar for 0.80 euros."""
    await _store(ada, ("2026-01-05", "EUR", "USD", "1.25"))

    assert (await _convert(ada, "USD", "EUR", "2026-01-05"))["rate"] == "0.8"


async def test_the_newer_direction_counts(ada: AsyncClient) -> None:
    """An old direct rate does not hide a new inverse one."""
    await _store(ada, ("2026-01-05", "USD", "EUR", "0.90"), ("2026-01-09", "EUR", "USD", "1.25"))

    assert (await _convert(ada, "USD", "EUR", "2026-01-09"))["rate"] == "0.8"


async def test_on_the_same_day_the_direct_rate_counts(ada: AsyncClient) -> None:
    """Banks publish both directions, each rounded by itself."""
    await _store(ada, ("2026-01-05", "USD", "EUR", "0.90"), ("2026-01-05", "EUR", "USD", "1.25"))

    assert (await _convert(ada, "USD", "EUR", "2026-01-05"))["rate"] == "0.9"


async def test_two_rates_are_led_through_the_books_currency(ada: AsyncClient) -> None:
    """Dollars to yen through euros: 160 / 1.25 = 128. The older of the two gives the date."""
    await _store(ada, ("2026-01-05", "EUR", "USD", "1.25"), ("2026-01-09", "EUR", "JPY", "160"))

    conversion = await _convert(ada, "USD", "JPY", "2026-01-09")

    assert (conversion["rate"], conversion["date"]) == ("128", "2026-01-05")
    assert [leg["quote"] for leg in conversion["legs"]] == ["USD", "JPY"]


async def test_the_euro_is_a_pivot_for_books_in_other_currencies(app: FastAPI) -> None:
    """Kim keeps her books in francs and has the central bank's rates, which are to the euro."""
    kim = await sign_up(app, "kim", "CHF")
    await _store(kim, ("2026-01-05", "EUR", "USD", "1.25"), ("2026-01-05", "EUR", "CHF", "0.95"))

    assert (await _convert(kim, "CHF", "USD", "2026-01-05"))["rate"] == "1.31578947368"


async def test_the_books_currency_comes_before_the_euro(app: FastAPI) -> None:
    """Who stores rates to their own currency wants these to be used."""
    kim = await sign_up(app, "kim", "CHF")
    await _store(
        kim,
        ("2026-01-05", "EUR", "USD", "1.25"),
        ("2026-01-05", "EUR", "JPY", "160"),
        ("2026-01-05", "CHF", "USD", "1.30"),
        ("2026-01-05", "CHF", "JPY", "169"),
    )

    assert (await _convert(kim, "USD", "JPY", "2026-01-05"))["rate"] == "130"


async def test_a_stored_pair_comes_before_any_pivot(ada: AsyncClient) -> None:
    """Even when the rates to the pivot are newer."""
    await _store(
        ada,
        ("2026-01-01", "USD", "JPY", "150"),
        ("2026-01-05", "EUR", "USD", "1.25"),
        ("2026-01-05", "EUR", "JPY", "160"),
    )

    assert (await _convert(ada, "USD", "JPY", "2026-01-05"))["rate"] == "150"


async def test_one_pivot_is_the_limit(ada: AsyncClient) -> None:
    """A chain through three currencies would be anybody's guess."""
    await _store(ada, ("2026-01-05", "USD", "GBP", "0.8"), ("2026-01-05", "GBP", "JPY", "200"))
    params = {"base": "USD", "quote": "JPY", "on": "2026-01-05"}

    assert (await ada.get("/rates/conversion", params=params)).status_code == 404


async def test_today_is_meant_unless_a_day_is_given(ada: AsyncClient) -> None:
    """Yesterday's rate is found today, tomorrow's is not."""
    today = dt.datetime.now(dt.UTC).date()
    past, future = today - dt.timedelta(days=1), today + dt.timedelta(days=2)
    await _store(ada, (str(past), "EUR", "USD", "1.10"), (str(future), "EUR", "USD", "1.20"))

    response = await ada.get("/rates/conversion", params={"base": "EUR", "quote": "USD"})

    assert response.json()["rate"] == "1.1"


async def test_a_rate_can_be_corrected(ada: AsyncClient) -> None:
    """The rate of a day and pair that is stored again replaces the one before."""
    await _store(ada, ("2026-01-05", "EUR", "USD", "1.10"))
    await _store(ada, ("2026-01-05", "EUR", "USD", "1.11"))

    rates = (await ada.get("/rates")).json()["items"]

    assert [rate["rate"] for rate in rates] == ["1.11"]


async def test_rates_are_of_one_book(ada: AsyncClient, app: FastAPI) -> None:
    """Bob does not convert at what Ada has typed in."""
    await _store(ada, ("2026-01-05", "EUR", "USD", "1.10"))
    bob = await sign_up(app, "bob")

    params = {"base": "EUR", "quote": "USD", "on": "2026-01-05"}
    assert (await bob.get("/rates/conversion", params=params)).status_code == 404
    assert (await bob.get("/rates")).json()["items"] == []


@pytest.mark.parametrize(
    "change",
    [
        {"rate": "0"},
        {"rate": "-1"},
        {"rate": 1.1},
        {"rate": "0.00000000001"},
        {"base": "EUX"},
        {"base": "USD"},
        {"date": "2026-02-30"},
    ],
    ids=str,
)
async def test_an_impossible_rate_is_refused(ada: AsyncClient, change: dict[str, Any]) -> None:
    """A rate is an exact positive decimal between two currencies, on a day."""
    rate = {"date": "2026-01-05", "base": "EUR", "quote": "USD", "rate": "1.10"}

    assert (await ada.put("/rates", json=[{**rate, **change}])).status_code == 422


@pytest.mark.parametrize(
    ("params", "dates"),
    [
        ({"base": "EUR"}, ["2026-01-01", "2026-01-02"]),
        ({"quote": "EUR"}, ["2026-01-03"]),
        ({"date_from": "2026-01-02"}, ["2026-01-02", "2026-01-03"]),
        ({"date_to": "2026-01-01"}, ["2026-01-01"]),
    ],
    ids=str,
)
async def test_rates_can_be_filtered(
    ada: AsyncClient, params: dict[str, str], dates: list[str]
) -> None:
    """By currency and by date, both days included."""
    await _store(
        ada,
        ("2026-01-01", "EUR", "USD", "1.1"),
        ("2026-01-02", "EUR", "USD", "1.2"),
        ("2026-01-03", "USD", "EUR", "0.9"),
    )

    rates = (await ada.get("/rates", params=params)).json()["items"]

    assert [rate["date"] for rate in rates] == dates


async def test_rates_are_paged(ada: AsyncClient) -> None:
    """Pairs of one day are told apart by their currencies."""
    await _store(
        ada, *(("2026-01-01", "EUR", quote, "1.1") for quote in ("CHF", "GBP", "JPY", "USD"))
    )

    first = (await ada.get("/rates", params={"limit": 2})).json()
    rest = (await ada.get("/rates", params={"cursor": first["next_cursor"]})).json()

    assert [rate["quote"] for rate in first["items"] + rest["items"]] == [
        "CHF",
        "GBP",
        "JPY",
        "USD",
    ]


@pytest.mark.parametrize("columns", ["'EUR', 'EUR', 1", "'EUR', 'USD', 0"])
async def test_the_database_refuses_an_impossible_rate(
    ada: AsyncClient, db: AsyncSession, columns: str
) -> None:
    """Two currencies and a positive price, whatever writes them."""
    with pytest.raises(IntegrityError, match="ck_fx_rates"):
        await db.execute(
            text(
                "INSERT INTO fx_rates (owner_id, date, base, quote, rate)"
                f" VALUES (1, '2026-01-01', {columns})"
            )
        )


async def _import(client: AsyncClient, content: str, **params: str) -> Response:
    headers = {"Content-Type": "text/csv"}
    return await client.post("/rates/imports", params=params, content=content, headers=headers)


async def test_rates_are_imported_from_a_file(ada: AsyncClient) -> None:
    """Of two rows for one day and pair the last one counts."""
    rows = ["2026-01-05,EUR,USD,1.10", "2026-01-05,EUR,JPY,160", "2026-01-05,EUR,USD,1.12"]

    response = await _import(ada, "\n".join(["date,base,quote,rate", *rows]))

    assert response.json() == {"stored": 2, "rejected": 0, "rows": []}
    assert (await _convert(ada, "EUR", "USD", "2026-01-05"))["rate"] == "1.12"


BAD = "date,base,quote,rate\n2026-01-05,EUR,USD,1.10\n2026-01-05,EUR,EUR,1\n2026-01-05,EUR,XXX,2\n"


async def test_bad_rates_are_reported_by_line_and_nothing_is_kept(ada: AsyncClient) -> None:
    """As when statements are imported."""
    response = await _import(ada, BAD)

    assert response.status_code == 422
    assert [row["line"] for row in response.json()["rows"]] == [3, 4]
    assert "two currencies" in response.json()["rows"][0]["reason"]
    assert (await ada.get("/rates")).json()["items"] == []


async def test_bad_rates_can_be_skipped(ada: AsyncClient) -> None:
    """The good ones are stored then."""
    response = await _import(ada, BAD, on_error="skip")

    assert (response.json()["stored"], response.json()["rejected"]) == (1, 2)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("2026-01-05,EUR,USD", "fields"),
        ("5.1.2026,EUR,USD,1", "not a date"),
        ("2026-01-05,EUR,USD,one", "not a number"),
        ("2026-01-05,EUR,USD,-1", "greater than 0"),
    ],
)
async def test_a_bad_rate_has_a_reason(ada: AsyncClient, row: str, reason: str) -> None:
    """What is wrong is said in words that lead to the mistake."""
    response = await _import(ada, f"date,base,quote,rate\n{row}\n")

    assert reason in response.json()["rows"][0]["reason"]


async def test_only_csv_is_a_file_of_rates(ada: AsyncClient) -> None:
    """Anything else is refused by its media type."""
    headers = {"Content-Type": "application/json"}

    response = await ada.post("/rates/imports", content="[]", headers=headers)

    assert response.status_code == 415


CURRENCIES = st.sampled_from(["EUR", "USD", "JPY", "CHF"])
DAYS = st.dates(dt.date(2026, 1, 1), dt.date(2026, 1, 9))
RATES = st.lists(
    st.builds(
        RateIn.model_construct,
        date=DAYS,
        base=CURRENCIES,
        quote=CURRENCIES,
        rate=st.decimals("0.0001", "500", places=4),
    ).filter(lambda rate: rate.base != rate.quote),
    max_size=12,
    unique_by=lambda rate: (rate.base, rate.quote, rate.date),
)


def _expected(rates: list[RateIn], base: str, quote: str, on: dt.date) -> Fraction | None:
    """Find a rate the slow way: every path, in the order that the rules give."""

    def stored(base: str, quote: str) -> Fraction | None:
        known = [r for r in rates if r.date <= on and {r.base, r.quote} == {base, quote}]
        if not known:
            return None
        best = max(known, key=lambda r: (r.date, r.base == base))
        return Fraction(best.rate) if best.base == base else 1 / Fraction(best.rate)

    if base == quote:
        return Fraction(1)
    if (direct := stored(base, quote)) is not None or "EUR" in {base, quote}:
        return direct
    first, second = stored(base, "EUR"), stored("EUR", quote)
    return None if first is None or second is None else first * second


@pytest.fixture
async def book(ada: AsyncClient) -> Book:
    """Identify Ada's books to the service."""
    return await book_of(ada)


# The fixtures hold nothing between examples: `db_layer` undoes what each writes.
@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rates=RATES, base=CURRENCIES, quote=CURRENCIES, on=DAYS)
async def test_a_rate_is_found_as_by_looking_at_all_of_them(  # noqa: PLR0917
    book: Book, db_layer: Callable[[], Any], rates: list[RateIn], base: str, quote: str, on: dt.date
) -> None:
    """Whatever is stored, the query and a search through all rates agree, exactly."""
    async with db_layer() as session:
        await service.store(session, book, rates)
        try:
            found = (await service.find(session, book, base, quote, on)).value
        except RateNotFoundError:
            found = None

    assert found == _expected(rates, base, quote, on)


async def test_an_amount_is_rounded_once(ada: AsyncClient, db: AsyncSession, book: Book) -> None:
    """Through a pivot the cross rate is exact: 1000 / 3 * 3 is 1000 again, not 999.99."""
    await _store(ada, ("2026-01-05", "USD", "EUR", "3"), ("2026-01-05", "CHF", "EUR", "3"))

    rate = await service.find(db, book, "CHF", "USD", dt.date(2026, 1, 5))

    assert rate.convert(Decimal("1000.00")) == Decimal("1000.00")
