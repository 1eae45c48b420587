"""Bank accounts and their statements over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query, Response, status

from backend.database import RequestSession
from backend.fields import PathId
from backend.pagination import Page, PageQuery
from backend.statements import service
from backend.statements.models import BankAccount
from backend.statements.schemas import (
    BankAccountIn,
    BankAccountOut,
    ImportOut,
    ImportQuery,
    ImportReport,
    StatementLineOut,
    StatementLineQuery,
)
from backend.uploads import ReceivedUpload, documented_upload
from backend.users.authentication import CurrentBook
from backend.versions import IfMatch, etag

router = APIRouter(prefix="/bank-accounts", tags=["statements"])


def _show(bank_account: BankAccount, response: Response) -> BankAccountOut:
    response.headers["ETag"] = etag(bank_account.version)
    return BankAccountOut.model_validate(bank_account)


@router.post("", status_code=status.HTTP_201_CREATED)
async def open_bank_account(
    data: BankAccountIn, book: CurrentBook, session: RequestSession, response: Response
) -> BankAccountOut:
    """Connect an account of the chart with a bank's statements."""
    bank_account = await service.create(session, book, data)
    response.headers["Location"] = f"/bank-accounts/{bank_account.id}"
    return _show(bank_account, response)


@router.get("")
async def list_bank_accounts(
    query: Annotated[PageQuery, Query()], book: CurrentBook, session: RequestSession
) -> Page[BankAccountOut]:
    """List bank accounts, oldest first."""
    bank_accounts, next_cursor = await service.page(session, book, query)
    items = [BankAccountOut.model_validate(bank_account) for bank_account in bank_accounts]
    return Page(items=items, next_cursor=next_cursor)


@router.get("/{bank_account_id}")
async def show_bank_account(
    bank_account_id: PathId, book: CurrentBook, session: RequestSession, response: Response
) -> BankAccountOut:
    """Show one bank account."""
    return _show(await service.get(session, book, bank_account_id), response)


@router.put("/{bank_account_id}")
async def replace_bank_account(  # noqa: PLR0917 - one parameter per part of the request
    bank_account_id: PathId,
    data: BankAccountIn,
    precondition: IfMatch,
    book: CurrentBook,
    session: RequestSession,
    response: Response,
) -> BankAccountOut:
    """Replace name, number and CSV format."""
    bank_account = await service.update(session, book, bank_account_id, data, precondition)
    return _show(bank_account, response)


@router.post(
    "/{bank_account_id}/imports",
    status_code=status.HTTP_201_CREATED,
    openapi_extra=documented_upload(*service.MEDIA_TYPES),
)
async def import_statement(
    upload: ReceivedUpload,
    bank_account_id: PathId,
    query: Annotated[ImportQuery, Query()],
    book: CurrentBook,
    session: RequestSession,
) -> ImportReport:
    """Import a statement, CSV or OFX; lines that are known already are counted and left out."""
    import_, bad_rows = await service.import_file(
        session, book, bank_account_id, upload, query.on_error
    )
    shown = ImportOut.model_validate(import_).model_dump()
    return ImportReport(**shown, rows=bad_rows.first)


@router.get("/{bank_account_id}/imports")
async def list_imports(
    bank_account_id: PathId,
    query: Annotated[PageQuery, Query()],
    book: CurrentBook,
    session: RequestSession,
) -> Page[ImportOut]:
    """List imports, oldest first."""
    imports, next_cursor = await service.import_page(session, book, bank_account_id, query)
    items = [ImportOut.model_validate(import_) for import_ in imports]
    return Page(items=items, next_cursor=next_cursor)


@router.delete("/{bank_account_id}/imports/{import_id}", status_code=status.HTTP_204_NO_CONTENT)
async def undo_import(
    bank_account_id: PathId, import_id: PathId, book: CurrentBook, session: RequestSession
) -> None:
    """Remove an import with its lines."""
    await service.undo_import(session, book, bank_account_id, import_id)


@router.get("/{bank_account_id}/lines")
async def list_lines(
    bank_account_id: PathId,
    query: Annotated[StatementLineQuery, Query()],
    book: CurrentBook,
    session: RequestSession,
) -> Page[StatementLineOut]:
    """List the lines of all statements by date."""
    lines, next_cursor = await service.line_page(session, book, bank_account_id, query)
    items = [StatementLineOut.model_validate(line) for line in lines]
    return Page(items=items, next_cursor=next_cursor)
