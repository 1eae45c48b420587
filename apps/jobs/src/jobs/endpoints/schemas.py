"""Endpoints as requests and answers have them."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, HttpUrl

from jobs.fields import EventType


def _without_credentials(url: HttpUrl) -> HttpUrl:
    if url.username or url.password:
        message = "an endpoint's address has no user name and no password: deliveries are signed"
        raise ValueError(message)
    return url


Address = Annotated[HttpUrl, AfterValidator(_without_credentials)]


class EndpointIn(BaseModel):
    """Describe an endpoint to be."""

    url: Address
    event_types: list[EventType] = Field(default=[], max_length=100)
    """Those it wants; none means all."""


class EndpointChange(BaseModel):
    """Change an endpoint; what is left out stays."""

    url: Address | None = None
    event_types: list[EventType] | None = Field(default=None, max_length=100)
    active: bool | None = None


class EndpointOut(BaseModel):
    """Show an endpoint."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    url: str
    event_types: list[str]
    active: bool
    created_at: datetime


class NewEndpointOut(EndpointOut):
    """Show an endpoint that has just been made, with its secret, once."""

    signing_secret: str
