"""Money: ISO 4217 currencies, their minor units, and the one rounding rule.

An amount is a `Decimal` that is never a float on its way. It is rounded in one place, when it is
converted: once, from the exact product, half to even, to the minor unit of the target currency.
Half-even ("banker's rounding") has no drift: over many conversions as many halves go up as down.
"""

from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

# Digits after the decimal point, from ISO 4217 list one (active codes and two fund codes).
_MINOR_UNITS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: """AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD
    CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ
    GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL
    MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR
    PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT
    TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG""",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_DIGITS = {code: digits for digits, codes in _MINOR_UNITS.items() for code in codes.split()}

# The widest product is 19 + 20 digits; the default context's 28 would round it a first time.
_EXACT_PRECISION = 60

MAX_AMOUNT = Decimal(10) ** 15
"""No amount, given or converted, reaches this many units of a currency."""


def minor_unit(currency: str) -> Decimal:
    """Give the smallest amount of `currency` as a power of ten: 1 for JPY, 0.001 for KWD."""
    return Decimal(1).scaleb(-_DIGITS[currency])


def convert(amount: Decimal, rate: Decimal, currency: str) -> Decimal:
    """Convert `amount` at `rate` into `currency`, rounded half-even to its minor unit.

    `rate` is the price of one unit of the amount's currency in `currency`.
    """
    with localcontext(prec=_EXACT_PRECISION):
        return (amount * rate).quantize(minor_unit(currency), rounding=ROUND_HALF_EVEN)


def exchange(amount: Decimal, rate: Fraction, currency: str) -> Decimal:
    """Convert at a rate that no decimal can hold, such as an inverse; rounded as `convert` does."""
    unit = minor_unit(currency)
    units = round(Fraction(amount) * rate / Fraction(unit))
    with localcontext(prec=_EXACT_PRECISION):
        return Decimal(units) * unit


def is_payable(amount: Decimal, currency: str) -> bool:
    """Tell whether `amount` is a whole number of minor units of `currency`."""
    return amount == convert(amount, Decimal(1), currency)


def _known_currency(code: str) -> str:
    if code not in _DIGITS:
        message = f"{code!r} is not an ISO 4217 currency code"
        raise ValueError(message)
    return code


def _no_binary_fraction(value: object) -> object:
    if isinstance(value, float | bool):
        message = 'send a decimal as a string, such as "12.30": a JSON number may lose digits'
        raise ValueError(message)  # noqa: TRY004 - pydantic reports a ValueError as invalid input
    return value


Currency = Annotated[
    str,
    AfterValidator(_known_currency),
    Field(examples=["EUR"], json_schema_extra={"enum": sorted(_DIGITS)}),
]


def _described(whole: int, fraction: int, example: str) -> WithJsonSchema:
    """Describe a decimal in a string: by itself Pydantic describes a number, which is refused."""
    pattern = rf"^[0-9]{{1,{whole}}}(\.[0-9]{{1,{fraction}}})?$"
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": [example]})


Amount = Annotated[
    Decimal,
    BeforeValidator(_no_binary_fraction),
    Field(gt=0, max_digits=19, decimal_places=4),
    _described(15, 4, "12.30"),
]

Rate = Annotated[
    Decimal,
    BeforeValidator(_no_binary_fraction),
    Field(gt=0, max_digits=20, decimal_places=10),
    _described(10, 10, "1.0850"),
]

# The driver gives 100000 as 1.0E+5: the same number, but not what a client expects to read.
Figure = Annotated[
    Decimal, PlainSerializer(lambda value: f"{value:f}", return_type=str, when_used="json")
]
"""A decimal as the API shows it: all its digits, without an exponent."""
