"""Settings, read from the environment."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL, make_url


class Settings(BaseSettings):
    """Hold what differs between deployments; each field is read from `CATALOG_<FIELD>`.

    Raises `pydantic.ValidationError`, without the offending value, when one is missing or bad.
    """

    model_config = SettingsConfigDict(
        env_prefix="CATALOG_", frozen=True, hide_input_in_errors=True, extra="ignore"
    )

    database_url: SecretStr
    """Any `postgresql://` URL: asyncpg serves requests, psycopg does maintenance."""

    database_pool_size: int = Field(default=10, ge=1, le=1000)
    """Connections that one process keeps open at most."""

    schema_folder: Path = Field(default=Path("schema"), validation_alias="CATALOG_SCHEMA")
    """Where the numbered SQL files are."""

    def url(self, driver: str) -> URL:
        """Return the database's URL for a driver."""
        return make_url(self.database_url.get_secret_value()).set(drivername=f"postgresql+{driver}")
