"""Endpoints as the database holds them."""

from datetime import datetime

from sqlalchemy import ARRAY, Identity, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from jobs.database import Base


class Endpoint(Base):
    """Say where events of some types are delivered."""

    __tablename__ = "endpoints"

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    url: Mapped[str]
    event_types: Mapped[list[str]] = mapped_column(ARRAY(Text))
    """Those it wants; none means all."""
    secret: Mapped[bytes]
    """Signs what is delivered there."""
    active: Mapped[bool] = mapped_column(server_default="true")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
