"""The chart of accounts: a forest per book, in which a child has its parent's type."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from backend.accounts.errors import (
    AccountArchivedError,
    AccountCodeTakenError,
    AccountHierarchyError,
    AccountInUseError,
    AccountNotFoundError,
)
from backend.accounts.models import Account, AccountType, Activity
from backend.accounts.schemas import AccountCode, AccountIn, AccountQuery
from backend.database import translated
from backend.pagination import Keyset
from backend.users.service import Book, lock_book
from backend.versions import Precondition

__all__ = [
    "Account",
    "AccountType",
    "Activity",
    "archive",
    "create",
    "get",
    "in_book",
    "lock_for_lines",
    "page",
    "require_open",
    "restore",
    "update",
]

_BY_CODE = Keyset[Account]("accounts", (Account.code,), TypeAdapter(tuple[AccountCode]))


async def create(session: AsyncSession, book: Book, data: AccountIn) -> Account:
    """Open an account; raises `AccountCodeTakenError` or `AccountHierarchyError`."""
    await lock_book(session, book)
    account = Account(owner_id=book.owner_id, **data.model_dump())
    if data.parent_id is not None:
        await _check_parent(session, book, account, data.parent_id)
    session.add(account)
    await _flush(session, account)
    return account


async def get(session: AsyncSession, book: Book, account_id: int) -> Account:
    """Find an account of the book; raises `AccountNotFoundError`."""
    account = await session.scalar(
        select(Account).where(Account.id == account_id, Account.owner_id == book.owner_id)
    )
    if account is None:
        message = f"There is no account {account_id} in your books."
        raise AccountNotFoundError(message)
    return account


async def page(
    session: AsyncSession, book: Book, query: AccountQuery
) -> tuple[Sequence[Account], str | None]:
    """List accounts by code, with the cursor of the next page."""
    conditions: list[ColumnElement[bool]] = [Account.owner_id == book.owner_id]
    if query.type is not None:
        conditions.append(Account.type == query.type)
    if query.parent_id == "none":
        conditions.append(Account.parent_id.is_(None))
    elif query.parent_id is not None:
        conditions.append(Account.parent_id == query.parent_id)
    if query.archived is not None:
        conditions.append(Account.archived_at.is_not(None) == query.archived)
    return await _BY_CODE.page(session, select(Account).where(*conditions), query)


async def in_book(session: AsyncSession, book: Book) -> Sequence[Account]:
    """Fetch the whole chart of accounts, by code, archived ones too."""
    accounts = await session.scalars(
        select(Account).where(Account.owner_id == book.owner_id).order_by(Account.code)
    )
    return accounts.all()


async def update(
    session: AsyncSession,
    book: Book,
    account_id: int,
    data: AccountIn,
    precondition: Precondition,
) -> Account:
    """Replace what an account is.

    Raises `AccountInUseError` when lines refer to it and the type or the currency would change,
    and `AccountHierarchyError` when the parent, or the type beside its children, does not fit.
    """
    await lock_book(session, book)
    account = await get(session, book, account_id)
    precondition.check(account.version)
    moves = (data.parent_id, data.type) != (account.parent_id, account.type)
    for field, value in data:
        setattr(account, field, value)
    if moves and data.parent_id is not None:
        await _check_parent(session, book, account, data.parent_id)
    await _flush(session, account)
    return account


async def archive(
    session: AsyncSession, book: Book, account_id: int, precondition: Precondition
) -> Account:
    """Close an account to new lines; its history stays in every report.

    Raises `AccountHierarchyError` while a child is open. Archiving twice changes nothing.
    """
    await lock_book(session, book)
    account = await get(session, book, account_id)
    precondition.check(account.version)
    has_open_child = await session.scalar(
        select(exists().where(Account.parent_id == account_id, Account.archived_at.is_(None)))
    )
    if has_open_child:
        message = f"Account {account.code} has children that are not archived; archive them first."
        raise AccountHierarchyError(message)
    if account.archived_at is None:
        account.archived_at = datetime.now(UTC)
        await session.flush()
    return account


async def restore(
    session: AsyncSession, book: Book, account_id: int, precondition: Precondition
) -> Account:
    """Open an archived account again; raises `AccountHierarchyError` while its parent is not."""
    await lock_book(session, book)
    account = await get(session, book, account_id)
    precondition.check(account.version)
    if account.parent_id is not None:
        await _check_parent(session, book, account, account.parent_id)
    account.archived_at = None
    await session.flush()
    return account


async def lock_for_lines(
    session: AsyncSession, book: Book, account_ids: Collection[int]
) -> Mapping[int, Account]:
    """Fetch accounts that lines refer to, and keep them unchanged until the commit.

    Raises `AccountNotFoundError` for one that is not in the book. The lock is taken in the order
    of ids, so that two requests cannot wait for each other.
    """
    statement = (
        select(Account)
        .where(Account.owner_id == book.owner_id, Account.id.in_(account_ids))
        .order_by(Account.id)
        .with_for_update(read=True)
    )
    # What the session has loaded earlier may be older than what the lock waited for.
    found = await session.scalars(statement.execution_options(populate_existing=True))
    accounts = {account.id: account for account in found}
    if missing := sorted(set(account_ids) - accounts.keys()):
        message = f"There is no account {missing[0]} in your books."
        raise AccountNotFoundError(message)
    return accounts


def require_open(accounts: Collection[Account]) -> None:
    """Raise `AccountArchivedError` when one of the accounts takes no new lines."""
    if archived := sorted(a.code for a in accounts if a.archived_at is not None):
        message = f"Archived accounts take no new lines: {', '.join(archived)}."
        raise AccountArchivedError(message, codes=archived)


async def _check_parent(
    session: AsyncSession, book: Book, account: Account, parent_id: int
) -> None:
    """Raise `AccountHierarchyError` unless `account` can be below `parent_id`.

    The caller holds the book's lock: two moves at once could otherwise close a cycle together.
    """
    with session.no_autoflush:
        parent = await session.scalar(
            select(Account).where(Account.id == parent_id, Account.owner_id == book.owner_id)
        )
        if parent is None:
            message = f"There is no account {parent_id} in your books to be the parent."
            raise AccountHierarchyError(message)
        if parent.type != account.type:
            message = f"A {account.type} account cannot be below {parent.code}, a {parent.type}."
            raise AccountHierarchyError(message)
        if parent.archived_at is not None:
            message = f"Account {parent.code} is archived and cannot be a parent."
            raise AccountHierarchyError(message)
        if account.id in await _ancestry(session, parent_id):
            message = f"Account {account.code} cannot be below itself or its own descendant."
            raise AccountHierarchyError(message)


async def _ancestry(session: AsyncSession, account_id: int) -> Collection[int]:
    """Fetch the ids on the way from an account, included, to its top level."""
    start = select(Account.id, Account.parent_id).where(Account.id == account_id)
    ancestors = start.cte("ancestors", recursive=True)
    parent = aliased(Account)
    ancestors = ancestors.union(
        select(parent.id, parent.parent_id).join(ancestors, ancestors.c.parent_id == parent.id)
    )
    return (await session.scalars(select(ancestors.c.id))).all()


async def _flush(session: AsyncSession, account: Account) -> None:
    code, owner_parent_type = account.code, "fk_accounts_parent_id_owner_id_type"
    with translated(
        {
            "uq_accounts_owner_id_code": AccountCodeTakenError(
                f"There is an account with the code {code!r} in your books already."
            ),
            owner_parent_type: AccountHierarchyError(
                f"Account {code} has children of its present type; they would no longer match."
            ),
            "fk_bank_accounts_account_id_owner_id_currency": AccountInUseError(
                f"Account {code} is that of a bank account, so its currency cannot change."
            ),
            "accounts_frozen_by_lines": AccountInUseError(
                f"Account {code} has journal lines, so its type and currency cannot change."
            ),
        }
    ):
        await session.flush()
