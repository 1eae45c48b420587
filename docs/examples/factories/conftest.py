import pytest
from db_testing import Schema
from factories import AuthorFactory, BookFactory, PolyBookFactory
from models import Base
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session


@pytest.fixture(scope="session")
def db_schema() -> Schema:
    return Schema.from_metadata(Base.metadata)


@pytest.fixture
def factories_sync(db_sync: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    for options in (AuthorFactory._meta, BookFactory._meta):  # noqa: SLF001  # as its manual does
        monkeypatch.setattr(options, "sqlalchemy_session", db_sync)
        monkeypatch.setattr(options, "sqlalchemy_session_persistence", "commit")


@pytest.fixture
def factories(db: AsyncSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PolyBookFactory, "__async_session__", db)
