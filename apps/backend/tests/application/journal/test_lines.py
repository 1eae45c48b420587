"""Lines are converted into the base currency, and checked on the way."""

from decimal import Decimal

import pytest

from backend.accounts.service import Account
from backend.journal.errors import InvalidLineError, UnbalancedEntryError
from backend.journal.lines import check_balance, convert_lines, reversed_lines
from backend.journal.models import JournalLine, Side
from backend.journal.schemas import LineIn


def _convert(
    amount: str, rate: str | None, *, currency: str, base_currency: str = "EUR"
) -> JournalLine:
    line = LineIn(
        account_id=1,
        side=Side.DEBIT,
        amount=Decimal(amount),
        rate=None if rate is None else Decimal(rate),
    )
    (converted,) = convert_lines([line], {1: Account(id=1, currency=currency)}, base_currency)
    return converted


def _line(side: Side, base_amount: str) -> JournalLine:
    return JournalLine(side=side, base_amount=Decimal(base_amount))


@pytest.mark.parametrize(
    ("amount", "currency", "rate", "base_currency", "base_amount"),
    [
        ("100.00", "USD", "0.925", "EUR", "92.50"),
        ("0.10", "USD", "0.85", "EUR", "0.08"),
        ("0.10", "USD", "0.75", "EUR", "0.08"),
        ("10001", "JPY", "0.0061", "EUR", "61.01"),
        ("1.250", "KWD", "3.0001", "EUR", "3.75"),
        ("10.00", "EUR", "162.35", "JPY", "1624"),
        ("10.00", "EUR", "0.3345", "KWD", "3.345"),
    ],
)
def test_a_foreign_amount_is_converted_at_its_rate(
    amount: str, currency: str, rate: str, base_currency: str, base_amount: str
) -> None:
    """The base amount has the scale of the base currency, and halves go to even."""
    line = _convert(amount, rate, currency=currency, base_currency=base_currency)

    assert str(line.base_amount) == base_amount


def test_an_amount_has_the_scale_of_its_currency() -> None:
    """However a client writes ten euros, the books say 10.00."""
    assert str(_convert("10", None, currency="EUR").amount) == "10.00"


def test_a_line_in_the_base_currency_has_the_rate_one() -> None:
    """The rate can be left out where it can only be 1."""
    assert _convert("10.00", None, currency="EUR").rate == 1


@pytest.mark.parametrize(
    ("amount", "rate", "currency", "pointer"),
    [
        ("10.005", None, "EUR", "/lines/0/amount"),
        ("10.5", "0.0061", "JPY", "/lines/0/amount"),
        ("10.00", "1.1", "EUR", "/lines/0/rate"),
        ("10.00", None, "USD", "/lines/0/rate"),
        ("999999999999999", "2", "USD", "/lines/0/rate"),
    ],
    ids=["below the minor unit", "half a yen", "own rate", "no rate", "too much"],
)
def test_a_line_that_does_not_fit_its_currencies_is_refused(
    amount: str, rate: str | None, currency: str, pointer: str
) -> None:
    """The error points at the field to change."""
    with pytest.raises(InvalidLineError) as error:
        _convert(amount, rate, currency=currency)

    assert error.value.members == {"pointer": pointer}


def test_an_entry_balances_when_debits_equal_credits() -> None:
    """Several lines may share one side."""
    check_balance(
        [_line(Side.DEBIT, "0.10"), _line(Side.DEBIT, "0.20"), _line(Side.CREDIT, "0.30")]
    )


@pytest.mark.parametrize("lines", [[], [_line(Side.DEBIT, "0.00")]], ids=["none", "one"])
def test_an_entry_has_two_lines_at_least(lines: list[JournalLine]) -> None:
    """Double entry takes two, even where zero equals zero."""
    with pytest.raises(UnbalancedEntryError, match="two lines"):
        check_balance(lines)


def test_an_unbalanced_entry_is_told_its_totals() -> None:
    """The totals are in the problem's members, as decimal strings."""
    with pytest.raises(UnbalancedEntryError) as error:
        check_balance([_line(Side.DEBIT, "10.00"), _line(Side.CREDIT, "9.99")])

    assert error.value.members == {"debits": "10.00", "credits": "9.99"}


def test_reversed_lines_keep_amounts_and_swap_sides() -> None:
    """A reversal at the original rates leaves no exchange difference behind."""
    line = _convert("100.00", "0.925", currency="USD")

    (reversed_line,) = reversed_lines([line])

    assert reversed_line.side is Side.CREDIT
    assert (reversed_line.amount, reversed_line.base_amount) == (line.amount, line.base_amount)
