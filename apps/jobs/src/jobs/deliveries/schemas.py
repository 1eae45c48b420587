"""Deliveries as answers have them."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from jobs.deliveries.models import DeliveryState
from jobs.fields import Id
from jobs.pagination import PageQuery


class DeliveryQuery(PageQuery):
    """Ask for deliveries."""

    state: DeliveryState | None = None
    event: Id | None = None
    endpoint: Id | None = None


class AttemptOut(BaseModel):
    """Show one request to an endpoint."""

    model_config = ConfigDict(from_attributes=True)

    at: datetime
    status: int | None
    error: str | None


class DeliveryOut(BaseModel):
    """Show a delivery."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    event_id: int
    endpoint_id: int
    state: DeliveryState
    failures: int
    created_at: datetime
    ended_at: datetime | None


class DeliveryDetails(DeliveryOut):
    """Show a delivery and its attempts."""

    attempts: list[AttemptOut]
