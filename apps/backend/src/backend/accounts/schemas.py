"""Accounts as the API shows them."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from backend.accounts.models import AccountType
from backend.fields import STRICT_INPUT, Id, Text
from backend.money import Currency
from backend.pagination import PageQuery

AccountCode = Annotated[
    str,
    StringConstraints(max_length=32, pattern=r"^[A-Za-z0-9]+(?:[.-][A-Za-z0-9]+)*$"),
    Field(examples=["1000", "1000.10"]),
]


class AccountIn(BaseModel):
    """Ask for a new account, or for what an existing one shall be."""

    model_config = STRICT_INPUT

    code: AccountCode
    name: Text
    type: AccountType
    currency: Currency
    parent_id: Id | None = None


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
    parent_id: int | None
    archived_at: datetime | None
    version: int
    created_at: datetime
