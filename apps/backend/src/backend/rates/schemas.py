"""Exchange rates as the API shows them."""

import datetime as dt
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from backend.fields import STRICT_INPUT
from backend.money import Currency, Figure, Rate
from backend.pagination import PageQuery
from backend.tables import BadRow, OnError


class RateIn(BaseModel):
    """Say what one unit of `base` cost in `quote` on a day."""

    model_config = STRICT_INPUT

    date: dt.date
    base: Currency
    quote: Currency
    rate: Rate

    @model_validator(mode="after")
    def _two_currencies(self) -> Self:
        if self.base == self.quote:
            message = "base and quote must be two currencies"
            raise ValueError(message)
        return self


RatesIn = Annotated[list[RateIn], Field(min_length=1, max_length=1000)]


class RateOut(BaseModel):
    """Show a rate as it was stored."""

    model_config = ConfigDict(from_attributes=True)

    date: dt.date
    base: str
    quote: str
    rate: Figure


class RateQuery(PageQuery):
    """Filter the stored rates; both dates are included."""

    base: Currency | None = None
    quote: Currency | None = None
    date_from: dt.date | None = None
    date_to: dt.date | None = None


class RateImportQuery(BaseModel):
    """Say what shall happen when a row is bad: keep nothing, or the good rows."""

    model_config = STRICT_INPUT

    on_error: OnError = "reject"


class StoredRates(BaseModel):
    """Say how many rates were stored, and which rows were bad."""

    stored: int
    rejected: int = 0
    rows: list[BadRow] = []


class ConversionQuery(BaseModel):
    """Ask what an amount was worth in another currency on a day: today (UTC) unless given."""

    model_config = STRICT_INPUT

    base: Currency
    quote: Currency
    on: dt.date | None = None


class Conversion(BaseModel):
    """Show a rate that was found, rounded to twelve digits; `legs` are the stored rates it is of.

    `date` is that of the oldest leg, none when both currencies are the same.
    """

    base: str
    quote: str
    rate: Figure
    date: dt.date | None
    legs: list[RateOut]
