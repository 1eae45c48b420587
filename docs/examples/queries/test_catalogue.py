import pytest
from catalogue import titles
from pytest_queryguard import max_queries
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

pytestmark = pytest.mark.usefixtures("books")


@pytest.mark.max_queries(2)  # the books, and all of their authors
async def test_titles(db: AsyncSession) -> None:
    assert (await titles(db))[0] == "Notes of Ada, by Ada"


async def test_a_part_of_a_test(db: AsyncSession) -> None:
    await db.execute(text("ANALYZE book"))
    with max_queries(2):
        assert len(await titles(db)) == 3
