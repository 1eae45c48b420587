"""Orders as the database holds them."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import CheckConstraint, Identity, Numeric, func
from sqlalchemy.orm import Mapped, mapped_column

from jobs.database import Base


class Order(Base):
    """Hold what a customer ordered."""

    __tablename__ = "orders"
    __table_args__ = (CheckConstraint("total > 0", name="total_is_positive"),)

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    customer: Mapped[str]
    total: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    placed_at: Mapped[datetime] = mapped_column(server_default=func.now())
    paid_at: Mapped[datetime | None]
