"""Bank accounts and their statements as the API shows them."""

import datetime as dt
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from backend.fields import STRICT_INPUT, Id, Text
from backend.money import Figure
from backend.pagination import PageQuery
from backend.statements.models import StatementFormat
from backend.tables import BadRow, DateFormat, DecimalSeparator, Encoding, OnError

Column = Annotated[Text, StringConstraints(max_length=100)]


class SplitAmount(BaseModel):
    """Name the columns of a bank that has one for each direction; one of the two is empty."""

    model_config = STRICT_INPUT

    money_in: Column
    money_out: Column


class CsvColumns(BaseModel):
    """Name the columns that hold what is needed; an `amount` that goes out is negative."""

    model_config = STRICT_INPUT

    date: Column
    amount: Column | SplitAmount
    description: Annotated[list[Column], Field(min_length=1, max_length=10)]
    """Joined by spaces."""
    reference: Column | None = None
    """What the bank gives to one movement only, if it does."""


class CsvFormat(BaseModel):
    """Say how to read a bank's CSV files; `preamble_lines` stand before the header row."""

    model_config = STRICT_INPUT

    columns: CsvColumns
    delimiter: Annotated[str, StringConstraints(pattern=r"^[,;|\t]$")] = ","
    encoding: Encoding = "utf-8"
    date_format: DateFormat = "YYYY-MM-DD"
    decimal_separator: DecimalSeparator = "."
    preamble_lines: Annotated[int, Field(ge=0, le=100)] = 0


class BankAccountIn(BaseModel):
    """Ask for a bank account, or for what an existing one shall be; `account_id` stays."""

    model_config = STRICT_INPUT

    account_id: Id
    name: Text
    number: Text | None = None
    csv_format: CsvFormat | None = None


class BankAccountOut(BaseModel):
    """Show a bank account."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    account_id: int
    currency: str
    name: str
    number: str | None
    csv_format: CsvFormat | None
    version: int
    created_at: dt.datetime


class ImportQuery(BaseModel):
    """Say what shall happen when a row is bad: keep nothing, or the good rows."""

    model_config = STRICT_INPUT

    on_error: OnError = "reject"


class ImportOut(BaseModel):
    """Show an import: how many rows were kept, known already, and bad."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    bank_account_id: int
    format: StatementFormat
    imported: int
    duplicates: int
    rejected: int
    created_at: dt.datetime


class ImportReport(ImportOut):
    """Show an import with the first hundred of its bad rows."""

    rows: list[BadRow]


class StatementLineQuery(PageQuery):
    """Filter a bank account's lines; both dates are included."""

    date_from: dt.date | None = None
    date_to: dt.date | None = None
    import_id: Id | None = None


class StatementLineOut(BaseModel):
    """Show a line of a statement; what comes in is positive."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    bank_account_id: int
    import_id: int
    line: int
    date: dt.date
    amount: Figure
    description: str
    reference: str | None
