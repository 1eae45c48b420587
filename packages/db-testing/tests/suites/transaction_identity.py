"""A trigger that counts updates of older rows only, as an audit log does."""

import pytest
from models import Item
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

pytestmark = pytest.mark.asyncio
COMMIT = pytest.mark.db(isolation="commit")


async def update_what_was_just_added(db: AsyncSession) -> object:
    item = Item(name="a")
    db.add(item)
    await db.flush()
    item.name = "b"
    await db.commit()
    return (await db.execute(text("SELECT count(*) FROM change"))).scalar_one()


async def test_misfires(db: AsyncSession) -> None:
    assert await update_what_was_just_added(db) == 0


@COMMIT
async def test_marked(db: AsyncSession) -> None:
    assert await update_what_was_just_added(db) == 0


@COMMIT
async def test_marked_and_failing(db: AsyncSession) -> None:
    assert await update_what_was_just_added(db) == 1


async def test_passes(db: AsyncSession) -> None:
    assert await update_what_was_just_added(db) == 1


def test_without_a_database() -> None:
    pytest.fail("for a reason of its own")
