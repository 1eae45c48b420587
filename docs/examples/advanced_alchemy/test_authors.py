import pytest
from advanced_alchemy.exceptions import NotFoundError
from authors import AuthorService
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker


async def test_author_is_kept(db_sessionmaker: async_sessionmaker[AsyncSession]) -> None:
    async with db_sessionmaker() as session:
        author = await AuthorService(session=session).create({"name": "Ada"}, auto_commit=True)
    async with db_sessionmaker() as session:
        assert (await AuthorService(session=session).get(author.id)).name == "Ada"


async def test_author_who_is_not_there(db: AsyncSession) -> None:
    service = AuthorService(session=db)
    with pytest.raises(NotFoundError):
        await service.get(1)
    assert await service.count() == 0
