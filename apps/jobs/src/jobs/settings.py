"""Settings, read from the environment."""

from datetime import timedelta

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL, make_url


class Settings(BaseSettings):
    """Hold what differs between deployments; each field is read from `JOBS_<FIELD>`.

    Raises `pydantic.ValidationError`, without the offending value, when one is missing or bad.
    """

    model_config = SettingsConfigDict(
        env_prefix="JOBS_", frozen=True, hide_input_in_errors=True, extra="ignore"
    )

    database_url: SecretStr
    """Any `postgresql://` URL; the driver is always asyncpg."""

    api_key: SecretStr = Field(min_length=8)
    """What every request sends: `Authorization: Bearer <key>`."""

    concurrency: int = Field(default=20, ge=2, le=1000)
    """Jobs that one worker runs at the same time, and the size of its pool."""

    lease: timedelta = Field(default=timedelta(seconds=30), gt=timedelta(0))
    """After how long without a heartbeat of its worker a job is another's to take."""

    poll: timedelta = Field(default=timedelta(seconds=1), gt=timedelta(0))
    """How often a worker looks for what no NOTIFY tells: attempts due, leases that have ended."""

    @property
    def url(self) -> URL:
        """The database's URL, for SQLAlchemy."""
        return make_url(self.database_url.get_secret_value()).set(drivername="postgresql+asyncpg")


class DeliverySettings(BaseSettings):
    """Hold how deliveries are tried; each field is read from `JOBS_DELIVERY_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="JOBS_DELIVERY_", frozen=True, extra="ignore")

    attempts: int = Field(default=8, ge=1)
    """How often a delivery is tried before it becomes a dead letter."""

    first_delay: timedelta = Field(default=timedelta(seconds=10), ge=timedelta(0))
    """From the first failure to the second attempt; each later one takes twice as long."""

    longest_delay: timedelta = Field(default=timedelta(hours=1), ge=timedelta(0))
    """Between two attempts, whatever the receiver asks for."""

    timeout: timedelta = Field(default=timedelta(seconds=10), gt=timedelta(0))
    """For a receiver to answer."""

    retention: timedelta = Field(default=timedelta(days=30), gt=timedelta(0))
    """How long what was delivered or discarded is kept."""
