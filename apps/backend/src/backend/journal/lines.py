"""Lines of an entry: converting what is asked for, balancing, reversing."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from backend.accounts.service import Account
from backend.journal.errors import InvalidLineError, UnbalancedEntryError
from backend.journal.models import JournalLine, Side
from backend.journal.schemas import LineIn
from backend.money import MAX_AMOUNT, convert, is_payable

_MIN_LINES = 2


def convert_lines(
    lines: Sequence[LineIn], accounts: Mapping[int, Account], base_currency: str
) -> list[JournalLine]:
    """Make lines in the currencies of their accounts, converted into the base currency.

    Raises `InvalidLineError` for the first line whose amount or rate does not fit.
    """
    return [
        _convert(position, line, accounts[line.account_id], base_currency)
        for position, line in enumerate(lines)
    ]


def _convert(position: int, line: LineIn, account: Account, base_currency: str) -> JournalLine:
    if not is_payable(line.amount, account.currency):
        message = f"{line.amount} has more decimals than {account.currency} has."
        raise _invalid(position, "amount", message)
    rate = line.rate
    if account.currency == base_currency:
        if rate not in {None, Decimal(1)}:
            message = f"The rate of {base_currency} to itself is 1, not {rate}."
            raise _invalid(position, "rate", message)
        rate = Decimal(1)
    elif rate is None:
        message = f"A line in {account.currency} needs its rate in {base_currency}."
        raise _invalid(position, "rate", message)
    base_amount = convert(line.amount, rate, base_currency)
    if base_amount >= MAX_AMOUNT:
        message = f"{line.amount} {account.currency} at {rate} is more than {base_currency} can be."
        raise _invalid(position, "rate", message)
    return JournalLine(
        position=position,
        account_id=account.id,
        side=line.side,
        amount=convert(line.amount, Decimal(1), account.currency),
        currency=account.currency,
        rate=rate,
        base_amount=base_amount,
        memo=line.memo,
    )


def _invalid(position: int, field: str, message: str) -> InvalidLineError:
    return InvalidLineError(message, pointer=f"/lines/{position}/{field}")


def reversed_lines(lines: Sequence[JournalLine]) -> list[JournalLine]:
    """Make the lines that cancel `lines` out, at their old rates, so that nothing is left over."""
    return [
        JournalLine(
            position=line.position,
            account_id=line.account_id,
            side=line.side.opposite,
            amount=line.amount,
            currency=line.currency,
            rate=line.rate,
            base_amount=line.base_amount,
            memo=line.memo,
        )
        for line in lines
    ]


def check_balance(lines: Sequence[JournalLine]) -> None:
    """Raise `UnbalancedEntryError` unless there are two lines and debits equal credits."""
    if len(lines) < _MIN_LINES:
        message = f"An entry needs two lines or more to be posted; this one has {len(lines)}."
        raise UnbalancedEntryError(message)
    debits, credits_ = (_total(lines, side) for side in (Side.DEBIT, Side.CREDIT))
    if debits != credits_:
        message = f"Debits of {debits} and credits of {credits_} are not equal."
        raise UnbalancedEntryError(message, debits=str(debits), credits=str(credits_))


def _total(lines: Sequence[JournalLine], side: Side) -> Decimal:
    return sum((line.base_amount for line in lines if line.side is side), Decimal())
