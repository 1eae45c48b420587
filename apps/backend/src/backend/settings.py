"""Settings, read from the environment."""

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError


def _with_asyncpg(secret: SecretStr) -> SecretStr:
    try:
        url = make_url(secret.get_secret_value())
    except ArgumentError:
        # The value is not repeated and the cause is dropped: either could carry the password.
        message = "not a database URL; expected postgresql://user:password@host:port/name"
        raise ValueError(message) from None
    if url.get_backend_name() != "postgresql":
        message = f"a PostgreSQL URL is needed, not one of {url.get_backend_name()!r}"
        raise ValueError(message)
    url = url.set(drivername="postgresql+asyncpg")
    return SecretStr(url.render_as_string(hide_password=False))


class Settings(BaseSettings):
    """Hold what differs between deployments; each field is read from `BACKEND_<FIELD>`.

    Raises `pydantic.ValidationError`, without the offending value, when one is missing or bad.
    """

    model_config = SettingsConfigDict(
        env_prefix="BACKEND_", frozen=True, hide_input_in_errors=True, extra="ignore"
    )

    database_url: Annotated[SecretStr, AfterValidator(_with_asyncpg)]
    """Any `postgresql://` URL; the driver is always asyncpg."""

    database_pool_size: int = Field(default=10, ge=1, le=1000)
    """Connections that one process keeps open at most."""

    token_secret: SecretStr = Field(min_length=32)
    """Signs access tokens (HMAC with SHA-256): 32 random bytes or more, in any notation."""

    token_lifetime_minutes: int = Field(default=60, ge=1, le=60 * 24)
    """How long a token is valid, unless it is revoked before."""
