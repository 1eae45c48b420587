"""Settings, read from the environment."""

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL, make_url


class Settings(BaseSettings):
    """Hold what differs between deployments, from `{{ name | upper_snake_case }}_<FIELD>`."""

    model_config = SettingsConfigDict(
        env_prefix="{{ name | upper_snake_case }}_", frozen=True, hide_input_in_errors=True
    )

    database_url: SecretStr
    """Any `postgresql://` URL; the driver is always asyncpg."""

    @property
    def asyncpg_url(self) -> URL:
        """The database's URL, for the driver that the application uses."""
        return make_url(self.database_url.get_secret_value()).set(drivername="postgresql+asyncpg")
