"""Bank accounts, and importing the bank's statements of them."""

import datetime as dt
from collections.abc import Collection, Iterator, Sequence

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts import service as accounts_service
from backend.accounts.service import AccountType
from backend.database import translated
from backend.fields import Id
from backend.pagination import Keyset, PageQuery
from backend.statements.csv_files import read_csv
from backend.statements.errors import (
    BankAccountNotFoundError,
    BankAccountTakenError,
    ImportNotFoundError,
    LinesInUseError,
    MissingCsvFormatError,
    NoBankAccountError,
    StatementLineNotFoundError,
)
from backend.statements.importing import merge, stage
from backend.statements.lines import ParsedLine
from backend.statements.models import (
    BankAccount,
    StatementFormat,
    StatementImport,
    StatementLine,
)
from backend.statements.ofx_files import read_ofx
from backend.statements.schemas import BankAccountIn, CsvFormat, StatementLineQuery
from backend.tables import BadRow, BadRows, OnError
from backend.uploads import UnsupportedFormatError, Upload
from backend.users.service import Book
from backend.versions import Precondition

__all__ = [
    "BankAccount",
    "StatementLine",
    "create",
    "get",
    "import_file",
    "import_page",
    "line_page",
    "lines_between",
    "lines_by_id",
    "page",
    "undo_import",
    "update",
]

MEDIA_TYPES = {
    "text/csv": StatementFormat.CSV,
    "application/x-ofx": StatementFormat.OFX,
    "application/vnd.intu.qfx": StatementFormat.OFX,
}

_BANK_ACCOUNTS = Keyset[BankAccount]("bank-accounts", (BankAccount.id,), TypeAdapter(tuple[Id]))
_IMPORTS = Keyset[StatementImport]("imports", (StatementImport.id,), TypeAdapter(tuple[Id]))
_LINES = Keyset[StatementLine](
    "statement-lines", (StatementLine.date, StatementLine.id), TypeAdapter(tuple[dt.date, Id])
)


async def create(session: AsyncSession, book: Book, data: BankAccountIn) -> BankAccount:
    """Connect an account of the chart with a bank's statements.

    Raises `AccountNotFoundError`, `AccountArchivedError`, `NoBankAccountError` or
    `BankAccountTakenError`.
    """
    accounts = await accounts_service.lock_for_lines(session, book, {data.account_id})
    accounts_service.require_open(accounts.values())
    account = accounts[data.account_id]
    if account.type not in {AccountType.ASSET, AccountType.LIABILITY}:
        message = (
            f"Account {account.code} is of type {account.type}; a bank's is asset or liability."
        )
        raise NoBankAccountError(message)
    bank_account = BankAccount(
        owner_id=book.owner_id, currency=account.currency, **data.model_dump(mode="json")
    )
    session.add(bank_account)
    taken = BankAccountTakenError(f"Account {account.code} has a bank account already.")
    with translated({"uq_bank_accounts_account_id": taken}):
        await session.flush()
    return bank_account


async def get(
    session: AsyncSession, book: Book, bank_account_id: int, *, lock: bool = False
) -> BankAccount:
    """Find a bank account of the book; raises `BankAccountNotFoundError`.

    With `lock` it waits for others that do the same, until they commit.
    """
    statement = select(BankAccount).where(
        BankAccount.id == bank_account_id, BankAccount.owner_id == book.owner_id
    )
    if lock:
        statement = statement.with_for_update(key_share=True)
    bank_account = await session.scalar(statement)
    if bank_account is None:
        message = f"There is no bank account {bank_account_id} in your books."
        raise BankAccountNotFoundError(message)
    return bank_account


async def page(
    session: AsyncSession, book: Book, query: PageQuery
) -> tuple[Sequence[BankAccount], str | None]:
    """List bank accounts, oldest first, with the cursor of the next page."""
    statement = select(BankAccount).where(BankAccount.owner_id == book.owner_id)
    return await _BANK_ACCOUNTS.page(session, statement, query)


async def update(
    session: AsyncSession,
    book: Book,
    bank_account_id: int,
    data: BankAccountIn,
    precondition: Precondition,
) -> BankAccount:
    """Replace name, number and CSV format; raises `BankAccountTakenError` for another account."""
    bank_account = await get(session, book, bank_account_id)
    precondition.check(bank_account.version)
    if data.account_id != bank_account.account_id:
        message = f"The bank account belongs to account {bank_account.account_id} for good."
        raise BankAccountTakenError(message)
    for field, value in data.model_dump(mode="json").items():
        setattr(bank_account, field, value)
    await session.flush()
    return bank_account


