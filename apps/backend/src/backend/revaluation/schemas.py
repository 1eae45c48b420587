"""Revaluations as the API shows them."""

import datetime as dt

from pydantic import BaseModel, ConfigDict

from backend.fields import STRICT_INPUT, Id, Text
from backend.money import Figure


class RevaluationIn(BaseModel):
    """Ask to revalue assets and liabilities in foreign currencies at the end of a day.

    Differences are posted to `adjustment_account_id`, an asset or liability in the base currency
    that stands beside the accounts themselves, against income or expense: the balances in foreign
    currency do not change.
    """

    model_config = STRICT_INPUT

    date: dt.date
    adjustment_account_id: Id
    gain_account_id: Id
    loss_account_id: Id


class ReversalIn(BaseModel):
    """Ask to reverse a revaluation, often on the day after it: today (UTC) unless given."""

    model_config = STRICT_INPUT

    date: dt.date | None = None
    reason: Text = "Unrealised"


class ItemOut(BaseModel):
    """Show what one account was worth; debits are positive, and so are gains."""

    model_config = ConfigDict(from_attributes=True)

    account_id: int
    currency: str
    balance: Figure
    rate: Figure
    carrying: Figure
    revalued: Figure
    difference: Figure


class RevaluationOut(BaseModel):
    """Show a revaluation; `entry_id` is null when there was no difference."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    date: dt.date
    entry_id: int | None
    created_at: dt.datetime
    items: list[ItemOut]
