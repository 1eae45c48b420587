"""Revaluations as the database holds them."""

import datetime as dt
from decimal import Decimal

from sqlalchemy import (
    CHAR,
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Numeric,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.database import Base


class RevaluationItem(Base):
    """Record what one account was worth. `carrying` + `difference` = `revalued`."""

    __tablename__ = "revaluation_items"
    __table_args__ = (
        CheckConstraint("carrying + difference = revalued", name="difference_is_exact"),
        Index(None, "account_id"),
    )

    revaluation_id: Mapped[int] = mapped_column(ForeignKey("revaluations.id"), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    currency: Mapped[str] = mapped_column(CHAR(3))
    balance: Mapped[Decimal] = mapped_column(Numeric)
    """In `currency`, debits less credits."""
    rate: Mapped[Decimal] = mapped_column(Numeric)
    """Rounded to twelve digits; the exact one was used."""
    carrying: Mapped[Decimal] = mapped_column(Numeric)
    """In the base currency, with the differences of revaluations that were in force."""
    revalued: Mapped[Decimal] = mapped_column(Numeric)
    difference: Mapped[Decimal] = mapped_column(Numeric)


class Revaluation(Base):
    """Record that the balances in foreign currencies were revalued at the end of a day.

    Whether it is still in force is a matter of its entry: it is, until that is reversed.
    """

    __tablename__ = "revaluations"
    __table_args__ = (Index(None, "owner_id", "date", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    date: Mapped[dt.date]
    entry_id: Mapped[int | None] = mapped_column(ForeignKey("journal_entries.id"), unique=True)
    """None when there was no difference."""
    created_at: Mapped[dt.datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.clock_timestamp()
    )

    items: Mapped[list[RevaluationItem]] = relationship(
        order_by=RevaluationItem.account_id, lazy="selectin"
    )
