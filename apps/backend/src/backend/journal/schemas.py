"""The journal as the API shows it."""

import datetime as dt
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from backend.fields import STRICT_INPUT, Id, Text
from backend.journal.models import AuditAction, EntryState, Side
from backend.money import Amount, Figure, Rate
from backend.pagination import PageQuery

MAX_LINES = 500


class LineIn(BaseModel):
    """Ask for one line; `rate` can be left out when the account is in the base currency."""

    model_config = STRICT_INPUT

    account_id: Id
    side: Side
    amount: Amount
    rate: Rate | None = None
    memo: Text | None = None


class EntryIn(BaseModel):
    """Ask for a draft, or for what an existing draft shall be; it need not balance yet."""

    model_config = STRICT_INPUT

    date: dt.date
    description: Text
    lines: Annotated[list[LineIn], Field(max_length=MAX_LINES)] = []


class VoidIn(BaseModel):
    """Ask to void an entry, on the day of the reversal: today (UTC) unless given."""

    model_config = STRICT_INPUT

    reason: Text
    date: dt.date | None = None


class EntryQuery(PageQuery):
    """Filter the journal; both dates are included, `text` is sought in descriptions."""

    date_from: dt.date | None = None
    date_to: dt.date | None = None
    account_id: Id | None = None
    state: EntryState | None = None
    text: Text | None = None

    @model_validator(mode="after")
    def _dates_in_order(self) -> Self:
        if self.date_from and self.date_to and self.date_from > self.date_to:
            message = "date_from must not be after date_to"
            raise ValueError(message)
        return self


class AuditQuery(PageQuery):
    """Filter the audit trail."""

    entry_id: Id | None = None


class LineOut(BaseModel):
    """Show a line."""

    model_config = ConfigDict(from_attributes=True)

    account_id: int
    side: Side
    amount: Figure
    currency: str
    rate: Figure
    base_amount: Figure
    memo: str | None


class EntryOut(BaseModel):
    """Show an entry with its lines."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    date: dt.date
    description: str
    base_currency: str
    state: EntryState
    reverses_id: int | None
    reversed_by_id: int | None
    version: int
    created_at: dt.datetime
    updated_at: dt.datetime
    lines: list[LineOut]


class AuditEventOut(BaseModel):
    """Show one event of the audit trail."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    actor_id: int
    entry_id: int
    action: AuditAction
    occurred_at: dt.datetime
    details: dict[str, Any]
