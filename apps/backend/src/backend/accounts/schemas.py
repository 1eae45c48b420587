"""Accounts as the API shows them."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from backend.accounts.models import AccountType, Activity
from backend.fields import STRICT_INPUT, Id, Text
from backend.money import Currency
from backend.pagination import PageQuery

AccountCode = Annotated[
    str,
    StringConstraints(max_length=32, pattern=r"^[A-Za-z0-9]+(?:[.-][A-Za-z0-9]+)*$"),
    Field(examples=["1000", "1000.10"]),
]


def _usual_activity(data: dict[str, Any]) -> Activity:
    is_equity = data.get("type") is AccountType.EQUITY
    return Activity.FINANCING if is_equity else Activity.OPERATING


class AccountIn(BaseModel):
    """Ask for a new account, or for what an existing one shall be."""

    model_config = STRICT_INPUT

    code: AccountCode
    name: Text
    type: AccountType
    currency: Currency
    parent_id: Id | None = None
    activity: Activity = Field(
        default_factory=_usual_activity,
        description="For the cash flow statement; financing for equity, else operating.",
    )

    @model_validator(mode="after")
    def _cash_is_held_or_owed(self) -> Self:
        held_or_owed = self.type in {AccountType.ASSET, AccountType.LIABILITY}
        if self.activity is Activity.CASH and not held_or_owed:
            message = f"an account of type {self.type} cannot be cash"
            raise ValueError(message)
        return self


class AccountQuery(PageQuery):
    """Filter the chart of accounts."""

    type: AccountType | None = None
    parent_id: Id | Literal["none"] | None = Field(
        default=None, description="Direct children of an account; `none` for the top level."
    )
    archived: bool | None = None


class AccountOut(BaseModel):
    """Show an account."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    code: str
    name: str
    type: AccountType
    currency: str
    activity: Activity
    parent_id: int | None
    archived_at: datetime | None
    version: int
    created_at: datetime
