"""Prices as the database holds them."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import CHAR, DateTime, Numeric
from sqlalchemy.orm import Mapped, mapped_column

from catalog.database import Base


class Price(Base):
    """Say what a product costs from a moment on, until the next one says otherwise."""

    __tablename__ = "prices"

    tenant_id: Mapped[int]
    product_id: Mapped[int] = mapped_column(primary_key=True)
    currency: Mapped[str] = mapped_column(CHAR(3), primary_key=True)
    valid_from: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    amount: Mapped[Decimal] = mapped_column(Numeric(12, 2))
