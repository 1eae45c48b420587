"""Orders as requests and answers have them."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

_CENT = Decimal("0.01")

Text = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]


def _no_binary_fraction(value: object) -> object:
    if isinstance(value, float | bool):
        message = 'send a decimal as a string, such as "12.30": a JSON number may lose digits'
        raise ValueError(message)  # noqa: TRY004 - pydantic reports a ValueError as invalid input
    return value


def _to_the_cent(total: Decimal) -> Decimal:
    """Read "5" and "1E+5" as the database gives them back; nothing is left to round."""
    return total.quantize(_CENT)


Total = Annotated[
    Decimal,
    Field(gt=0, max_digits=12, decimal_places=2),
    BeforeValidator(_no_binary_fraction),
    AfterValidator(_to_the_cent),
    # Pydantic's own does not say how many digits.
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,10}(\.[0-9]{1,2})?$"}),
]


class OrderIn(BaseModel):
    """Describe an order to be."""

    customer: Text
    total: Total


class OrderOut(BaseModel):
    """Show an order."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    customer: str
    total: Decimal
    placed_at: datetime
    paid_at: datetime | None
