"""Prices as requests and answers have them. Amounts are decimal, and texts in JSON."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated

import msgspec

from catalog.fields import Currency
from catalog.prices.models import Price

Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class PriceIn(msgspec.Struct, forbid_unknown_fields=True):
    """Set a price."""

    currency: Currency
    amount: Decimal
    valid_from: Moment | None = None
    """From now on, if left out."""


class PriceOut(msgspec.Struct):
    """Show a price."""

    currency: str
    amount: Decimal
    valid_from: datetime

    @staticmethod
    def of(price: Price) -> "PriceOut":
        """Show what the database holds."""
        return PriceOut(price.currency, price.amount, price.valid_from)
