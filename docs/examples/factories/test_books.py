import pytest
from factories import BookFactory, PolyBookFactory
from models import Author, Book
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session


@pytest.mark.parametrize("time", [1, 2])
@pytest.mark.usefixtures("factories_sync")
def test_factory_boy(db_sync: Session, time: int) -> None:
    books = BookFactory.create_batch(3)  # each commits, and the second time finds nothing of it
    assert [book.id for book in books] == [1, 2, 3]
    assert db_sync.scalar(select(func.count(Author.id))) == 3


async def test_factory_boy_with_asynchronous_sessions(db: AsyncSession) -> None:
    db.add(BookFactory.build(title="Notes"))  # built, not saved: that is the session's to do
    await db.commit()
    assert (await db.scalars(select(Book.title))).all() == ["Notes"]


@pytest.mark.usefixtures("factories")
async def test_polyfactory(db: AsyncSession) -> None:
    book = await PolyBookFactory.create_async(title="Notes")
    assert (await db.scalars(select(Author.id))).all() == [book.author_id]
