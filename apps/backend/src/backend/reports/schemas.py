"""Reports as the API shows them."""

import datetime as dt
from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from backend.accounts.service import AccountType
from backend.fields import STRICT_INPUT


class TrialBalanceQuery(BaseModel):
    """Ask for a trial balance at the end of a day: today (UTC) unless given."""

    model_config = STRICT_INPUT

    as_of: dt.date | None = None
    include_zero: bool = False


class Balance(BaseModel):
    """Show a net balance on its side, the other side being zero, in the base currency."""

    model_config = ConfigDict(frozen=True)

    debit: Decimal
    credit: Decimal


class TrialBalanceRow(BaseModel):
    """Show an account: `own` lines alone, `rolled_up` with those of all its descendants."""

    account_id: int
    code: str
    name: str
    type: AccountType
    parent_id: int | None
    depth: int
    own: Balance
    rolled_up: Balance


class TrialBalance(BaseModel):
    """Show the trial balance; accounts stand below their parents, and by code among siblings.

    `totals` adds up the `own` balances. Its two sides are equal, which is the point of the report.
    """

    as_of: dt.date
    currency: str
    rows: list[TrialBalanceRow]
    totals: Balance
