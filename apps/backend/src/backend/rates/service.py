"""Exchange rates: stored day by day, found for any day and pair of currencies."""

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import islice

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.concurrency import run_in_threadpool

from backend.money import Currency, exchange
from backend.pagination import Keyset
from backend.rates.errors import RateNotFoundError
from backend.rates.models import FxRate
from backend.rates.schemas import Conversion, ConversionQuery, RateIn, RateOut, RateQuery
from backend.tables import (
    BadRow,
    BadRows,
    OnError,
    Row,
    RowError,
    parse_date,
    parse_decimal,
    read_rows,
)
from backend.uploads import UnsupportedFormatError, Upload
from backend.users.service import Book, lock_book

COMMON_PIVOT = "EUR"
"""Central banks publish against it; tried when the book's own currency leads nowhere."""

_COLUMNS = ("date", "base", "quote", "rate")
_BATCH = 1000
_SHOWN_DIGITS = 12

_OLDEST_FIRST = Keyset[FxRate](
    "rates",
    (FxRate.date, FxRate.base, FxRate.quote),
    TypeAdapter(tuple[dt.date, Currency, Currency]),
)


@dataclass(frozen=True)
class ExchangeRate:
    """Hold what one unit of `base` costs in `quote`, exactly: also an inverse is not rounded."""

    base: str
    quote: str
    value: Fraction
    legs: tuple[FxRate, ...]

    @property
    def date(self) -> dt.date | None:
        """Give the day of the oldest rate that it is made of."""
        return min((leg.date for leg in self.legs), default=None)

    @property
    def rounded(self) -> Decimal:
        """Give the rate with twelve digits, to be shown."""
        with localcontext(prec=_SHOWN_DIGITS):
            return Decimal(self.value.numerator) / Decimal(self.value.denominator)

    def convert(self, amount: Decimal) -> Decimal:
        """Convert an amount of `base`, rounded once, half-even, to the minor unit of `quote`."""
        return exchange(amount, self.value, self.quote)


async def find(
    session: AsyncSession, book: Book, base: str, quote: str, on: dt.date
) -> ExchangeRate:
    """Find the newest rate on or before a day; raises `RateNotFoundError`.

    A pair is stored in either direction: the newer one counts. A pair that is stored in neither
    is led through one pivot: the book's base currency, or else the euro.
    """
    if base == quote:
        return ExchangeRate(base, quote, Fraction(1), ())
    found = await _stored(session, book, base, quote, on)
    if found is not None:
        return found
    for pivot in dict.fromkeys((book.base_currency, COMMON_PIVOT)):
        if pivot in {base, quote}:
            continue
        first = await _stored(session, book, base, pivot, on)
        second = await _stored(session, book, pivot, quote, on)
        if first is not None and second is not None:
            value = first.value * second.value
            return ExchangeRate(base, quote, value, (*first.legs, *second.legs))
    message = f"No known rate leads from {base} to {quote} on or before {on}; add one to `/rates`."
    raise RateNotFoundError(message, base=base, quote=quote, on=str(on))


async def _stored(
    session: AsyncSession, book: Book, base: str, quote: str, on: dt.date
) -> ExchangeRate | None:
    direct = and_(FxRate.base == base, FxRate.quote == quote)
    inverse = and_(FxRate.base == quote, FxRate.quote == base)
    rate = await session.scalar(
        select(FxRate)
        .where(FxRate.owner_id == book.owner_id, FxRate.date <= on, or_(direct, inverse))
        # Of two on one day the one that was asked for: an inverse is a rounded number's.
        .order_by(FxRate.date.desc(), direct.desc())
        .limit(1)
    )
    if rate is None:
        return None
    value = Fraction(rate.rate)
    return ExchangeRate(base, quote, value if rate.base == base else 1 / value, (rate,))


async def conversion(session: AsyncSession, book: Book, query: ConversionQuery) -> Conversion:
    """Show the rate for a pair and how it was found; raises `RateNotFoundError`."""
    on = query.on or dt.datetime.now(dt.UTC).date()
    found = await find(session, book, query.base, query.quote, on)
    legs = [RateOut.model_validate(leg) for leg in found.legs]
    return Conversion(
        base=query.base, quote=query.quote, rate=found.rounded, date=found.date, legs=legs
    )


async def page(
    session: AsyncSession, book: Book, query: RateQuery
) -> tuple[Sequence[FxRate], str | None]:
    """List stored rates, oldest first, with the cursor of the next page."""
    conditions: list[ColumnElement[bool]] = [FxRate.owner_id == book.owner_id]
    if query.base is not None:
        conditions.append(FxRate.base == query.base)
    if query.quote is not None:
        conditions.append(FxRate.quote == query.quote)
    if query.date_from is not None:
        conditions.append(FxRate.date >= query.date_from)
    if query.date_to is not None:
        conditions.append(FxRate.date <= query.date_to)
    return await _OLDEST_FIRST.page(session, select(FxRate).where(*conditions), query)


async def store(session: AsyncSession, book: Book, rates: Iterable[RateIn]) -> int:
    """Store rates, replacing those of the same day and pair; return how many there were.

    Of two for the same day and pair the last one counts.
    """
    # Two at once would lock the same rows in different orders.
    await lock_book(session, book)
    latest = {(rate.base, rate.quote, rate.date): rate for rate in rates}
    values = [{"owner_id": book.owner_id, **rate.model_dump()} for rate in latest.values()]
    statement = insert(FxRate)
    replace = statement.on_conflict_do_update(
        index_elements=[FxRate.owner_id, FxRate.base, FxRate.quote, FxRate.date],
        set_={"rate": statement.excluded.rate},
    )
    if values:
        await session.execute(replace, values)
    return len(values)


async def import_file(
    session: AsyncSession, book: Book, upload: Upload, on_error: OnError
) -> tuple[int, BadRows]:
    """Store the rates of a CSV file with the columns date, base, quote and rate.

    Raises `UnsupportedFormatError`, `FileFormatError`, and `BadRowsError` for bad rows unless
    they shall be skipped.
    """
    if upload.media_type != "text/csv":
        message = f"Rates are imported from text/csv, not from {upload.media_type}."
        raise UnsupportedFormatError(message)
    rows = _parse_all(read_rows(upload.file, _COLUMNS))
    bad_rows = BadRows(on_error)
    stored = 0
    while batch := await run_in_threadpool(lambda: list(islice(rows, _BATCH))):
        for row in batch:
            if isinstance(row, BadRow):
                bad_rows.add(row)
        stored += await store(session, book, (row for row in batch if isinstance(row, RateIn)))
    bad_rows.check()
    return stored, bad_rows


def _parse_all(rows: Iterable[Row | BadRow]) -> Iterator[RateIn | BadRow]:
    for row in rows:
        if isinstance(row, BadRow):
            yield row
            continue
        try:
            yield _parse(row)
        except RowError as error:
            yield BadRow(line=row.line, reason=str(error))


def _parse(row: Row) -> RateIn:
    fields = row.fields
    date = parse_date(fields["date"], "YYYY-MM-DD")
    rate = parse_decimal(fields["rate"], ".")
    try:
        return RateIn(date=date, base=fields["base"], quote=fields["quote"], rate=rate)
    except ValidationError as error:
        raise RowError("; ".join(item["msg"] for item in error.errors())) from None
