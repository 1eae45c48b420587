"""Users as the API shows them."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from backend.fields import STRICT_INPUT, Text
from backend.money import Currency

# ASCII only, so that Python and PostgreSQL agree on its lower case.
Email = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        to_lower=True,
        max_length=254,
        pattern=r"^[!-?A-~]+@[!-?A-~]+\.[!-?A-~]+$",
    ),
]


class UserCreate(BaseModel):
    """Ask for a new user with empty books."""

    model_config = STRICT_INPUT

    email: Email = Field(examples=["ada@example.com"])
    name: Text
    base_currency: Currency


class UserOut(BaseModel):
    """Show a user; nothing of the token."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    email: str
    name: str
    base_currency: str
    created_at: datetime


class UserWithToken(UserOut):
    """Show a new user with their token, for the only time."""

    token: str


class TokenOut(BaseModel):
    """Show a new token, for the only time."""

    token: str
