"""Events as the database holds them."""

from datetime import datetime
from typing import Any

from sqlalchemy import Identity, func
from sqlalchemy.orm import Mapped, mapped_column

from jobs.database import Base


class Event(Base):
    """Record something that has happened; never changed, and pruned when all have been told."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    type: Mapped[str]
    payload: Mapped[dict[str, Any]]
    occurred_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
    fanned_out_at: Mapped[datetime | None]
    """When a worker made its deliveries; null before."""
