"""Exchange rates as the database holds them."""

import datetime as dt
from decimal import Decimal

from sqlalchemy import CHAR, CheckConstraint, ForeignKey, Index, Numeric
from sqlalchemy.orm import Mapped, mapped_column

from backend.database import Base


class FxRate(Base):
    """Record the price of one unit of `base` in `quote` at the end of a day."""

    __tablename__ = "fx_rates"
    __table_args__ = (
        CheckConstraint("rate > 0", name="rate_is_positive"),
        CheckConstraint("base <> quote", name="currencies_differ"),
        Index(None, "owner_id", "date", "base", "quote"),
    )

    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    base: Mapped[str] = mapped_column(CHAR(3), primary_key=True)
    quote: Mapped[str] = mapped_column(CHAR(3), primary_key=True)
    date: Mapped[dt.date] = mapped_column(primary_key=True)
    rate: Mapped[Decimal] = mapped_column(Numeric)