async def import_file(
    session: AsyncSession, book: Book, bank_account_id: int, upload: Upload, on_error: OnError
) -> tuple[StatementImport, BadRows]:
    """Import a statement.

    Raises `UnsupportedFormatError`, `MissingCsvFormatError`, `FileFormatError`,
    `UploadTooLargeError`, and `BadRowsError` for bad rows unless they shall be skipped.
    """
    # Imports of one account take turns: each sees the lines of the one before as known.
    bank_account = await get(session, book, bank_account_id, lock=True)
    format_, rows = _rows(bank_account, upload)
    import_ = StatementImport(
        bank_account_id=bank_account.id, format=format_, imported=0, duplicates=0, rejected=0
    )
    session.add(import_)
    await session.flush()
    bad_rows = BadRows(on_error)
    staged = await stage(session, import_, rows, bad_rows)
    bad_rows.check()
    import_.imported = await merge(session, import_)
    import_.duplicates = staged - import_.imported
    import_.rejected = bad_rows.count
    await session.flush()
    return import_, bad_rows


def _rows(
    bank_account: BankAccount, upload: Upload
) -> tuple[StatementFormat, Iterator[ParsedLine | BadRow]]:
    format_ = MEDIA_TYPES.get(upload.media_type)
    if format_ is None:
        message = f"A statement is one of {', '.join(MEDIA_TYPES)}, not {upload.media_type}."
        raise UnsupportedFormatError(message)
    if format_ is StatementFormat.OFX:
        return format_, read_ofx(upload.file, bank_account.number, bank_account.currency)
    if bank_account.csv_format is None:
        message = "The bank account has no csv_format: say first what the columns are called."
        raise MissingCsvFormatError(message)
    csv_format = CsvFormat.model_validate(bank_account.csv_format)
    return format_, read_csv(upload.file, csv_format, bank_account.currency)


async def import_page(
    session: AsyncSession, book: Book, bank_account_id: int, query: PageQuery
) -> tuple[Sequence[StatementImport], str | None]:
    """List the imports of a bank account, oldest first, with the cursor of the next page."""
    await get(session, book, bank_account_id)
    statement = select(StatementImport).where(StatementImport.bank_account_id == bank_account_id)
    return await _IMPORTS.page(session, statement, query)


async def undo_import(
    session: AsyncSession, book: Book, bank_account_id: int, import_id: int
) -> None:
    """Remove an import with its lines; raises `LinesInUseError` when one of them is matched."""
    await get(session, book, bank_account_id)
    import_ = await session.get(StatementImport, import_id)
    if import_ is None or import_.bank_account_id != bank_account_id:
        message = f"There is no import {import_id} of bank account {bank_account_id}."
        raise ImportNotFoundError(message)
    await session.delete(import_)
    in_use = LinesInUseError("A confirmed match has lines of this import; reopen it first.")
    with translated({"fk_reconciled_lines_statement_line_id": in_use}):
        await session.flush()


async def line_page(
    session: AsyncSession, book: Book, bank_account_id: int, query: StatementLineQuery
) -> tuple[Sequence[StatementLine], str | None]:
    """List the lines of a bank account by date, with the cursor of the next page."""
    await get(session, book, bank_account_id)
    conditions: list[ColumnElement[bool]] = [StatementLine.bank_account_id == bank_account_id]
    if query.date_from is not None:
        conditions.append(StatementLine.date >= query.date_from)
    if query.date_to is not None:
        conditions.append(StatementLine.date <= query.date_to)
    if query.import_id is not None:
        conditions.append(StatementLine.import_id == query.import_id)
    return await _LINES.page(session, select(StatementLine).where(*conditions), query)


async def lines_by_id(
    session: AsyncSession, bank_account: BankAccount, ids: Collection[int]
) -> Sequence[StatementLine]:
    """Fetch lines of a bank account, by id; raises `StatementLineNotFoundError`."""
    found = await session.scalars(
        select(StatementLine)
        .where(StatementLine.bank_account_id == bank_account.id, StatementLine.id.in_(ids))
        .order_by(StatementLine.id)
    )
    lines = found.all()
    if missing := sorted(set(ids) - {line.id for line in lines}):
        message = f"There is no line {missing[0]} on bank account {bank_account.id}."
        raise StatementLineNotFoundError(message)
    return lines


async def lines_between(
    session: AsyncSession, bank_account: BankAccount, first: dt.date, last: dt.date
) -> Sequence[StatementLine]:
    """Fetch the lines of a bank account from one day to another, both included, by date."""
    found = await session.scalars(
        select(StatementLine)
        .where(
            StatementLine.bank_account_id == bank_account.id,
            StatementLine.date.between(first, last),
        )
        .order_by(StatementLine.date, StatementLine.id)
    )
    return found.all()
