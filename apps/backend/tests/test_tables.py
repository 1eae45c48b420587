"""Numbers and dates in text files, and rows with their lines."""

import datetime as dt
import io
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.tables import (
    BadRow,
    DateFormat,
    DecimalSeparator,
    RowError,
    parse_date,
    parse_decimal,
    read_rows,
)


@pytest.mark.parametrize(
    ("text", "separator", "expected"),
    [
        ("12.30", ".", "12.30"),
        ("-12.30", ".", "-12.30"),
        ("+5", ".", "5"),
        ("1,234,567.89", ".", "1234567.89"),
        ("1'234.50", ".", "1234.50"),
        ("1.234,50", ",", "1234.50"),
        ("1\N{NO-BREAK SPACE}234,5", ",", "1234.5"),
        ("0,1", ",", "0.1"),
    ],
)
def test_a_number_is_read_exactly(text: str, separator: DecimalSeparator, expected: str) -> None:
    """Groups of three may be separated, the decimal separator is the declared one."""
    assert parse_decimal(text, separator) == Decimal(expected)


@pytest.mark.parametrize(
    ("text", "separator"),
    [
        ("1.234,50", "."),
        ("1,234.50", ","),
        ("12,34", "."),
        ("1,23,456", "."),
        ("1e3", "."),
        ("NaN", "."),
        ("Infinity", "."),
        ("", "."),
        ("-", "."),
        (".5", "."),
        ("5.", "."),
        ("--5", "."),
        ("٣", "."),
        ("1" * 16, "."),
        ("0x10", "."),
    ],
)
def test_what_is_not_in_the_declared_notation_is_no_number(
    text: str, separator: DecimalSeparator
) -> None:
    """Guessing would one day take 1.234 for 1234, or the reverse."""
    with pytest.raises(RowError, match="is not a number"):
        parse_decimal(text, separator)


@given(
    value=st.decimals("-999999999999999", "999999999999999", places=4),
    separator=st.sampled_from([".", ","]),
    grouped=st.booleans(),
)
def test_a_number_that_was_written_is_read_again(
    value: Decimal, separator: DecimalSeparator, *, grouped: bool
) -> None:
    """In either notation, with groups or without, nothing is lost."""
    text = f"{value:,f}" if grouped else f"{value:f}"
    if separator == ",":
        text = text.translate(str.maketrans(".,", ",."))

    assert parse_decimal(text, separator) == value


@pytest.mark.parametrize(
    ("text", "format_"),
    [
        ("2026-03-04", "YYYY-MM-DD"),
        ("20260304", "YYYYMMDD"),
        ("04.03.2026", "DD.MM.YYYY"),
        ("04/03/2026", "DD/MM/YYYY"),
        ("03/04/2026", "MM/DD/YYYY"),
    ],
)
def test_a_date_is_read_as_declared(text: str, format_: DateFormat) -> None:
    """The same digits are another day in another format, so it is never guessed."""
    assert parse_date(text, format_) == dt.date(2026, 3, 4)


@pytest.mark.parametrize("text", ["2026-02-30", "26-01-01", "2026-01-01T00:00", "today", ""])
def test_what_is_no_day_is_no_date(text: str) -> None:
    """Days that no month has, and anything around a date, are refused."""
    with pytest.raises(RowError, match="is not a date"):
        parse_date(text, "YYYY-MM-DD")


@given(st.lists(st.tuples(st.text('ab\n",;é ', max_size=6), st.just("x")), max_size=8))
def test_rows_say_on_which_line_they_begin(rows: list[tuple[str, str]]) -> None:
    """Whatever is quoted in the rows before, the line is the one an editor shows."""
    quoted = [f'"{text.replace(chr(34), chr(34) * 2)}",{last}\n' for text, last in rows]
    content = "Text,Last\n" + "".join(quoted)

    read = list(read_rows(io.BytesIO(content.encode()), ["Text"]))

    begins = [
        content.count("\n", 0, len("Text,Last\n") + sum(map(len, quoted[:i]))) + 1
        for i in range(len(rows))
    ]
    assert not any(isinstance(row, BadRow) for row in read)
    assert [row.line for row in read] == begins


def test_the_file_stays_open() -> None:
    """Who has opened the file closes it; reading rows does not."""
    file = io.BytesIO(b"A\n1\n")

    list(read_rows(file, ["A"]))

    assert not file.closed
