"""Matches as the database holds them.

A confirmed match also has a row in `reconciled_lines` and `reconciled_entries` for each of its
members: their primary keys let a line, or an entry on one account, be in one such match only.
Migration 0008 guards the states, and keeps reconciled entries from being voided.
"""

import datetime as dt
from decimal import Decimal
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Numeric,
    SmallInteger,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.database import Base, native_enum


class MatchState(StrEnum):
    """Say where a match is in its review; a confirmed one can be proposed again."""

    PROPOSED = "proposed"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"


class MatchLine(Base):
    """Make a line of a statement part of a match."""

    __tablename__ = "match_lines"
    __table_args__ = (Index(None, "statement_line_id"),)

    match_id: Mapped[int] = mapped_column(
        ForeignKey("matches.id", ondelete="CASCADE"), primary_key=True
    )
    statement_line_id: Mapped[int] = mapped_column(
        ForeignKey("statement_lines.id", ondelete="CASCADE"), primary_key=True
    )


class MatchEntry(Base):
    """Make an entry of the journal part of a match."""

    __tablename__ = "match_entries"
    __table_args__ = (Index(None, "entry_id"),)

    match_id: Mapped[int] = mapped_column(
        ForeignKey("matches.id", ondelete="CASCADE"), primary_key=True
    )
    entry_id: Mapped[int] = mapped_column(ForeignKey("journal_entries.id"), primary_key=True)


class Match(Base):
    """Claim that lines of a statement and entries are the same movements."""

    __tablename__ = "matches"
    __table_args__ = (
        CheckConstraint("score BETWEEN 0 AND 100", name="score_is_a_percentage"),
        Index(None, "bank_account_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    bank_account_id: Mapped[int] = mapped_column(ForeignKey("bank_accounts.id"))
    state: Mapped[MatchState] = mapped_column(native_enum(MatchState, "match_state"))
    score: Mapped[int] = mapped_column(SmallInteger)
    difference: Mapped[Decimal] = mapped_column(Numeric)
    """Lines less entries, in the account's currency."""
    version: Mapped[int] = mapped_column()
    created_at: Mapped[dt.datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.clock_timestamp()
    )

    lines: Mapped[list[MatchLine]] = relationship(
        order_by=MatchLine.statement_line_id, lazy="selectin", passive_deletes=True
    )
    entries: Mapped[list[MatchEntry]] = relationship(
        order_by=MatchEntry.entry_id, lazy="selectin", passive_deletes=True
    )

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - as SQLAlchemy declares it

    @property
    def line_ids(self) -> list[int]:
        """List the lines."""
        return [line.statement_line_id for line in self.lines]

    @property
    def entry_ids(self) -> list[int]:
        """List the entries."""
        return [entry.entry_id for entry in self.entries]


class ReconciledLine(Base):
    """Give a line to its confirmed match, for as long as that is confirmed."""

    __tablename__ = "reconciled_lines"
    __table_args__ = (Index(None, "match_id"),)

    statement_line_id: Mapped[int] = mapped_column(
        ForeignKey("statement_lines.id"), primary_key=True
    )
    match_id: Mapped[int] = mapped_column(ForeignKey("matches.id"))


class ReconciledEntry(Base):
    """Give an entry to its confirmed match; a transfer has one on each of two accounts."""

    __tablename__ = "reconciled_entries"
    __table_args__ = (Index(None, "match_id"), Index(None, "entry_id"))

    bank_account_id: Mapped[int] = mapped_column(ForeignKey("bank_accounts.id"), primary_key=True)
    entry_id: Mapped[int] = mapped_column(ForeignKey("journal_entries.id"), primary_key=True)
    match_id: Mapped[int] = mapped_column(ForeignKey("matches.id"))
