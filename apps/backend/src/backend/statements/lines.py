"""Lines of a statement as any file gives them, checked against what the books can hold."""

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal

from backend.money import MAX_AMOUNT, convert, is_payable
from backend.tables import RowError

_MAX_TEXT = 500


@dataclass(frozen=True)
class ParsedLine:
    """Hold one good row; `line` is where it begins in the file."""

    line: int
    date: dt.date
    amount: Decimal
    description: str
    reference: str | None


def checked_line(  # noqa: PLR0917 - the fields of a line, in their order
    line: int,
    date: dt.date,
    amount: Decimal,
    description: str,
    reference: str | None,
    currency: str,
) -> ParsedLine:
    """Make a line in `currency`; raises `RowError` for what no account in it can hold."""
    # Size first: a signalling NaN cannot be compared. And `abs` would round, which can overflow.
    if not amount.is_finite() or amount.copy_abs() >= MAX_AMOUNT:
        message = f"the amount {amount} is too large"
        raise RowError(message)
    if amount == 0:
        message = "the amount is zero"
        raise RowError(message)
    if not is_payable(amount, currency):
        message = f"the amount {amount} has more decimals than {currency} has"
        raise RowError(message)
    description = " ".join(description.split())
    for name, text in (("description", description), ("reference", reference or "")):
        if len(text) > _MAX_TEXT:
            message = f"the {name} is longer than {_MAX_TEXT} characters"
            raise RowError(message)
        if "\0" in text:
            message = f"the {name} has a NUL character"
            raise RowError(message)
    amount = convert(amount, Decimal(1), currency)
    return ParsedLine(line, date, amount, description, reference or None)
