"""The chart of accounts as the database holds it."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    CHAR,
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    String,
    UniqueConstraint,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column

from backend.database import Base, native_enum


class AccountType(StrEnum):
    """Class an account; debits increase the first and the last, credits the others."""

    ASSET = "asset"
    LIABILITY = "liability"
    EQUITY = "equity"
    INCOME = "income"
    EXPENSE = "expense"


class Activity(StrEnum):
    """Say where an account stands in the cash flow statement.

    `CASH` is what the statement explains, `EXCHANGE` takes gains and losses of exchange rates.
    """

    CASH = "cash"
    OPERATING = "operating"
    INVESTING = "investing"
    FINANCING = "financing"
    EXCHANGE = "exchange"


class Account(Base):
    """Collect the lines of one kind, in one currency.

    The composite foreign key lets a parent be only an account of the same owner and type. Once a
    line refers to an account, a trigger of the journal refuses a change of type or currency.
    """

    __tablename__ = "accounts"
    __table_args__ = (
        UniqueConstraint("owner_id", "code"),
        UniqueConstraint("id", "owner_id", "type"),
        UniqueConstraint("id", "owner_id", "currency"),
        ForeignKeyConstraint(
            ["parent_id", "owner_id", "type"], ["accounts.id", "accounts.owner_id", "accounts.type"]
        ),
        CheckConstraint("parent_id <> id", name="not_its_own_parent"),
        CheckConstraint(
            "activity <> 'cash' OR type IN ('asset', 'liability')", name="cash_is_held_or_owed"
        ),
        Index(None, "parent_id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    code: Mapped[str] = mapped_column(String(32, collation="C"))
    name: Mapped[str]
    type: Mapped[AccountType] = mapped_column(native_enum(AccountType, "account_type"))
    currency: Mapped[str] = mapped_column(CHAR(3))
    activity: Mapped[Activity] = mapped_column(native_enum(Activity, "cash_flow_activity"))
    parent_id: Mapped[int | None] = mapped_column(BigInteger)
    archived_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    version: Mapped[int] = mapped_column()
    created_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.clock_timestamp()
    )

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - as SQLAlchemy declares it
