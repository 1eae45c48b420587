from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest
from models import Author, Book
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession


class TestBooks:
    @pytest.fixture(scope="class")
    async def author(
        self, db_layer: Callable[[], AbstractAsyncContextManager[AsyncSession]]
    ) -> AsyncIterator[Author]:
        async with db_layer() as session:
            session.add(author := Author(name="Ada"))
            await session.flush()
            yield author  # committed here; gone when the class is done

    @pytest.mark.parametrize("time", [1, 2])
    async def test_title(self, db: AsyncSession, author: Author, time: int) -> None:
        db.add(Book(author_id=author.id, title="Notes"))
        await db.commit()
        assert await db.scalar(select(func.count(Book.id))) == 1


async def test_others_know_no_author(db: AsyncSession) -> None:
    assert await db.scalar(select(func.count(Author.id))) == 0
