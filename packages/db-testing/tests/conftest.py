"""What the tests of db-testing share: a small schema, tested with db-testing itself."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from sqlalchemy import ForeignKey, Identity, MetaData
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from db_testing import Schema


class Base(DeclarativeBase):
    """Tables of the tests."""

    metadata = MetaData()
    type_annotation_map: ClassVar = {dict[str, Any]: JSONB}


class Author(Base):
    """A table with a sequence, a unique constraint and a deferrable one."""

    __tablename__ = "author"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    notes: Mapped[dict[str, Any]] = mapped_column(default=dict)
    editor_id: Mapped[int | None] = mapped_column(
        ForeignKey("author.id", deferrable=True, initially="DEFERRED")
    )


class Book(Base):
    """A table with an identity column."""

    __tablename__ = "book"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"))
    title: Mapped[str]


@pytest.fixture(scope="session")
def db_schema() -> Schema:
    """Return the tables above."""
    return Schema.from_metadata(Base.metadata)
