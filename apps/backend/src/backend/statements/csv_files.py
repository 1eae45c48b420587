"""Statements in CSV, in the format that the bank account declares."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import BinaryIO

from backend.statements.lines import ParsedLine, checked_line
from backend.statements.schemas import CsvColumns, CsvFormat, SplitAmount
from backend.tables import BadRow, Row, RowError, parse_date, parse_decimal, read_rows


def read_csv(file: BinaryIO, format_: CsvFormat, currency: str) -> Iterator[ParsedLine | BadRow]:
    """Read a file one row at a time; raises `FileFormatError` when a column is missing."""
    rows = read_rows(
        file,
        _names(format_.columns),
        encoding=format_.encoding,
        delimiter=format_.delimiter,
        preamble_lines=format_.preamble_lines,
    )
    for row in rows:
        if isinstance(row, BadRow):
            yield row
            continue
        try:
            yield _parse(row, format_, currency)
        except RowError as error:
            yield BadRow(line=row.line, reason=str(error))


def _names(columns: CsvColumns) -> set[str]:
    names = {columns.date, *columns.description}
    if isinstance(columns.amount, SplitAmount):
        names |= {columns.amount.money_in, columns.amount.money_out}
    else:
        names.add(columns.amount)
    if columns.reference is not None:
        names.add(columns.reference)
    return names


def _parse(row: Row, format_: CsvFormat, currency: str) -> ParsedLine:
    columns, fields = format_.columns, row.fields
    return checked_line(
        row.line,
        parse_date(fields[columns.date], format_.date_format),
        _amount(fields, format_),
        " ".join(fields[name] for name in columns.description),
        None if columns.reference is None else fields[columns.reference],
        currency,
    )


def _amount(fields: Mapping[str, str], format_: CsvFormat) -> Decimal:
    columns, separator = format_.columns.amount, format_.decimal_separator
    if not isinstance(columns, SplitAmount):
        return parse_decimal(fields[columns], separator)
    money_in, money_out = fields[columns.money_in], fields[columns.money_out]
    if bool(money_in) == bool(money_out):
        message = f"either {columns.money_in!r} or {columns.money_out!r} must have an amount"
        raise RowError(message)
    if money_in:
        return parse_decimal(money_in, separator)
    # Some banks write what goes out with a minus, some without.
    return -abs(parse_decimal(money_out, separator))
