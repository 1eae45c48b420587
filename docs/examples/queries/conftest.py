import pytest
from db_testing import Schema
from models import Author, Base, Book
from sqlalchemy.ext.asyncio import async_sessionmaker


@pytest.fixture(scope="session")
def db_schema() -> Schema:
    return Schema.from_metadata(Base.metadata)


@pytest.fixture
async def books(db_sessionmaker: async_sessionmaker) -> None:
    async with db_sessionmaker.begin() as session:
        for name in ("Ada", "Bea", "Cai"):
            session.add(Book(title=f"Notes of {name}", author=Author(name=name)))
