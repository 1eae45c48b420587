"""Matches as the API shows them."""

import datetime as dt
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from backend.fields import STRICT_INPUT, Id
from backend.money import Figure
from backend.pagination import PageQuery
from backend.reconciliation.models import MatchState

Ids = Annotated[list[Id], Field(min_length=1, max_length=20)]


class MatchIn(BaseModel):
    """Propose that lines and entries are the same: one to many, or many to one."""

    model_config = STRICT_INPUT

    line_ids: Ids
    entry_ids: Ids

    @model_validator(mode="after")
    def _one_to_many(self) -> Self:
        if min(len(set(self.line_ids)), len(set(self.entry_ids))) > 1:
            message = "a match has one line, or one entry; make several matches"
            raise ValueError(message)
        return self


class ProposalIn(BaseModel):
    """Ask for proposals for the lines of some days, both included."""

    model_config = STRICT_INPUT

    date_from: dt.date
    date_to: dt.date
    min_score: Annotated[int, Field(ge=0, le=100)] = 60

    @model_validator(mode="after")
    def _dates_in_order(self) -> Self:
        if not dt.timedelta() <= self.date_to - self.date_from <= dt.timedelta(days=366):
            message = "date_to must be on date_from or up to 366 days later"
            raise ValueError(message)
        return self


class MatchQuery(PageQuery):
    """Filter a bank account's matches."""

    state: MatchState | None = None


class MatchOut(BaseModel):
    """Show a match; `difference` is what lines have more than entries."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    bank_account_id: int
    state: MatchState
    score: int
    difference: Figure
    line_ids: list[int]
    entry_ids: list[int]
    version: int
    created_at: dt.datetime


class CandidateOut(BaseModel):
    """Show entries that a line could be, and how likely: 100 is certain."""

    entry_ids: list[int]
    score: int
    difference: Figure


class Side(BaseModel):
    """Count and add up one side, in the account's currency."""

    count: int
    total: Figure
    open_count: int
    open_total: Figure


class Summary(BaseModel):
    """Show how far a bank account is reconciled until the end of a day.

    What is confirmed is the same on both sides, so the totals differ by what is open.
    """

    as_of: dt.date
    currency: str
    statement: Side
    journal: Side
