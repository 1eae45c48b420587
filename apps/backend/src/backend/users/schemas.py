"""Users as the API shows them."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

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

# Length is what matters; Argon2 reads all of it, and a bound keeps that cheap.
Password = Annotated[SecretStr, Field(min_length=10, max_length=200)]


class UserCreate(BaseModel):
    """Ask for a new user with empty books."""

    model_config = STRICT_INPUT

    email: Email = Field(examples=["ada@example.com"])
    name: Text
    base_currency: Currency
    password: Password


class SignIn(BaseModel):
    """Ask for a token, by the form of OAuth 2 (RFC 6749, section 4.3); `username` is the e-mail."""

    grant_type: Literal["password"] = "password"
    username: Email
    password: Annotated[SecretStr, Field(max_length=200)]


class PasswordChange(BaseModel):
    """Ask for another password."""

    model_config = STRICT_INPUT

    current: Annotated[SecretStr, Field(max_length=200)]
    new: Password


class UserOut(BaseModel):
    """Show a user; nothing of the password."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    email: str
    name: str
    base_currency: str
    created_at: datetime


class TokenOut(BaseModel):
    """Show a token, as OAuth 2 does; `expires_in` is in seconds."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the name of a type, no secret
    expires_in: int


class UserWithToken(UserOut, TokenOut):
    """Show a new user with their first token."""
