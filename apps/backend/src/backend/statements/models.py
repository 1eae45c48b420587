"""Bank accounts and their statements as the database holds them."""

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
    ForeignKeyConstraint,
    Identity,
    Index,
    Numeric,
    UniqueConstraint,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from backend.database import Base, native_enum


class StatementFormat(StrEnum):
    """Name the format of a file."""

    CSV = "csv"
    OFX = "ofx"


class BankAccount(Base):
    """Connect an account of the chart with the bank's statements of it.

    The composite foreign key keeps the owner and the currency those of the account, which then
    can change neither.
    """

    __tablename__ = "bank_accounts"
    __table_args__ = (
        UniqueConstraint("account_id"),
        ForeignKeyConstraint(
            ["account_id", "owner_id", "currency"],
            ["accounts.id", "accounts.owner_id", "accounts.currency"],
        ),
        Index(None, "owner_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    owner_id: Mapped[int] = mapped_column(BigInteger)
    account_id: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(CHAR(3))
    name: Mapped[str]
    number: Mapped[str | None]
    """As the bank writes it; it picks the statement in an OFX file of several accounts."""
    csv_format: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """A `CsvFormat`: how to read the bank's CSV files."""
    version: Mapped[int] = mapped_column()
    created_at: Mapped[dt.datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.clock_timestamp()
    )

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - as SQLAlchemy declares it


class StatementImport(Base):
    """Record that a file was imported, and what became of its rows."""

    __tablename__ = "statement_imports"
    __table_args__ = (Index(None, "bank_account_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    bank_account_id: Mapped[int] = mapped_column(ForeignKey("bank_accounts.id"))
    format: Mapped[StatementFormat] = mapped_column(
        native_enum(StatementFormat, "statement_format")
    )
    imported: Mapped[int]
    duplicates: Mapped[int]
    rejected: Mapped[int]
    created_at: Mapped[dt.datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.clock_timestamp()
    )


class StatementLine(Base):
    """Record one movement on a bank account, as the bank reports it.

    `key` tells a line that comes again in a later file: the bank's own reference, or else what the
    line says, with a number for lines of one file that say the same.
    """

    __tablename__ = "statement_lines"
    __table_args__ = (
        UniqueConstraint("bank_account_id", "key"),
        CheckConstraint("amount <> 0", name="amount_is_not_zero"),
        Index(None, "bank_account_id", "date", "id"),
        Index(None, "import_id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    bank_account_id: Mapped[int] = mapped_column(ForeignKey("bank_accounts.id"))
    import_id: Mapped[int] = mapped_column(ForeignKey("statement_imports.id", ondelete="CASCADE"))
    line: Mapped[int]
    """Where it stands in the file."""
    date: Mapped[dt.date]
    amount: Mapped[Decimal] = mapped_column(Numeric)
    """In the account's currency; what comes in is positive."""
    description: Mapped[str]
    reference: Mapped[str | None]
    key: Mapped[str]


class StagedStatementLine(Base):
    """Hold the rows of a file while it is imported; empty between imports."""

    __tablename__ = "staged_statement_lines"

    import_id: Mapped[int] = mapped_column(
        ForeignKey("statement_imports.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True)
    line: Mapped[int]
    date: Mapped[dt.date]
    amount: Mapped[Decimal] = mapped_column(Numeric)
    description: Mapped[str]
    reference: Mapped[str | None]
