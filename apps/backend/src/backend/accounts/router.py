"""Accounts over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query, Response, status

from backend.accounts import service
from backend.accounts.models import Account
from backend.accounts.schemas import AccountIn, AccountOut, AccountQuery
from backend.database import RequestSession
from backend.fields import PathId
from backend.pagination import Page
from backend.users.authentication import CurrentBook
from backend.versions import IfMatch, etag

router = APIRouter(prefix="/accounts", tags=["accounts"])


def _show(account: Account, response: Response) -> AccountOut:
    response.headers["ETag"] = etag(account.version)
    return AccountOut.model_validate(account)


@router.post("", status_code=status.HTTP_201_CREATED)
async def open_account(
    data: AccountIn, book: CurrentBook, session: RequestSession, response: Response
) -> AccountOut:
    """Open an account."""
    account = await service.create(session, book, data)
    response.headers["Location"] = f"/accounts/{account.id}"
    return _show(account, response)


@router.get("")
async def list_accounts(
    query: Annotated[AccountQuery, Query()], book: CurrentBook, session: RequestSession
) -> Page[AccountOut]:
    """List accounts by code."""
    accounts, next_cursor = await service.page(session, book, query)
    items = [AccountOut.model_validate(account) for account in accounts]
    return Page(items=items, next_cursor=next_cursor)


@router.get("/{account_id}")
async def show_account(
    account_id: PathId, book: CurrentBook, session: RequestSession, response: Response
) -> AccountOut:
    """Show one account."""
    return _show(await service.get(session, book, account_id), response)


@router.put("/{account_id}")
async def replace_account(  # noqa: PLR0917 - one parameter per part of the request
    account_id: PathId,
    data: AccountIn,
    precondition: IfMatch,
    book: CurrentBook,
    session: RequestSession,
    response: Response,
) -> AccountOut:
    """Replace what an account is; a field that is left out takes its default."""
    account = await service.update(session, book, account_id, data, precondition)
    return _show(account, response)


@router.post("/{account_id}/archive")
async def archive_account(
    account_id: PathId,
    precondition: IfMatch,
    book: CurrentBook,
    session: RequestSession,
    response: Response,
) -> AccountOut:
    """Close an account to new lines."""
    return _show(await service.archive(session, book, account_id, precondition), response)


@router.post("/{account_id}/restore")
async def restore_account(
    account_id: PathId,
    precondition: IfMatch,
    book: CurrentBook,
    session: RequestSession,
    response: Response,
) -> AccountOut:
    """Open an archived account again."""
    return _show(await service.restore(session, book, account_id, precondition), response)
