"""Deliveries as the database holds them."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Identity, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from jobs.database import Base, native_enum
from jobs.endpoints.models import Endpoint
from jobs.events.models import Event


class DeliveryState(StrEnum):
    """Name what has become of a delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    """Tried in vain as often as it may be: a dead letter, for somebody to retry or discard."""
    DISCARDED = "discarded"


class Delivery(Base):
    """Bring one event to one endpoint."""

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("event_id", "endpoint_id"),
        Index(None, "endpoint_id"),
        Index("ix_deliveries_dead", "id", postgresql_where=text("state = 'dead'")),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    event_id: Mapped[int] = mapped_column(ForeignKey("events.id", ondelete="CASCADE"))
    endpoint_id: Mapped[int] = mapped_column(ForeignKey("endpoints.id"))
    state: Mapped[DeliveryState] = mapped_column(
        native_enum(DeliveryState, "delivery_state"), server_default="pending"
    )
    failures: Mapped[int] = mapped_column(server_default="0")
    """Since it was made, or was last retried by hand."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]

    event: Mapped[Event] = relationship(lazy="raise")
    endpoint: Mapped[Endpoint] = relationship(lazy="raise")


class Attempt(Base):
    """Record one request to an endpoint."""

    __tablename__ = "attempts"
    __table_args__ = (Index(None, "delivery_id", "id"),)

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    delivery_id: Mapped[int] = mapped_column(ForeignKey("deliveries.id", ondelete="CASCADE"))
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    status: Mapped[int | None]
    """Of the answer; null if there was none."""
    error: Mapped[str | None]
    """Why there was none."""
