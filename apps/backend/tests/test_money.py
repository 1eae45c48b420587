"""Rounding and the limits of amounts."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from backend.money import Amount, Currency, Rate, convert, is_payable, minor_unit


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("0.124", "EUR", "0.12"),
        ("0.126", "EUR", "0.13"),
        ("0.125", "EUR", "0.12"),
        ("0.135", "EUR", "0.14"),
        ("0.5", "JPY", "0"),
        ("1.5", "JPY", "2"),
        ("2.5", "JPY", "2"),
        ("0.0005", "KWD", "0.000"),
        ("0.0015", "KWD", "0.002"),
        ("7", "KWD", "7.000"),
    ],
)
def test_a_half_is_rounded_to_the_even_minor_unit(
    amount: str, currency: str, expected: str
) -> None:
    """Halves go to the even neighbour, the rest to the nearest, with the currency's scale."""
    assert str(convert(Decimal(amount), Decimal(1), currency)) == expected


def test_a_conversion_is_rounded_once_from_the_exact_product() -> None:
    """A product longer than 28 digits is not cut to the default precision before it is rounded."""
    amount, rate = Decimal("500000127666666.6667"), Decimal("1.0000000003")

    # The exact product is 500000127816666.70500000000001, just above the half; its first 28 digits
    # are the half itself, which would go down to the even 0.70.
    assert convert(amount, rate, "EUR") == Decimal("500000127816666.71")


@given(
    amount=st.decimals("0.0001", "999999999999999", places=4),
    rate=st.decimals("0.0000000001", "9999999999", places=10),
    currency=st.sampled_from(["JPY", "EUR", "KWD", "CLF"]),
)
def test_a_conversion_is_never_off_by_more_than_half_a_minor_unit(
    amount: Decimal, rate: Decimal, currency: str
) -> None:
    """The result is payable, and at most half a minor unit from the exact product."""
    converted = convert(amount, rate, currency)

    assert is_payable(converted, currency)
    off = abs(Fraction(converted) - Fraction(amount) * Fraction(rate))
    assert off <= Fraction(minor_unit(currency)) / 2


@pytest.mark.parametrize(
    ("currency", "unit"), [("JPY", "1"), ("EUR", "0.01"), ("KWD", "0.001"), ("CLF", "0.0001")]
)
def test_the_minor_unit_depends_on_the_currency(currency: str, unit: str) -> None:
    """ISO 4217 gives currencies between zero and four decimals."""
    assert str(minor_unit(currency)) == unit


@pytest.mark.parametrize(
    ("amount", "currency", "payable"),
    [
        ("10", "JPY", True),
        ("10.0", "JPY", True),
        ("10.5", "JPY", False),
        ("0.001", "EUR", False),
        ("0.001", "KWD", True),
    ],
)
def test_an_amount_is_payable_when_it_is_whole_in_minor_units(
    amount: str, currency: str, *, payable: bool
) -> None:
    """Trailing zeros do not matter, digits below the minor unit do."""
    assert is_payable(Decimal(amount), currency) is payable


@pytest.mark.parametrize(
    "value",
    [0.1, True, "0", "-1", "NaN", "Infinity", "1e400", "1.00001", "1234567890123456", "ten", None],
    ids=repr,
)
def test_an_amount_is_refused_unless_it_is_an_exact_positive_decimal(value: object) -> None:
    """A binary float, a sign, a special value and too many digits are all refused."""
    with pytest.raises(ValidationError):
        TypeAdapter(Amount).validate_python(value)


@pytest.mark.parametrize("value", [1.5, "0", "-2", "0.00000000001"], ids=repr)
def test_a_rate_is_refused_unless_it_is_an_exact_positive_decimal(value: object) -> None:
    """A rate has ten decimals at most and is never a binary float."""
    with pytest.raises(ValidationError):
        TypeAdapter(Rate).validate_python(value)


@pytest.mark.parametrize("code", ["eur", "EURO", "XXX", ""])
def test_a_currency_is_refused_unless_iso_4217_lists_it(code: str) -> None:
    """Only upper-case codes of currencies with a minor unit are accepted."""
    with pytest.raises(ValidationError, match="ISO 4217"):
        TypeAdapter(Currency).validate_python(code)


@pytest.mark.parametrize(
    "adapter", [TypeAdapter(Amount), TypeAdapter(Rate)], ids=["amount", "rate"]
)
@given(data=st.data())
def test_a_decimal_is_described_as_it_is_accepted(
    adapter: TypeAdapter[Decimal], data: st.DataObject
) -> None:
    """By OpenAPI: a client that sends what the pattern says is understood, unless it is zero."""
    pattern = adapter.json_schema()["pattern"]
    written = data.draw(st.from_regex(pattern, fullmatch=True).filter(Decimal))

    assert adapter.validate_python(written) == Decimal(written)
