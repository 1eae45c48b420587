"""Keyset pagination behind opaque cursors.

A page starts after the last row of the one before, so rows that come and go between two requests
neither repeat nor hide others, and a deep page costs as much as the first.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from sqlalchemy import Select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from backend.fields import STRICT_INPUT
from backend.problems import MalformedRequestError

ItemT = TypeVar("ItemT")
RowT = TypeVar("RowT")

DEFAULT_LIMIT = 50
MAX_LIMIT = 200


class PageQuery(BaseModel):
    """Read the paging parameters; a listing's filters extend it."""

    model_config = STRICT_INPUT

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)
    cursor: str | None = Field(
        default=None, max_length=500, description="`next_cursor` of the page before."
    )


class Page(BaseModel, Generic[ItemT]):
    """Answer a listing: `next_cursor` is null on the last page."""

    items: list[ItemT]
    next_cursor: str | None


@dataclass(frozen=True)
class Keyset(Generic[RowT]):
    """Define the total order of a listing; `columns` together must be unique.

    `adapter` validates a cursor's values, so that a tampered one cannot reach the database with
    values of another type. A cursor is not signed: it can only move the reader within rows which
    the statement lets them see anyway.
    """

    name: str
    columns: tuple[InstrumentedAttribute[Any], ...]
    adapter: TypeAdapter[Any]
    descending: bool = False

    def encode(self, row: RowT) -> str:
        """Write the position just after `row`."""
        values = tuple(getattr(row, column.key) for column in self.columns)
        position = f"{self.name}:".encode() + self.adapter.dump_json(values)
        return base64.urlsafe_b64encode(position).decode().rstrip("=")

    def decode(self, cursor: str) -> tuple[object, ...]:
        """Read a position; raises `MalformedRequestError` unless this listing wrote it."""
        message = "The cursor is not one that this listing gave out; start again without one."
        try:
            padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
            position = base64.b64decode(padded, altchars=b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error):
            raise MalformedRequestError(message) from None
        name, _, values = position.partition(b":")
        if name != self.name.encode():
            raise MalformedRequestError(message)
        try:
            decoded: tuple[object, ...] = self.adapter.validate_json(values)
        except ValidationError:
            raise MalformedRequestError(message) from None
        return decoded

    async def page(
        self, session: AsyncSession, statement: Select[RowT], query: PageQuery
    ) -> tuple[Sequence[RowT], str | None]:
        """Fetch the rows of `statement` that `query` asks for, and the next page's cursor."""
        key = tuple_(*self.columns)
        if query.cursor is not None:
            position = self.decode(query.cursor)
            statement = statement.where(key < position if self.descending else key > position)
        order = [column.desc() if self.descending else column for column in self.columns]
        # One row more than asked for tells whether there is a next page.
        found = await session.scalars(statement.order_by(*order).limit(query.limit + 1))
        rows = found.all()
        if len(rows) <= query.limit:
            return rows, None
        rows = rows[: query.limit]
        return rows, self.encode(rows[-1])
