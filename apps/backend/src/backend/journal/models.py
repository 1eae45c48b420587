"""The journal as the database holds it.

What must hold whatever a program does is kept by triggers, in migration 0004: a posted entry
balances at commit and never changes, and the audit trail only grows.
"""

import datetime as dt
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    CHAR,
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Numeric,
    SmallInteger,
    UniqueConstraint,
    column,
    func,
    select,
    table,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, column_property, mapped_column, relationship

from backend.database import Base, native_enum


class EntryState(StrEnum):
    """Say where an entry is in its life, which goes one way: draft, posted, voided."""

    DRAFT = "draft"
    POSTED = "posted"
    VOIDED = "voided"


class Side(StrEnum):
    """Say on which side of an account a line stands."""

    DEBIT = "debit"
    CREDIT = "credit"

    @property
    def opposite(self) -> "Side":
        """Give the side that undoes this one."""
        return Side.CREDIT if self is Side.DEBIT else Side.DEBIT


class AuditAction(StrEnum):
    """Say what was done to an entry."""

    CREATED = "created"
    UPDATED = "updated"
    POSTED = "posted"
    VOIDED = "voided"
    DELETED = "deleted"


class JournalLine(Base):
    """Debit or credit one account.

    Amounts have the scale of their currency, which differs (JPY 0, EUR 2, KWD 3), so the columns
    are `numeric` without a scale: PostgreSQL then keeps exactly the digits it is given.
    """

    __tablename__ = "journal_lines"
    __table_args__ = (
        # Deferred, because a flush inserts an entry's new lines before it deletes the old ones.
        UniqueConstraint("entry_id", "position", deferrable=True, initially="DEFERRED"),
        CheckConstraint("amount > 0", name="amount_is_positive"),
        CheckConstraint("rate > 0", name="rate_is_positive"),
        CheckConstraint("base_amount >= 0", name="base_amount_is_not_negative"),
        Index(None, "account_id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    entry_id: Mapped[int] = mapped_column(ForeignKey("journal_entries.id", ondelete="CASCADE"))
    position: Mapped[int] = mapped_column(SmallInteger)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    side: Mapped[Side] = mapped_column(native_enum(Side, "line_side"))
    amount: Mapped[Decimal] = mapped_column(Numeric)
    """In the currency of the account."""
    currency: Mapped[str] = mapped_column(CHAR(3))
    rate: Mapped[Decimal] = mapped_column(Numeric)
    """The price of one unit of `currency` in the base currency."""
    base_amount: Mapped[Decimal] = mapped_column(Numeric)
    """`amount` times `rate`, rounded half-even to the minor unit of the base currency."""
    memo: Mapped[str | None]


_reversal = table("journal_entries", column("id", BigInteger), column("reverses_id")).alias()


class JournalEntry(Base):
    """Record one event in the books, as lines whose base amounts balance."""

    __tablename__ = "journal_entries"
    __table_args__ = (
        UniqueConstraint("reverses_id"),
        Index(None, "owner_id", "date", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    date: Mapped[dt.date]
    description: Mapped[str]
    base_currency: Mapped[str] = mapped_column(CHAR(3))
    state: Mapped[EntryState] = mapped_column(native_enum(EntryState, "entry_state"))
    reverses_id: Mapped[int | None] = mapped_column(ForeignKey("journal_entries.id"))
    """The entry that this one cancels out."""
    reversed_by_id: Mapped[int | None] = column_property(
        select(_reversal.c.id)
        .where(_reversal.c.reverses_id == id)  # noqa: A003 - the column above
        .correlate_except(_reversal)
        .scalar_subquery(),
        expire_on_flush=False,
    )
    """The entry that cancels this one out."""
    version: Mapped[int] = mapped_column()
    created_at: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True))
    updated_at: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True))
    """Set at every change: a change of lines alone must still move `version`."""

    lines: Mapped[list[JournalLine]] = relationship(
        order_by=JournalLine.position,
        cascade="all, delete-orphan",
        passive_deletes=True,
        lazy="selectin",
    )

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - as SQLAlchemy declares it


class AuditEvent(Base):
    """Record who did what to an entry, and when; rows are never changed or removed."""

    __tablename__ = "audit_events"
    __table_args__ = (Index(None, "actor_id", "entry_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    actor_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    entry_id: Mapped[int] = mapped_column(BigInteger)
    """Not a foreign key: the trail outlives a deleted draft."""
    action: Mapped[AuditAction] = mapped_column(native_enum(AuditAction, "audit_action"))
    occurred_at: Mapped[dt.datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.clock_timestamp()
    )
    details: Mapped[dict[str, Any]] = mapped_column(JSONB)
