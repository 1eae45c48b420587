"""Orders as requests and answers have them."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema

Text = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]

Total = Annotated[
    Decimal,
    Field(gt=0, max_digits=12, decimal_places=2),
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
