"""Pages of listings, newest first, each beginning below the last id of the one before."""

from typing import Any, Generic, TypeVar

from pydantic import BaseModel, Field
from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute

from jobs.fields import MAX_ID, Id

T = TypeVar("T")


class PageQuery(BaseModel):
    """Ask for one page."""

    limit: int = Field(default=50, ge=1, le=200)
    before: Id = MAX_ID
    """Only what is older than this id."""


class Page(BaseModel, Generic[T]):
    """Show one page."""

    items: list[T]
    before: int | None
    """What to send for the next page; null on the last one."""


def paged(statement: Select[Any], id_: InstrumentedAttribute[int], query: PageQuery) -> Select[Any]:
    """Restrict a statement to a page, and to one row more, which tells whether another follows."""
    return statement.where(id_ < query.before).order_by(id_.desc()).limit(query.limit + 1)


def page(items: list[T], ids: list[int], query: PageQuery) -> Page[T]:
    """Make a page of what `paged` has found."""
    more = len(items) > query.limit
    return Page(items=items[: query.limit], before=ids[query.limit - 1] if more else None)
