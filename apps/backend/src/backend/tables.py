"""Tables in text files: rows with their line numbers, and what is wrong with the bad ones."""

import csv
import datetime as dt
import io
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from http import HTTPStatus
from typing import BinaryIO, Literal

from pydantic import BaseModel

from backend.problems import ProblemError

Encoding = Literal["utf-8", "iso-8859-1", "windows-1252"]
OnError = Literal["reject", "skip"]

MAX_REPORTED_ROWS = 100


class FileFormatError(ProblemError):
    """Refuse a file of which not one row can be read."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    type = "/problems/file-format"
    title = "Unreadable file"


class BadRowsError(ProblemError):
    """Refuse a file because of some of its rows; nothing of it is kept."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    type = "/problems/bad-rows"
    title = "Bad rows"


class RowError(Exception):
    """Say why one row cannot be used."""


class BadRow(BaseModel):
    """Report a row by the line of the file that it begins on."""

    line: int
    reason: str


@dataclass(frozen=True)
class Row:
    """Hold the fields of a row by their columns' names."""

    line: int
    fields: Mapping[str, str]


@dataclass
class BadRows:
    """Collect bad rows: count all of them, and keep the first hundred."""

    on_error: OnError
    count: int = 0
    first: list[BadRow] = field(default_factory=list)

    def add(self, row: BadRow) -> None:
        """Take note of one."""
        self.count += 1
        if len(self.first) < MAX_REPORTED_ROWS:
            self.first.append(row)

    def check(self) -> None:
        """Raise `BadRowsError` when there are any, unless they shall be skipped."""
        if self.count and self.on_error == "reject":
            message = f"{self.count} row(s) cannot be read, so nothing is kept; see `rows`."
            rows = [row.model_dump() for row in self.first]
            raise BadRowsError(message, rejected=self.count, rows=rows)


def read_rows(
    file: BinaryIO,
    columns: Collection[str],
    *,
    encoding: Encoding = "utf-8",
    delimiter: str = ",",
    preamble_lines: int = 0,
) -> Iterator[Row | BadRow]:
    """Read CSV with a header row that follows `preamble_lines`, one row at a time.

    Columns other than those asked for are ignored. Raises `FileFormatError` when one is missing.
    """
    # A byte that is none of the encoding's becomes a surrogate, and so the fault of one row.
    text = io.TextIOWrapper(
        file, "utf-8-sig" if encoding == "utf-8" else encoding, "surrogateescape", newline=""
    )
    try:
        for _ in range(preamble_lines):
            text.readline()
        rows = csv.reader(text, delimiter=delimiter, strict=True)
        header = _header(rows, columns)
        while True:
            line = preamble_lines + rows.line_num + 1
            try:
                values = next(rows)
            except csv.Error as error:
                yield BadRow(line=line, reason=f"is not CSV: {error}")
                continue
            except StopIteration:
                return
            if values:
                yield _row(line, header, values, encoding)
    finally:
        text.detach()


def _header(rows: Iterator[list[str]], columns: Collection[str]) -> list[str]:
    try:
        header = [name.strip() for name in next(rows, [])]
    except csv.Error as error:
        message = f"The header row is not CSV: {error}."
        raise FileFormatError(message) from None
    for name in columns:
        if header.count(name) != 1:
            message = f"The header row has {header.count(name)} columns {name!r} instead of one."
            raise FileFormatError(message)
    return header


def _row(line: int, header: list[str], values: list[str], encoding: Encoding) -> Row | BadRow:
    if len(values) != len(header):
        reason = f"has {len(values)} fields, the header has {len(header)}"
        return BadRow(line=line, reason=reason)
    if any("\udc80" <= character <= "\udcff" for value in values for character in value):
        return BadRow(line=line, reason=f"is not {encoding}")
    return Row(line, {name: value.strip() for name, value in zip(header, values, strict=True)})


_DATE_FORMATS = {
    "YYYY-MM-DD": "%Y-%m-%d",
    "YYYYMMDD": "%Y%m%d",
    "DD.MM.YYYY": "%d.%m.%Y",
    "DD/MM/YYYY": "%d/%m/%Y",
    "MM/DD/YYYY": "%m/%d/%Y",
}
DateFormat = Literal["YYYY-MM-DD", "YYYYMMDD", "DD.MM.YYYY", "DD/MM/YYYY", "MM/DD/YYYY"]
DecimalSeparator = Literal[".", ","]

# Groups of thousands, or none; never a mixture, which would be another notation than declared.
_NUMBERS = {
    separator: re.compile(
        rf"([+-]?)(\d{{1,15}}|\d{{1,3}}(?:[{groups}]\d{{3}}){{1,4}})"
        rf"(?:{re.escape(separator)}(\d{{1,10}}))?",
        re.ASCII,
    )
    for separator, groups in ((".", ",' \N{NO-BREAK SPACE}"), (",", ".' \N{NO-BREAK SPACE}"))
}


def parse_date(text: str, format_: DateFormat) -> dt.date:
    """Read a date; raises `RowError`."""
    try:
        return dt.datetime.strptime(text, _DATE_FORMATS[format_]).date()  # noqa: DTZ007 - no time
    except ValueError:
        message = f"{text!r} is not a date ({format_})"
        raise RowError(message) from None


def parse_decimal(text: str, separator: DecimalSeparator) -> Decimal:
    """Read a number exactly as it is written; raises `RowError`."""
    match = _NUMBERS[separator].fullmatch(text)
    if match is None:
        message = f"{text!r} is not a number with the decimal separator {separator!r}"
        raise RowError(message)
    sign, whole, fraction = match.groups()
    digits = "".join(character for character in whole if character.isdigit())
    return Decimal(f"{sign}{digits}.{fraction or '0'}")
