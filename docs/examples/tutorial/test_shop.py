import asyncio

import pytest
from shop import Item, receive, sell
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession


async def test_what_arrives_is_in_stock(db: AsyncSession) -> None:
    lamp = await receive(db, "lamp", 2)
    assert (lamp.id, lamp.stock) == (1, 2)


async def test_the_next_test_begins_with_an_empty_shop(db: AsyncSession) -> None:
    assert (await db.scalars(select(Item))).all() == []


async def test_what_is_sold_out_is_not_sold(db: AsyncSession) -> None:
    await receive(db, "lamp", 2)
    sold = await asyncio.gather(*(sell("lamp") for _ in range(3)), return_exceptions=True)
    assert sorted(map(type, sold), key=str) == [LookupError, type(None), type(None)]


@pytest.mark.parametrize("count", range(1, 6))
async def test_stock_adds_up(db: AsyncSession, count: int) -> None:
    for _ in range(count):
        lamp = await receive(db, "lamp", 1)
    assert lamp.stock == count
