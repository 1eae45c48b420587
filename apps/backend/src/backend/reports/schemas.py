"""Reports as the API shows them.

A report in another currency than the book's is a convenience translation: each column has one rate,
that of its last day. Accounts are converted one by one and rounded, so the identities of a report
may be off by some minor units: `translation_difference` says by how much. In the book's own
currency it is zero.
"""

import datetime as dt
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from backend.accounts.service import AccountType, Activity
from backend.fields import STRICT_INPUT
from backend.money import Currency, Figure

_MAX_COLUMNS = 12


class DaysQuery(BaseModel):
    """Ask for a column for the end of each day given: today (UTC) unless given."""

    model_config = STRICT_INPUT

    as_of: Annotated[list[dt.date], Field(max_length=_MAX_COLUMNS)] = []
    currency: Currency | None = None


class TrialBalanceQuery(DaysQuery):
    """Ask for accounts without a balance too, or not."""

    include_zero: bool = False


class Balance(BaseModel):
    """Show a net balance on its side, the other side being zero."""

    model_config = ConfigDict(frozen=True)

    debit: Figure
    credit: Figure


class TrialBalanceRow(BaseModel):
    """Show an account, with a balance for each column.

    `own` is that of its lines alone, `rolled_up` has those of all its descendants.
    """

    account_id: int
    code: str
    name: str
    type: AccountType
    parent_id: int | None
    depth: int
    own: list[Balance]
    rolled_up: list[Balance]


class TrialBalance(BaseModel):
    """Show the trial balance; accounts stand below their parents, and by code among siblings.

    `totals` adds up the `own` balances. Its two sides are equal, which is the point of the report.
    """

    as_of: list[dt.date]
    currency: str
    rows: list[TrialBalanceRow]
    totals: list[Balance]
    translation_difference: list[Figure]
    """Debits less credits."""


def _split(interval: object) -> object:
    if isinstance(interval, str):
        first, _, last = interval.partition("/")
        return {"first": first, "last": last}
    return interval


class Period(BaseModel):
    """Hold the first and the last day of a period."""

    model_config = ConfigDict(frozen=True)

    first: dt.date
    last: dt.date

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.first > self.last:
            message = "the first day of a period must not be after its last"
            raise ValueError(message)
        return self


_DAY = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
Interval = Annotated[
    Period,
    BeforeValidator(
        _split, json_schema_input_type=Annotated[str, Field(pattern=f"^{_DAY}/{_DAY}$")]
    ),
    Field(examples=["2026-01-01/2026-03-31"]),
]


class PeriodsQuery(BaseModel):
    """Ask for a column for each period, written as two days with a slash between (ISO 8601)."""

    model_config = STRICT_INPUT

    period: Annotated[list[Interval], Field(min_length=1, max_length=_MAX_COLUMNS)]
    currency: Currency | None = None


class ReportRow(BaseModel):
    """Show an account, with an amount for each column, positive as is usual for its section."""

    account_id: int
    code: str
    name: str
    depth: int
    own: list[Figure]
    rolled_up: list[Figure]


class Section(BaseModel):
    """Show the accounts of one type that have an amount in any column."""

    rows: list[ReportRow]
    total: list[Figure]


class BalanceSheet(BaseModel):
    """Show what is owned and owed. Assets = liabilities + equity + earnings + difference.

    `earnings` are income less expenses from the beginning of the books: they are not closed.
    """

    as_of: list[dt.date]
    currency: str
    assets: Section
    liabilities: Section
    equity: Section
    earnings: list[Figure]
    translation_difference: list[Figure]
    liabilities_and_equity: list[Figure]


class IncomeStatement(BaseModel):
    """Show what was earned and spent in each period."""

    periods: list[Period]
    currency: str
    income: Section
    expenses: Section
    net_income: list[Figure]


class FlowRow(BaseModel):
    """Show what came from the entries that also have an account that is not cash."""

    account_id: int
    code: str
    name: str
    amounts: list[Figure]


class Flows(BaseModel):
    """Show the flows of one activity; what comes in is positive."""

    activity: Activity
    rows: list[FlowRow]
    total: list[Figure]


class CashFlow(BaseModel):
    """Show why cash changed, by the direct method: opening + change + difference = closing."""

    periods: list[Period]
    currency: str
    opening: list[Figure]
    activities: list[Flows]
    change: list[Figure]
    translation_difference: list[Figure]
    closing: list[Figure]
